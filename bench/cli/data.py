"""Commands that compare, hand on and take in records: `bench report --diff`, `bench export-data`, `bench import-data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console(highlight=False)


def diff(old: str, new: str, out: str) -> None:
    """Print what changed between two sets of records, and write all of it."""
    from bench import registry
    from bench.records.home import Home

    home = Home()
    folder = Path(out).absolute() if out else home.report
    found: Any = registry.load(registry.REPORTS, "report").diff(old, new, home.path, folder)
    heads, rows = found.shown()
    table = Table(*heads, title=escape(f"{old} → {new}"))
    table.columns[0].overflow = "fold"
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
    for line in (*found.alone, *found.changes):
        console.print(escape(line), soft_wrap=True)
    console.print(f"all of it: {folder / 'diff.md'}, .html and .csv", soft_wrap=True)


def export_data(
    studies: Annotated[list[str] | None, typer.Argument(help="names of studies; none: all, and all other runs")] = None,
    out: Annotated[str, typer.Option(help="the file to write")] = "data.parquet",
) -> None:
    """Write records as one parquet file, without local paths and names, for others to read."""
    from bench.records import exchange
    from bench.records.home import Home

    path = Path(out).absolute()
    rows = exchange.export(Home().records, path, tuple(studies or ()))
    console.print(f"{rows} rows, schema {exchange.VERSION}: {path}", soft_wrap=True)


def import_data(file: Annotated[str, typer.Argument(help="a file of `bench export-data`")]) -> None:
    """Read another lab's records; nothing that is here is overwritten."""
    from bench.records import imported
    from bench.records.home import Home

    home = Home()
    found = imported.bring(home.records, Path(file).absolute())
    console.print(
        f"{found.runs} runs and {found.studies} studies are new, {found.known} runs were here; they are in {home.path}, "
        "marked as imported, and `bench report` shows them",
        soft_wrap=True,
    )

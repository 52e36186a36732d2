"""Making a report from the records of this home, of another one, or of an MLflow store; comparing two sets of records."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from bench import registry, tracking
from bench.cli.terminal import console
from bench.environment import mask_secrets
from bench.errors import BenchError, MissingData
from bench.records.home import Home
from bench.tracking import links


def make_report(
    studies: tuple[str, ...],
    out: Path | None = None,
    *,
    from_mlflow: bool = False,
    records: Path | None = None,
    mlflow: str = "",
) -> Path:
    """Build the report of studies (none: all) and return its page.

    Args:
        studies: names of studies.
        out: the folder to write; by default report in the home.
        from_mlflow: fetch the records from the MLflow store's artifacts.
        records: read the records of another home.
        mlflow: the address of the MLflow UI, which runs then link to.

    Raises:
        BenchError: there are no records, or two sources of records.
    """
    home = Home()
    build = registry.load(registry.REPORTS, "report").build
    out = out or home.report
    if records is not None and from_mlflow:
        raise BenchError(
            "records come from a folder or from MLflow, but got both; leave --records or --from-mlflow out"
        )
    page: Path
    if not from_mlflow:
        with console.status("making the report"):
            page = build(records or home.path, out, studies=studies, links=_links(home, mlflow, studies))
        return page
    with tempfile.TemporaryDirectory() as temporary, console.status("fetching records"):
        names = tracking.fetch(home, Path(temporary), studies)
        if not names:
            raise MissingData(
                "the MLflow store holds no finished study of this suite; run `bench study`, or `bench sync`"
            )
        page = build(Path(temporary), out, studies=studies, links=_links(home, mlflow, studies))
    return page


def _links(home: Home, mlflow: str, studies: tuple[str, ...]) -> dict[str, dict[str, str]] | None:
    """Addresses of the runs in the MLflow UI at ``mlflow``, by study and run; None without an address."""
    if not mlflow:
        return None
    found = links.addresses(home, mlflow, studies)
    if not found:
        store = mask_secrets(home.tracking_uri)
        console.print(
            f"no links to MLflow: its store {store} holds none of these runs; `bench sync` adds them", style="yellow"
        )
    return found


def diff(old: str, new: str, out: Path | None) -> None:
    """Print what differs between two sets of records, and write all of it."""
    home = Home()
    folder = out or home.report
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

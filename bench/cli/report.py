"""Commands that read and write records and documents: `bench report`, `docs`, `export-data`, `import-data`, `sync`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import remote
from bench.cli.options import Records
from bench.cli.terminal import console
from bench.errors import BenchError

Studies = Annotated[list[str] | None, typer.Argument(help="names of studies; none: all")]


def _folder(text: str) -> Path | None:
    return Path(text).absolute() if text else None


def report_command(
    studies: Studies = None,
    out: Annotated[str, typer.Option(help="output folder; default: report in $BENCH_HOME")] = "",
    from_mlflow: Annotated[bool, typer.Option(help="read the records from the MLflow store's artifacts")] = False,
    diff: Annotated[
        tuple[str, str] | None, typer.Option(help="OLD NEW: compare two homes, or two studies of this home")
    ] = None,
    records: Records = "",
    mlflow: Annotated[
        str, typer.Option(help="address of the MLflow UI, such as http://127.0.0.1:5000; runs then link to it")
    ] = "",
) -> None:
    """Make figures, tables and the page from records; never trains."""
    from bench.cli import reporting  # here, because pandas and MLflow take seconds to import

    if diff is not None:
        reporting.diff(*diff, _folder(out))
        return
    with remote.folder(records) as home:
        page = reporting.make_report(
            tuple(studies or ()), _folder(out), from_mlflow=from_mlflow, records=home, mlflow=mlflow
        )
    console.print(f"report: {page}", soft_wrap=True)


def docs_command(
    out: Annotated[str, typer.Option(help="output folder; default: docs in $BENCH_HOME")] = "",
) -> None:
    """Make the manual: a page for each method, from its docstring, its fields and its claims, and the guides."""
    from bench.cli import manual  # here, because torch takes seconds to import

    console.print(f"manual: {manual.write(_folder(out))}", soft_wrap=True)


def export_data_command(
    studies: Annotated[
        list[str] | None, typer.Argument(help="names of studies; none: all studies and all single runs")
    ] = None,
    out: Annotated[str, typer.Option(help="output file, which ends in .parquet")] = "data.parquet",
) -> None:
    """Write records as one parquet file for other people to read, without local paths and names."""
    if not out.endswith(".parquet"):
        raise BenchError(
            f"records are exported as parquet, but --out is {out!r}; end it in .parquet (`bench report` writes the CSV behind "
            "each figure and table)"
        )
    from bench.records import exchange  # here, because pandas takes seconds to import
    from bench.records.home import Home

    path = Path(out).absolute()
    rows = exchange.export(Home().records, path, tuple(studies or ()))
    console.print(f"{rows} rows, schema {exchange.VERSION}: {path}", soft_wrap=True)


def import_data_command(file: Annotated[str, typer.Argument(help="a file of `bench export-data`")]) -> None:
    """Read records that another lab exported; nothing in this home is overwritten."""
    from bench.records import imported  # here, because pandas takes seconds to import
    from bench.records.home import Home

    home = Home()
    found = imported.bring(home.records, Path(file).absolute())
    console.print(
        f"imported {found.runs} new runs and {found.studies} new studies into {home.path} ({found.known} runs were there "
        "before); they are marked as imported, and `bench report` shows them",
        soft_wrap=True,
    )


def sync_command(records: Records = "") -> None:
    """Send to MLflow what it lacks of the records. It can be repeated: nothing appears twice."""
    from bench.cli import mlflow_store  # here, because MLflow takes seconds to import

    with remote.folder(records, weights=True) as home:
        mlflow_store.sync(home)

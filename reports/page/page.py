"""The page: one HTML file that holds all, asks nothing of any network, and runs nothing that came from a record.

A number of a table leads to its runs: it is a link to the first of them in the table of runs, where all of them are marked.
From there a run's id leads on to MLflow, where the report was told how (``bench report --mlflow``).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from reports.card.card import summary
from reports.figures.catalog import Figure
from reports.tables import formats
from reports.tables.columns import Column, Row, Table

TYPES = {"pdf": "application/pdf", "svg": "image/svg+xml", "png": "image/png", "csv": "text/csv", "md": "text/markdown"}
TYPES["tex"] = "application/x-tex"
HELD = 500_000  # bytes of a file that the page holds at most, besides what it shows; larger ones lie beside it


@dataclass(frozen=True)
class Shown:
    """A figure with its ``files``, by the end of their names, none where there was nothing to draw; and the height (inches)
    of each of its two widths."""

    figure: Figure
    files: Mapping[str, bytes]
    heights: Mapping[str, float]


@dataclass(frozen=True)
class Section:
    """What the page says about one study; ``links`` are addresses of runs in MLflow, by id."""

    name: str
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    figures: Sequence[Shown]
    tables: Sequence[Table]
    links: Mapping[str, str]

    @property
    def card(self) -> Table:
        """The evaluation card."""
        return next(table for table in self.tables if table.name == "card")

    @cached_property
    def files(self) -> dict[str, dict[str, bytes]]:
        """The files of each table, by its name."""
        return {table.name: table_files(table) for table in self.tables}


def data_uri(name: str, data: bytes) -> str:
    """A file as an address that holds it."""
    return f"data:{TYPES[name.rpartition('.')[2]]};base64,{base64.b64encode(data).decode()}"


def downloads(name: str, folder: str, files: Mapping[str, bytes]) -> list[tuple[str, str, str]]:
    """For each file of a figure or table its name, what the page calls it, and the address that holds it; "" for one that is
    too large to be held twice, which is called by its place and size."""
    found = []
    for end, data in files.items():
        said = end.lstrip(".-").replace("page.", "page ").replace("column.", "column ")
        held = len(data) <= HELD
        said += "" if held else f" ({len(data) / 1e6:.1f} MB: {folder}/{name}{end})"
        found.append((f"{name}{end}", said, data_uri(end, data) if held else ""))
    return found


def table_files(table: Table) -> dict[str, bytes]:
    """The table's three texts by the end of their names."""
    texts = {".md": formats.markdown(table), ".tex": formats.latex(table), ".csv": formats.csv(table.frame)}
    return {end: text.encode() for end, text in texts.items()}


def sort_key(value: Any) -> Any:
    """What the page sorts a cell by; what is not there is empty and comes last."""
    return "" if value is None or value != value else value


def first_runs(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each row, its run's id where it is the first row with that run, else "": two trials can be one run."""
    found, known = [], set[str]()
    for row in rows:
        run = next(iter(row.get("runs", ())), "")
        found.append("" if run in known else run)
        known.add(run)
    return found


def body(here: str, section: Section, table: Table) -> Markup:
    """The rows of a table, whose ids begin with ``here``. They are thousands, so no template is called for each of them."""
    rows = table.rows()
    ids = first_runs(rows) if table.name == "runs" else [""] * len(rows)
    lines = list[str]()
    for row, texts, run in zip(rows, table.texts, ids, strict=True):
        claim = ' class="claim"' if row.get("claim") else ""
        anchor = f' id="{escape(f"{here}-run-{run}")}"' if run else ""
        lines += [f"<tr{claim}{anchor}>", *_cells(here, section, table, row, texts), "</tr>"]
    return Markup("\n".join(lines))


def _cells(here: str, section: Section, table: Table, row: Row, texts: Sequence[str]) -> Iterator[str]:
    for column, said in zip(table.columns, texts, strict=True):
        key = said if column.runs else str(sort_key(row[column.key]))
        shown = _cell(here, section, table, column, row, said)
        shown = f"<b>{shown}</b>" if column.strong(row) else shown
        told = f' data-key="{escape(key)}"' if key != said or column.runs else ""
        kind = ' class="number"' if column.number else ' class="long"' if column.long else ""
        yield f"<td{told}{kind}>{shown}</td>"


def _cell(here: str, section: Section, table: Table, column: Column, row: Row, said: str) -> str:
    """What a cell shows: its text, and where that leads."""
    text, runs, own = escape(said), row.get("runs") or (), table.name == "runs"
    if column.runs and runs and not own:
        return "".join(f'<a class="run" href="#{here}-run-{escape(run)}">{escape(run)}</a> ' for run in runs)
    if column.runs and runs:
        address = section.links.get(runs[0])
        to = f'<a class="run" target="_blank" rel="noopener" href="{escape(address)}">' if address else ""
        return f"{to}{text}</a>" if to else f"<code>{text}</code>"
    if column.link and row[column.link]:
        return f'<a href="#{here}-{escape(row[column.link])}">{text}</a>'
    if column.number and runs and said != "–" and not own:
        several = f' data-runs="{escape(" ".join(runs))}"' if len(runs) > 1 else ""
        return f'<a class="from" href="#{here}-run-{escape(runs[0])}"{several}>{text}</a>'
    return str(text)


def html(sections: Sequence[Section]) -> str:
    """The whole page."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"data_uri": data_uri, "downloads": downloads, "body": body, "summary": summary}
    return environment.get_template("page.html").render(sections=sections) + "\n"

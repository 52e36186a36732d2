"""The page of a report: one self-contained HTML file, which needs no network and executes nothing from records.

The numbers of a table are links to their runs: to the first of them in the table of runs, where all of them are marked. The
ids of runs are links to MLflow where the report has its addresses (``bench report --mlflow``).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from markupsafe import Markup, escape

from reports.card.card import summary
from reports.figures.catalog import Figure
from reports.page.templates import templates
from reports.tables import formats
from reports.tables.columns import Column, Row, Table

TYPES = {"pdf": "application/pdf", "svg": "image/svg+xml", "png": "image/png", "csv": "text/csv", "md": "text/markdown"}
TYPES["tex"] = "application/x-tex"
HELD = 500_000  # maximum size in bytes of a file that the page embeds for download; larger files are beside the page


@dataclass(frozen=True)
class Shown:
    """A figure with its ``files``, by the end of their names (none where there is nothing to draw), and its height (inches) at
    each of the two widths."""

    figure: Figure
    files: Mapping[str, bytes]
    heights: Mapping[str, float]


@dataclass(frozen=True)
class Section:
    """The section of the page about one study; ``links`` are the addresses of runs in MLflow, by id."""

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
    """A file as a data URI."""
    return f"data:{TYPES[name.rpartition('.')[2]]};base64,{base64.b64encode(data).decode()}"


def downloads(name: str, folder: str, files: Mapping[str, bytes]) -> list[tuple[str, str, str]]:
    """For each file of a figure or table its name, its label, and its data URI; for a file above `HELD`, the label has its path
    and size, and the URI is empty."""
    found = []
    for end, data in files.items():
        label = end.lstrip(".-").replace("page.", "page ").replace("column.", "column ")
        if len(data) > HELD:
            found.append((f"{name}{end}", f"{label} ({len(data) / 1e6:.1f} MB: {folder}/{name}{end})", ""))
        else:
            found.append((f"{name}{end}", label, data_uri(end, data)))
    return found


def table_files(table: Table) -> dict[str, bytes]:
    """The table as Markdown, LaTeX and CSV, by the end of the file names."""
    texts = {".md": formats.markdown(table), ".tex": formats.latex(table), ".csv": formats.csv(table.frame)}
    return {end: text.encode() for end, text in texts.items()}


def sort_key(value: Any) -> Any:
    """The value that the page sorts a cell by; a missing value is empty, and is sorted last."""
    if value is None or value != value:
        return ""
    return value


def first_runs(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each row the id of its run, or "" where an earlier row has it: two trials can have the same run."""
    found, known = [], {""}
    for row in rows:
        run = next(iter(row.get("runs", ())), "")
        if run in known:
            run = ""
        found.append(run)
        known.add(run)
    return found


def body(here: str, section: Section, table: Table) -> Markup:
    """The rows of a table as HTML; their ids begin with ``here``. Built without a template, as there can be thousands."""
    rows = table.rows()
    ids = [""] * len(rows)
    if table.name == "runs":
        ids = first_runs(rows)
    lines = list[str]()
    for row, texts, run in zip(rows, table.texts, ids, strict=True):
        lines += [_open_row(here, row, run), *_cells(here, section, table, row, texts), "</tr>"]
    return Markup("\n".join(lines))


def _open_row(here: str, row: Row, run: str) -> str:
    """The opening tag of a row, with an anchor where a ``run`` is given."""
    tag = "<tr"
    if row.get("claim"):
        tag += ' class="claim"'
    if run:
        tag += f' id="{escape(f"{here}-run-{run}")}"'
    return f"{tag}>"


def _cells(here: str, section: Section, table: Table, row: Row, texts: Sequence[str]) -> Iterator[str]:
    for column, text in zip(table.columns, texts, strict=True):
        shown = _cell(here, section, table, column, row, text)
        if column.strong(row):
            shown = f"<b>{shown}</b>"
        yield f"<td{_sort_attribute(column, row, text)}{_class_attribute(column)}>{shown}</td>"


def _sort_attribute(column: Column, row: Row, text: str) -> str:
    """The attribute with the value that a cell is sorted by; none where it is the text."""
    if column.runs:
        return f' data-key="{escape(text)}"'
    key = str(sort_key(row[column.key]))
    if key == text:
        return ""
    return f' data-key="{escape(key)}"'


def _class_attribute(column: Column) -> str:
    if column.number:
        return ' class="number"'
    if column.long:
        return ' class="long"'
    return ""


def _cell(here: str, section: Section, table: Table, column: Column, row: Row, said: str) -> str:
    """The content of a cell: its text, as a link where it has a target."""
    text, runs, own = escape(said), row.get("runs") or (), table.name == "runs"
    if column.runs and runs and not own:
        return "".join(f'<a class="run" href="#{here}-run-{escape(run)}">{escape(run)}</a> ' for run in runs)
    if column.runs and runs:
        return _run(text, section.links.get(runs[0]))
    if column.link and row[column.link]:
        return f'<a href="#{here}-{escape(row[column.link])}">{text}</a>'
    if column.number and runs and said != "–" and not own:
        several = ""
        if len(runs) > 1:
            several = f' data-runs="{escape(" ".join(runs))}"'
        return f'<a class="from" href="#{here}-run-{escape(runs[0])}"{several}>{text}</a>'
    return str(text)


def _run(text: Markup, address: str | None) -> str:
    """A run's id, as a link to MLflow where the report has its address."""
    if not address:
        return f"<code>{text}</code>"
    return f'<a class="run" target="_blank" rel="noopener" href="{escape(address)}">{text}</a>'


def html(sections: Sequence[Section]) -> str:
    """Returns the whole page."""
    environment = templates(data_uri=data_uri, downloads=downloads, body=body, summary=summary)
    return environment.get_template("page.html").render(sections=sections) + "\n"

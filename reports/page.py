"""The page: one HTML file that holds all, asks nothing of any network, and runs nothing that came from a record.

A number of a table leads to its runs: it is a link to the first of them in the table of runs, where all of them are marked.
From there a run's id leads on to MLflow, where the report was told how (``bench report --mlflow``).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports import formats
from reports.card import summary
from reports.columns import Table
from reports.figures import Figure

TYPES = {"pdf": "application/pdf", "svg": "image/svg+xml", "png": "image/png", "csv": "text/csv", "md": "text/markdown"}
TYPES["tex"] = "application/x-tex"


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


def data_uri(name: str, data: bytes) -> str:
    """A file as an address that holds it."""
    return f"data:{TYPES[name.rpartition('.')[2]]};base64,{base64.b64encode(data).decode()}"


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


def html(sections: Sequence[Section]) -> str:
    """The whole page."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"data_uri": data_uri, "table_files": table_files, "sort_key": sort_key}
    environment.globals |= {"first_runs": first_runs, "summary": summary}
    return environment.get_template("page.html").render(sections=sections) + "\n"

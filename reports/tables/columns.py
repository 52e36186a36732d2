"""A table: its data, its columns, and how a value is shown as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from reports.load.records import DAGGER, NOTE, dicts

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column: its head, the field that it is sorted by, and the function from a row to its text.

    ``runs``: the text consists of run ids; ``long``: the text is a sentence, which wraps; ``paper``: it is in LaTeX too;
    ``bold``: the field that is true where the text is bold; ``link``: the field with the name of the table or figure that the
    text links to.
    """

    head: str
    key: str
    text: Callable[[Row], str]
    number: bool = False
    runs: bool = False
    long: bool = False
    paper: bool = True
    bold: str = ""
    link: str = ""

    def strong(self, row: Row) -> bool:
        """Whether the text of a row is bold."""
        return bool(self.bold) and bool(row[self.bold])


@dataclass(frozen=True)
class Table:
    """A table: ``frame`` holds the plain values (its CSV), ``columns`` define how they are shown."""

    name: str
    title: str
    caption: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]

    def rows(self) -> list[dict[str, Any]]:
        """The rows as plain values."""
        return self._rows

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return dicts(self.frame)

    @cached_property
    def texts(self) -> list[list[str]]:
        """The rows as text, one per column; computed once and used in every output format."""
        return [[column.text(row) for column in self.columns] for row in self._rows]


def marked(table: Table) -> Table:
    """The table, with a note in its caption where a dagger marks a reconstruction."""
    if not any(DAGGER in said for texts in table.texts for said in texts):
        return table
    return replace(table, caption=f"{table.caption} {NOTE}")


def there(value: Any) -> bool:
    """Whether a value is known: neither None nor NaN."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _known(key: str, show: Callable[[Any], str]) -> Callable[[Row], str]:
    """Shows a field's value, or a dash where it is not known."""

    def shown(row: Row) -> str:
        value = row[key]
        if not there(value):
            return "–"
        return show(value)

    return shown


def fixed(key: str, digits: int = 1, scale: float = 1.0) -> Callable[[Row], str]:
    """Shows a field with a number of decimals, or a dash."""
    return _known(key, lambda value: f"{scale * value:.{digits}f}")


def text(key: str) -> Callable[[Row], str]:
    """Shows a field as it is, or a dash."""
    return _known(key, lambda value: str(value) or "–")


def percent(key: str) -> Callable[[Row], str]:
    """Shows a share in per cent, with one decimal from 10 % on and with two below, or a dash."""

    def shown(value: float) -> str:
        digits = 1 if value >= 0.1 else 2
        return f"{100 * value:.{digits}f}"

    return _known(key, shown)


def interval(key: str, half: str, digits: int = 2, ends: tuple[str, str] | None = None) -> Callable[[Row], str]:
    """Shows a mean with the half width of its interval, where it has one; with both ``ends`` where these are not so far from
    it."""
    mean = fixed(key, digits)

    def shown(row: Row) -> str:
        if not there(row[half]):
            return mean(row)
        if ends is not None and not math.isclose(row[ends[1]] - row[key], row[half], abs_tol=1e-9):
            return f"{mean(row)} [{row[ends[0]]:.{digits}f}, {row[ends[1]]:.{digits}f}]"
        return f"{mean(row)} ± {row[half]:.{digits}f}"

    return shown


def count_or_dash(key: str) -> Callable[[Row], str]:
    """Shows a count, or a dash for 0."""
    return lambda row: str(row[key] or "–")


def p_value(row: Row) -> str:
    """Shows the p value corrected by Holm (field ``holm``)."""
    if there(row["holm"]) and row["holm"] < 0.001:
        return "< 0.001"
    return fixed("holm", 3)(row)


RUNS_OR_SOURCE = Column(
    "runs or source",
    "source",
    lambda row: row["source"] or " ".join(row["runs"]),
    runs=True,
    long=True,
    paper=False,
)
"""The runs of a row of ours, or the source of a paper's."""


def settings(params: Row) -> str:
    """Parameters in the form of the command line, sorted, with all digits."""
    return " ".join(f"{name}={value}" for name, value in sorted(params.items()))


def short(row: Row) -> str:
    """Shows the settings with numbers rounded to four digits."""
    parts = (part.partition("=") for part in str(row["settings"]).split())
    return " ".join(f"{name}={_rounded(value)}" for name, _, value in parts) or "–"


def _rounded(value: str) -> str:
    if "." not in value and "e-" not in value:
        return value
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def counted(count: int, what: str) -> str:
    """A number of things in words: "1 run", "2 runs"."""
    if count == 1:
        return f"1 {what}"
    return f"{count} {what}s"

"""A table as data and as it is shown: its columns, and how a value becomes text."""

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
    """A column as shown: its head, the field it sorts by, and how a row becomes text.

    ``runs``: the text is run ids; ``long``: the text is a sentence, which wraps; ``paper``: it is printed in LaTeX too;
    ``bold``: the field that says of a row whether the text is in bold; ``link``: the field that names the table or figure that
    the text leads to.
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
        """Whether the text of a row is in bold."""
        return bool(self.bold) and bool(row[self.bold])


@dataclass(frozen=True)
class Table:
    """A table: ``frame`` holds the plain values (its CSV), ``columns`` say how they are shown."""

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
        """The rows as they are shown, a text for each column; made once, for every form that the table is written in."""
        return [[column.text(row) for column in self.columns] for row in self._rows]


def marked(table: Table) -> Table:
    """The table, with a note in its caption where a dagger marks a reconstruction."""
    shown = any(DAGGER in said for texts in table.texts for said in texts)
    return replace(table, caption=f"{table.caption} {NOTE}") if shown else table


def there(value: Any) -> bool:
    """Whether there is a value: neither None nor NaN."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def fixed(key: str, digits: int = 1, scale: float = 1.0) -> Callable[[Row], str]:
    """A field with a number of decimals, or a dash."""
    return lambda row: f"{scale * row[key]:.{digits}f}" if there(row[key]) else "–"


def text(key: str) -> Callable[[Row], str]:
    """A field as it is, or a dash."""
    return lambda row: str(row[key]) if there(row[key]) and row[key] != "" else "–"


def percent(key: str) -> Callable[[Row], str]:
    """A share as per cent, with a second decimal below 10 %."""
    return lambda row: f"{100 * row[key]:.{1 if row[key] >= 0.1 else 2}f}" if there(row[key]) else "–"


def interval(key: str, half: str, digits: int = 2) -> Callable[[Row], str]:
    """A mean with the half width of its interval; without one, the number alone."""
    return lambda row: fixed(key, digits)(row) + (f" ± {row[half]:.{digits}f}" if there(row[half]) else "")


def settings(params: Row) -> str:
    """Parameters as the command line takes them, sorted, with every digit."""
    return " ".join(f"{name}={value}" for name, value in sorted(params.items()))


def short(row: Row) -> str:
    """The settings with numbers rounded to four digits, to be read."""
    parts = (part.partition("=") for part in str(row["settings"]).split())
    return " ".join(f"{name}={_rounded(value)}" for name, _, value in parts) or "–"


def _rounded(value: str) -> str:
    try:
        return f"{float(value):.4g}" if "." in value or "e-" in value else value
    except ValueError:
        return value

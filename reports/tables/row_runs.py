"""Adds to each row of a table the ids of the runs from which its numbers are computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from reports.load.records import Study, called, called_cell, dicts, label
from reports.tables.columns import Table
from reports.tables.tidy import cell

KEYS = ("cell", "method", "label", "model", "group")
"""Columns that identify the runs of a row."""
SAYING = ("cell", "method", "label")
"""A table needs at least one of these: a model or a group alone does not identify runs."""


def traced(table: Table, study: Study) -> Table:
    """Returns the table with a column ``runs`` in its data: the ids of the finished finals and controls of each row.

    The table is returned unchanged where it has such a column, or no column that identifies runs.
    """
    keys = [key for key in KEYS if key in table.frame]
    if "runs" in table.frame or not set(keys) & set(SAYING):
        return table
    entries = dicts(study.done("final", "baseline"))
    places = _places([_names(entry) for entry in entries])
    runs = []
    for row in table.rows():
        own = set.intersection(*(places[key].get(row[key], set()) for key in keys))
        if row.get("claim"):  # a paper's number has no runs
            own = set()
        runs.append([str(entries[place]["run"]) for place in sorted(own)])
    if not any(runs):
        return table
    return replace(table, frame=table.frame.assign(runs=pd.Series(runs, index=table.frame.index)))


def _places(known: Sequence[Mapping[str, set[Any]]]) -> dict[str, dict[Any, set[int]]]:
    """For each column and name, the indices of the entries with that name."""
    found: dict[str, dict[Any, set[int]]] = {key: {} for key in KEYS}
    for place, names in enumerate(known):
        for key in KEYS:
            for name in names[key]:
                found[key].setdefault(name, set()).add(place)
    return found


def _names(entry: Mapping[str, Any]) -> dict[str, set[Any]]:
    """The names by which tables refer to an entry, by column."""
    cells = {entry["cell"], called_cell(entry), cell(entry)}
    return {
        "cell": cells,
        "method": {entry["method"], called(entry), label(entry)},
        "label": {label(entry)},
        "model": {entry["model"]},
        "group": {entry["group"], ""},
    }

"""From a number back to the runs that it is made of: rows of tables that do not name their runs are told them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from reports.load.records import Study, called, called_cell, dicts, label
from reports.tables.columns import Table
from reports.tables.tidy import cell

KEYS = ("cell", "method", "label", "model", "group")
"""Columns that say of which runs a row speaks."""
SAYING = ("cell", "method", "label")
"""Of these one at least must be there: a model or a group alone does not say which runs are meant."""


def traced(table: Table, study: Study) -> Table:
    """The table with a column ``runs`` in its data, the ids of the finished finals and controls that each row is made of.

    Left as it is where the rows say their runs themselves, or nothing by which they could be told.
    """
    keys = [key for key in KEYS if key in table.frame]
    if "runs" in table.frame or not set(keys) & set(SAYING):
        return table
    entries = dicts(study.done("final", "baseline"))
    places = _places([_names(entry) for entry in entries])
    runs = []
    for row in table.rows():
        own = [places[key].get(row[key], set()) for key in keys] if not row.get("claim") else [set[int]()]
        runs.append([str(entries[place]["run"]) for place in sorted(set.intersection(*own))])
    return (
        replace(table, frame=table.frame.assign(runs=pd.Series(runs, index=table.frame.index))) if any(runs) else table
    )


def _places(known: Sequence[Mapping[str, set[Any]]]) -> dict[str, dict[Any, set[int]]]:
    """For each column and name the places of the entries that are called so."""
    found: dict[str, dict[Any, set[int]]] = {key: {} for key in KEYS}
    for place, names in enumerate(known):
        for key in KEYS:
            for name in names[key]:
                found[key].setdefault(name, set()).add(place)
    return found


def _names(entry: Mapping[str, Any]) -> dict[str, set[Any]]:
    """What tables call an entry, by column."""
    cells = {entry["cell"], called_cell(entry), cell(entry)}
    return {
        "cell": cells,
        "method": {entry["method"], called(entry), label(entry)},
        "label": {label(entry)},
        "model": {entry["model"]},
        "group": {entry["group"], ""},
    }

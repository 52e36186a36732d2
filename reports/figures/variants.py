"""The accuracy of the variants of a grid, in the declared order, by group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures import style
from reports.figures.accuracy import top1
from reports.figures.style import CONTROL_DASH, INK, PAGE, Looks, ink, key
from reports.load.records import CONFIGURATION, CONTROL, Study, called, dicts, label

COLUMNS = ["model", "group", "method", "reconstruction", "said", "label", "order", "kind", "split"]
COLUMNS += ["accuracy", "low", "high", "n"]
ROW = 0.145  # inches of paper for one variant


def variants(study: Study) -> pd.DataFrame:
    """Returns one row per variant and model, and per control: mean accuracy (per cent) over its seeds with a 95 % t interval.

    The rows of a model are ordered by group, as declared.
    """
    found = []
    for _, rows in study.done("final", "baseline").groupby(CONFIGURATION, sort=True):
        first = dicts(rows)[0]
        whose = {name: first[name] for name in COLUMNS if name in first}
        found.append({**whose, "label": label(first), **top1(rows)})
    table = pd.DataFrame(found, columns=COLUMNS)
    place = table.groupby("group")["order"].transform("min")
    by = ["model", "place", "order", "method"]
    return table.assign(place=place).sort_values(by, ignore_index=True)[COLUMNS]


def draw(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """Draws a panel per model with a row per variant; where each model has a single variant, one panel with a row per model."""
    counts = table[table["order"] >= 0].groupby("model").size()
    if counts.max() == 1 and len(counts) > 1:
        return _by_model(table, looks, wide)
    models = list(table["model"].unique())
    longest = max(map(len, table["label"]))
    across = max(1, min(3, int((PAGE - 0.06 * longest) / 1.5)))
    tall = 0.55 + ROW * max(_rows(table[table["model"] == model]) for model in models)
    figure, grid = style.panels(len(models), wide, height=tall, most=across, least=tall)
    for i, ((axes,), model) in enumerate(zip(grid, models, strict=True)):
        own = table[table["model"] == model]
        named = _draw_rows(axes, own[own["order"] >= 0], looks, "label")
        if wide and i % across and named == [t.get_text() for t in grid[i - 1][0].get_yticklabels()]:
            axes.tick_params(labelleft=False)
        for control in dicts(own[own["method"] == CONTROL]):
            style.control_line(axes, control["accuracy"], control["low"], control["high"], vertical=True)
        axes.set_xlabel("Top-1 accuracy (%)")
        style.title(axes, model)
    _legend(figure, table, looks, wide)
    return figure


def _by_model(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    figure, [[axes]] = style.panels(1, wide, height=0.5 + ROW * table["model"].nunique())
    rows = table[table["order"] >= 0]
    _draw_rows(axes, rows, looks, "model")
    places = {model: place for place, model in enumerate(rows["model"])}
    for control in dicts(table[(table["method"] == CONTROL) & table["model"].isin(places)]):
        _point(axes, control, places[control["model"]], looks)
    axes.set_xlabel("Top-1 accuracy (%)")
    _legend(figure, table, looks, wide)
    return figure


def _rows(table: pd.DataFrame) -> int:
    """The rows of a panel: one per variant, and one per group where there are several."""
    own = table[table["order"] >= 0]
    groups = own["group"].nunique()
    if groups == 1:
        return len(own)
    return len(own) + groups


def _draw_rows(axes: Axes, rows: pd.DataFrame, looks: Looks, name: str) -> list[str]:
    """Draws a point per row from the top, below the name of its group where there are several; returns the names."""
    place, group, ticks, names = 0, None, list[int](), list[str]()
    several = rows["group"].nunique() > 1
    for row in dicts(rows):
        if several and row["group"] != group:
            group = row["group"]
            ticks.append(place)
            names.append(f"{group or 'others'}:")
            axes.axhline(place, color=INK, linewidth=0.3)
            place += 1
        _point(axes, row, place, looks)
        ticks.append(place)
        names.append(str(row[name]))
        place += 1
    axes.set_yticks(ticks, names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(place, 1) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    return names


def _point(axes: Axes, row: dict[str, Any], place: float, looks: Looks) -> None:
    look, half = looks[row["method"]], np.nan_to_num(row["high"] - row["accuracy"])
    face = ink(color=look.colour, markerfacecolor=style.fill(look.colour, hollow=row["split"] != "test"))
    bars = ink(ecolor=look.colour, elinewidth=0.9, capsize=1.5, markersize=4)
    axes.errorbar([row["accuracy"]], [place], xerr=[half], fmt=look.marker, **face, **bars)


def _legend(figure: Figure, table: pd.DataFrame, looks: Looks, wide: bool) -> None:
    handles = []
    for row in dicts(table.drop_duplicates("method")):
        look = looks[row["method"]]
        dash = CONTROL_DASH if row["method"] == CONTROL else "none"
        handles.append(key(called(row), color=look.colour, marker=look.marker, linestyle=dash, linewidth=0.9))
    style.legend(figure, handles, wide)

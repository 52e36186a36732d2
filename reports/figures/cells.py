"""A panel for each cell of a comparison: all methods with their intervals and the letters of their groups."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.markers import CARETLEFT

from reports.figures import style
from reports.figures.catalog import Figure, if_empty, numbers
from reports.figures.style import Looks, ink
from reports.load.records import CONTROL, Study, dicts
from reports.load.units import by_dense_model
from reports.statistics.frame import LEAST
from reports.statistics.groups import top_groups
from reports.statistics.summary import accuracy
from reports.tables.comparison import ALONE, FAILED, comparable, identities, tidy

COLUMNS = ["cell", "model", "method", "reconstruction", "label", "n", "failed", "mean", "low", "high", "letters"]
COLUMNS += ["dense", "dense_low", "dense_high"]
ROW = 0.14  # inches of paper for one method


def cells(study: Study) -> pd.DataFrame:
    """Returns one row per cell and method, by decreasing mean over all cells.

    Test top-1 in per cent, mean over ``n`` seeds with the ends of its 95 % t interval (NaN for one seed), its letters
    (`reports.statistics.groups`), and the dense control.
    """
    frame = tidy(study)
    if not comparable(frame):
        return pd.DataFrame(columns=COLUMNS)
    whose, found = identities(frame), top_groups(frame)
    dense = {model: accuracy(by_dense_model(rows, "test_top1")) for model, rows in _controls(study).groupby("model")}
    order = found.groupby("method")["mean"].mean().sort_values(ascending=False, kind="stable")
    rows = []
    for row in dicts(found):
        model = max((m for m in study.entries["model"].unique() if row["cell"].startswith(m)), key=len)
        ends = {name: row[name] if row["half"] else math.nan for name in ("low", "high")}  # a width of 0 is not drawn
        beside = dense.get(model, accuracy([])).prefixed("dense")
        rows.append({**row, **ends, **beside, **whose[row["method"]].columns(), "model": model})
    table = pd.DataFrame(rows, columns=COLUMNS)
    place = table["label"].map(list(order.index).index)
    return table.assign(place=place).sort_values(["cell", "place"], kind="stable", ignore_index=True)[COLUMNS]


def _controls(study: Study) -> pd.DataFrame:
    rows = study.done("baseline")
    return rows[rows["method"] == CONTROL]


def figure(study: Study) -> Figure:
    """The figure with a panel for each cell."""
    table = cells(study)
    models = list(table["model"].unique())
    where = f"on {models[0]}" if len(models) == 1 else "in each cell"
    caption = (
        f"Test top-1 of each method {where}, mean over {numbers(table['n'])} seeds with 95 % t intervals (none for one "
        "seed). Methods are ordered by their mean over all cells; added baselines are hollow and grey. Within a cell, methods "
        "that share a letter are not significantly different (Games-Howell; none below "
        f"n = {LEAST}). Dashed and shaded: the dense "
        f"control. An arrow: the mean is far below the axis, and the number is printed. {FAILED}"
    )
    missing = if_empty(table, ALONE)
    return Figure("cells", "Accuracy in each cell", caption, table, partial(draw, table), missing)


def draw(table: pd.DataFrame, looks: Looks, wide: bool) -> Canvas:
    """Draws panels with the same rows, so that only the leftmost ones name the methods."""
    labels, names = list(dict.fromkeys(table["label"])), list(dict.fromkeys(table["cell"]))
    tall = 0.45 + ROW * len(labels)
    canvas, grid = style.panels(len(names), wide, height=tall, most=3, least=tall)
    one_model = table["model"].nunique() == 1  # then the caption names it, and the titles need not
    for (axes,), name in zip(grid, names, strict=True):
        own = table[table["cell"] == name]
        _panel(axes, own, labels, looks)
        if one_model:
            name = name.removeprefix(own["model"].iloc[0]).removeprefix(": ")
        style.title(axes, name)
    if table["dense"].notna().any():
        style.legend(canvas, [style.control_key(f"{CONTROL} (mean, 95 % interval)")], wide)
    return canvas


def _panel(axes: Axes, rows: pd.DataFrame, labels: list[str], looks: Looks) -> None:
    lowest = style.worth(rows["mean"])
    for row in dicts(rows):
        _row(axes, row, labels.index(row["label"]), lowest, looks)
    dense, low, high = (float(rows[name].iloc[0]) for name in ("dense", "dense_low", "dense_high"))
    if not math.isnan(dense):
        style.control_line(axes, dense, low, high, vertical=True)
    left, right = axes.get_xlim()
    start = max(left, lowest - 0.25 * (right - lowest))
    if (rows["mean"] < lowest).any():
        start = lowest
    axes.set_xlim(start, min(right, 101.0))
    axes.set_ylim(len(labels) - 0.4, -0.6)
    names = labels if style.leftmost(axes) else [""] * len(labels)
    axes.set_yticks(range(len(labels)), names)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Test top-1 (%)")


def _row(axes: Axes, row: Mapping[str, Any], place: int, lowest: float, looks: Looks) -> None:
    look = looks[row["method"]]
    letters = row["letters"]
    if not letters and not row["n"]:
        letters = "failed"
    axes.text(1.02, place, letters, transform=axes.get_yaxis_transform(), fontsize=6, va="center", color="#555555")
    if not row["n"]:
        return
    if row["mean"] < lowest:
        axes.plot([lowest], [place], marker=CARETLEFT, color=look.colour, markersize=5, clip_on=False)
        where = ink(xytext=(6, 0), textcoords="offset points", va="center", fontsize=6, color="#555555")
        axes.annotate(_number(row), (lowest, place), **where)
        return
    bar = [[row["mean"] - row["low"]], [row["high"] - row["mean"]]] if not math.isnan(row["low"]) else None
    mark = ink(**look.mark(), markersize=3.8, elinewidth=0.9, zorder=3)
    axes.errorbar([row["mean"]], [place], xerr=bar, **mark)


def _number(row: Mapping[str, Any]) -> str:
    """A mean with the half width of its interval, where it has one and is symmetric."""
    half = row["high"] - row["mean"]
    if math.isnan(half) or not math.isclose(half, row["mean"] - row["low"], abs_tol=1e-9):
        return f"{row['mean']:.1f}"
    return f"{row['mean']:.1f} ± {half:.1f}"

"""Every cell of a comparison by itself: the methods below each other, with their intervals and the letters of their groups."""

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
from reports.figures.catalog import Figure, numbers
from reports.figures.style import CONTROL_DASH, INK, Looks, ink, key
from reports.load.records import CONTROL, Study, dicts
from reports.statistics.groups import top_groups
from reports.statistics.summary import mean
from reports.tables.comparison import ALONE, FAILED, comparable, identities, tidy

COLUMNS = ["cell", "model", "method", "reconstruction", "label", "n", "failed", "mean", "low", "high", "letters"]
COLUMNS += ["dense", "dense_low", "dense_high"]
ROW = 0.14  # inches of paper for one method


def cells(study: Study) -> pd.DataFrame:
    """One row per cell and method, best first over all cells: top-1 on test in per cent, mean over ``n`` seeds with the ends of
    its 95 % t interval (NaN for one seed), its letters (`reports.statistics.groups`), and the same of the dense control."""
    frame = tidy(study)
    if not comparable(frame):
        return pd.DataFrame(columns=COLUMNS)
    whose, found = identities(frame), top_groups(frame)
    dense = {model: mean(rows["test_top1"]) for model, rows in _controls(study).groupby("model")}
    order = found.groupby("method")["mean"].mean().sort_values(ascending=False, kind="stable")
    rows = []
    for row in dicts(found):
        model = max((m for m in study.entries["model"].unique() if row["cell"].startswith(m)), key=len)
        over = dense.get(model, mean([]))
        half = 0.0 if math.isnan(row["half"]) else row["half"]
        ends = {"low": row["mean"] - half, "high": row["mean"] + half} if half else {"low": math.nan, "high": math.nan}
        beside = {"dense": over.mean, "dense_low": over.low, "dense_high": over.high}
        rows.append({**row, **ends, **beside, **whose[row["method"]], "model": model})
    table = pd.DataFrame(rows, columns=COLUMNS)
    place = table["label"].map(list(order.index).index)
    return table.assign(place=place).sort_values(["cell", "place"], kind="stable", ignore_index=True)[COLUMNS]


def _controls(study: Study) -> pd.DataFrame:
    rows = study.done("baseline")
    return rows[rows["method"] == CONTROL]


def figure(study: Study) -> Figure:
    """A panel for each cell."""
    table = cells(study)
    models = list(table["model"].unique())
    where = f"on {models[0]}" if len(models) == 1 else "in each cell"
    caption = (
        f"Test top-1 of each method {where}, mean over {numbers(table['n'])} seeds with 95 % t intervals (none for one "
        "seed); methods in the order of their mean over all cells, those injected hollow and grey. Within a cell, methods that "
        "share a letter cannot be told apart (paired t tests, Holm). Dashed and shaded: the dense model that they start from. "
        f"An arrow: far to the left of the axis, where the number says. {FAILED}"
    )
    missing = "" if len(table) else ALONE
    return Figure("cells", "Every cell", caption, table, partial(draw, table), missing)


def draw(table: pd.DataFrame, looks: Looks, wide: bool) -> Canvas:
    """Panels that share their rows, so that the names stand at the left only."""
    labels, names = list(dict.fromkeys(table["label"])), list(dict.fromkeys(table["cell"]))
    canvas, grid = style.panels(
        len(names), wide, height=0.45 + ROW * len(labels), most=3, least=0.45 + ROW * len(labels)
    )
    alone = table["model"].nunique() == 1  # then the caption names it
    for (axes,), name in zip(grid, names, strict=True):
        own = table[table["cell"] == name]
        _panel(axes, own, labels, looks)
        style.title(axes, name.removeprefix(own["model"].iloc[0]).removeprefix(": ") if alone else name)
    if table["dense"].notna().any():
        style.legend(
            canvas, [key(f"{CONTROL} (mean, 95 % interval)", color=INK, linestyle=CONTROL_DASH, linewidth=0.9)], wide
        )
    return canvas


def _panel(axes: Axes, rows: pd.DataFrame, labels: list[str], looks: Looks) -> None:
    lowest = style.worth(rows["mean"])
    for row in dicts(rows):
        _row(axes, row, labels.index(row["label"]), lowest, looks)
    if not math.isnan(dense := float(rows["dense"].iloc[0])):
        axes.axvline(dense, color=INK, linestyle=CONTROL_DASH, linewidth=0.9)
        if not math.isnan(low := float(rows["dense_low"].iloc[0])):
            axes.axvspan(low, float(rows["dense_high"].iloc[0]), color=INK, alpha=0.08, linewidth=0)
    left, right = axes.get_xlim()
    far = bool((rows["mean"] < lowest).any())
    axes.set_xlim(lowest if far else max(left, lowest - 0.25 * (right - lowest)), min(right, 101.0))
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks(range(len(labels)), labels if style.leftmost(axes) else [""] * len(labels))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Test top-1 (%)")


def _row(axes: Axes, row: Mapping[str, Any], place: int, lowest: float, looks: Looks) -> None:
    look = looks[row["method"]]
    said = row["letters"] or ("" if row["n"] else "failed")
    axes.text(1.02, place, said, transform=axes.get_yaxis_transform(), fontsize=6, va="center", color="#555555")
    if not row["n"]:
        return
    if row["mean"] < lowest:
        axes.plot([lowest], [place], marker=CARETLEFT, color=look.colour, markersize=5, clip_on=False)
        spread = f" ± {row['mean'] - row['low']:.1f}" if not math.isnan(row["low"]) else ""
        where = ink(xytext=(6, 0), textcoords="offset points", va="center", fontsize=6, color="#555555")
        axes.annotate(f"{row['mean']:.1f}{spread}", (lowest, place), **where)
        return
    half = 0.0 if math.isnan(row["low"]) else row["mean"] - row["low"]
    mark = ink(**look.mark(), markersize=3.8, elinewidth=0.9, zorder=3)
    axes.errorbar([row["mean"]], [place], xerr=[half] if half else None, **mark)

"""The critical-difference diagram of Demsar (2006): mean ranks, with bars over methods that do not differ significantly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from reports.figures.catalog import Figure
from reports.figures.style import INK, WIDTHS, Looks, ink
from reports.load.records import dicts
from reports.statistics.paired import ALPHA
from reports.statistics.ranks import METHODS, PAIRS, Ranks, ranks
from reports.tables.columns import Row
from reports.tables.comparison import FAILED, identities

COLUMNS = ["method", "reconstruction", "label", "rank", "groups"]
LINE = 0.15  # inches between the names of two methods
TOP = 0.66  # inches above the scale
BAR = 0.07  # inches between two bars
LETTER = 0.052  # inches of a name's letter, at 7 pt
Bars = Sequence[tuple[float, float]]


def ranking(frame: pd.DataFrame, found: Ranks) -> pd.DataFrame:
    """Returns one row per method, by increasing mean rank over pairs (1 is best); ``groups`` are the numbers (from 1) of its
    groups of methods that do not differ significantly."""
    whose = identities(frame)
    inside = {name: [i for i, group in enumerate(found.groups, start=1) if name in group] for name in found.mean}
    rows = [{**whose[name].columns(), "rank": rank, "groups": inside[name]} for name, rank in found.mean.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def figure(frame: pd.DataFrame) -> Figure:
    """The figure of the mean ranks of a frame's methods, where pairs and methods suffice for a critical difference."""
    found, table = ranks(frame), pd.DataFrame(columns=COLUMNS)
    missing = (
        f"a critical difference needs {PAIRS} pairs of data set and architecture with results of all methods, and {METHODS} "
        f"methods, but there are {found.pairs} and {len(found.mean)}"
    )
    if found.enough:
        table, missing = ranking(frame, found), ""
    caption = (
        f"Mean ranks over {found.pairs} pairs of data set and architecture{_left_out(found)}; 1 is best. Friedman's test "
        f"that all methods are equal: p = {found.friedman:.2g}; {_verdict(found)} (Demsar 2006); the critical difference is "
        f"CD = {found.critical:.2f}. {FAILED}"
    )
    title = "Mean ranks and their critical difference"
    return Figure("ranks", title, caption, table, partial(draw, table, found), missing)


def _left_out(found: Ranks) -> str:
    if not found.left_out:
        return ""
    return f" ({found.left_out} more are excluded, because not every method has a run in all cells)"


def _verdict(found: Ranks) -> str:
    if found.friedman < ALPHA:
        return f"bars join methods that do not differ significantly by Nemenyi's test at {ALPHA:g}"
    return "so Nemenyi's test is not applied, and no two methods differ significantly"


def draw(table: pd.DataFrame, found: Ranks, looks: Looks, wide: bool) -> Canvas:
    """Draws the ranks as a scale; the better half of the methods is named at its left and the others at its right."""
    names, ends = list(table["label"]), _levels([(found.mean[g[0]], found.mean[g[-1]]) for g in found.groups])
    count, half = len(names), (len(names) + 1) // 2
    width, room = WIDTHS["page" if wide else "column"], LETTER * max(map(len, names)) + 0.2
    unit = (width - 2 * room) / (count - 1)  # inches of one rank
    depth = 0.12 + BAR * len(ends)
    canvas = Canvas(figsize=(width, TOP + depth + LINE * half + 0.1))
    axes = canvas.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(1 - room / unit, count + room / unit)
    axes.set_ylim(-(depth + LINE * half + 0.1), TOP)  # inches; the scale lies at 0
    _scale(axes, count, found.critical, unit)
    line = ink(color=INK, linewidth=2.4, solid_capstyle="butt")
    for level, bars in enumerate(ends):
        for low, high in bars:
            slack = 0.03 / unit
            axes.plot([low - slack, high + slack], [-0.1 - BAR * level] * 2, **line)
    for place, row in enumerate(dicts(table)):
        colour, level = looks[row["method"]].colour, min(place, count - 1 - place)
        side = LEFT if place < half else RIGHT
        _name(axes, row, -(depth + LINE * (level + 0.5)), colour, 1 if place < half else count, side)
    return canvas


def _scale(axes: Axes, count: int, critical: float, unit: float) -> None:
    axes.plot([1, count], [0, 0], color=INK, linewidth=0.8)
    step = 1 if unit > 0.16 else 2  # ranks between two numbers on the scale
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [0, 0.05], color=INK, linewidth=0.8)
        if rank % step == 1 % step:
            axes.text(rank, 0.07, str(rank), ha="center", va="bottom", fontsize=7)
    end = 1 + critical
    axes.plot([1, 1, 1, end, end, end], [0.3, 0.36, 0.33, 0.33, 0.36, 0.3], color=INK, linewidth=0.8)
    axes.text(1 + critical / 2, 0.37, f"CD = {critical:.2f}", ha="center", va="bottom", fontsize=7)


LEFT = {"xytext": (-3, 0), "ha": "right"}
RIGHT = {"xytext": (3, 0), "ha": "left"}


def _name(axes: Axes, row: Row, height: float, colour: str, edge: float, side: Mapping[str, Any]) -> None:
    """Writes a method's name at an edge of the scale and joins it to the method's rank."""
    rank = row["rank"]
    axes.plot([rank, rank, edge], [0, height, height], color=colour, linewidth=0.9)
    axes.plot([rank], [0], marker="o", markersize=3, color=colour, clip_on=False)
    axes.annotate(row["label"], (edge, height), textcoords="offset points", va="center", fontsize=7, **side)


def _levels(bars: Bars) -> list[Bars]:
    """Distributes bars among the smallest number of levels on which no two touch, from the best rank on."""
    found = list[list[tuple[float, float]]]()
    for low, high in sorted(bars):
        free = next((level for level in found if level[-1][1] + 0.15 < low), None)
        if free is None:
            found.append(free := [])
        free.append((low, high))
    return [*found]

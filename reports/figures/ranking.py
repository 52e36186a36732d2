"""The critical-difference diagram of Demsar (2006): mean ranks on a line, with bars over what cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from reports.figures.catalog import Figure
from reports.figures.style import COLUMN, INK, PAGE, Looks
from reports.load.records import dicts
from reports.statistics.ranks import CELLS, METHODS, Ranks, ranks
from reports.tables.comparison import FAILED, identities

COLUMNS = ["method", "reconstruction", "label", "rank", "groups"]
LINE = 0.15  # inches between the names of two methods
TOP = 0.66  # inches above the scale
BAR = 0.07  # inches between two bars
LETTER = 0.052  # inches of a name's letter, at 7 pt
Bars = Sequence[tuple[float, float]]


def ranking(frame: pd.DataFrame, found: Ranks) -> pd.DataFrame:
    """One row per method, by rising mean rank over cells (1 is best); ``groups`` are the numbers (from 1) of the groups that
    it is in, of methods that cannot be told apart."""
    whose = identities(frame)
    inside = {name: [i for i, group in enumerate(found.groups, start=1) if name in group] for name in found.mean}
    rows = [{**whose[name], "rank": rank, "groups": inside[name]} for name, rank in found.mean.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def figure(frame: pd.DataFrame) -> Figure:
    """The mean ranks of a frame's methods, where there are cells and methods enough to say which differ."""
    found = ranks(frame)
    table = ranking(frame, found) if found.enough else pd.DataFrame(columns=COLUMNS)
    missing = (
        f"not enough cells: a critical difference needs {CELLS} with results of all methods, and {METHODS} methods, but there "
        f"are {found.cells} and {len(found.mean)}"
    )
    verdict = (
        "bars join methods that Nemenyi's test cannot tell apart at 0.05"
        if found.friedman < 0.05
        else "so Nemenyi's test is not asked, and no two are told apart"
    )
    left = f"; {found.left_out} more are left out, as not every method has a run there" if found.left_out else ""
    caption = (
        f"Mean ranks by mean score over {found.cells} cells{left}; 1 is best. Friedman's test that all are alike: "
        f"p = {found.friedman:.2g}; {verdict} (Demsar 2006), which must be CD = {found.critical:.2f} apart. {FAILED}"
    )
    title = "Mean ranks and their critical difference"
    return Figure("ranks", title, caption, table, partial(draw, table, found), "" if found.enough else missing)


def draw(table: pd.DataFrame, found: Ranks, looks: Looks, wide: bool) -> Canvas:
    """The ranks as a scale, the better half of the methods named at its left and the others at its right."""
    names, ends = list(table["label"]), _levels([(found.mean[g[0]], found.mean[g[-1]]) for g in found.groups])
    count, half = len(names), (len(names) + 1) // 2
    width, room = PAGE if wide else COLUMN, LETTER * max(map(len, names)) + 0.2
    unit = (width - 2 * room) / (count - 1)  # inches of one rank
    depth = 0.12 + BAR * len(ends)
    canvas = Canvas(figsize=(width, TOP + depth + LINE * half + 0.1))
    axes = canvas.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(1 - room / unit, count + room / unit)
    axes.set_ylim(-(depth + LINE * half + 0.1), TOP)  # inches; the scale lies at 0
    _scale(axes, count, found.critical, unit)
    for level, bars in enumerate(ends):
        for low, high in bars:
            slack = 0.03 / unit
            axes.plot(
                [low - slack, high + slack], [-0.1 - BAR * level] * 2, color=INK, linewidth=2.4, solid_capstyle="butt"
            )
    for place, row in enumerate(dicts(table)):
        left = place < half
        height = -(depth + LINE * ((place if left else count - 1 - place) + 0.5))
        _name(axes, row["rank"], height, row["label"], looks[row["method"]].colour, 1 if left else count, left)
    return canvas


def _scale(axes: Axes, count: int, critical: float, unit: float) -> None:
    axes.plot([1, count], [0, 0], color=INK, linewidth=0.8)
    step = 1 if unit > 0.16 else 2  # ranks from one number to the next
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [0, 0.05], color=INK, linewidth=0.8)
        if rank % step == 1 % step:
            axes.text(rank, 0.07, str(rank), ha="center", va="bottom", fontsize=7)
    end = 1 + critical
    axes.plot([1, 1, 1, end, end, end], [0.3, 0.36, 0.33, 0.33, 0.36, 0.3], color=INK, linewidth=0.8)
    axes.text(1 + critical / 2, 0.37, f"CD = {critical:.2f}", ha="center", va="bottom", fontsize=7)


def _name(axes: Axes, rank: float, height: float, label: str, colour: str, edge: float, left: bool) -> None:
    axes.plot([rank, rank, edge], [0, height, height], color=colour, linewidth=0.9)
    axes.plot([rank], [0], marker="o", markersize=3, color=colour, clip_on=False)
    axes.annotate(
        label,
        (edge, height),
        (-3 if left else 3, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        fontsize=7,
    )


def _levels(bars: Bars) -> list[Bars]:
    """Bars dealt out to as few levels as let none touch another, from the best rank on."""
    found = list[list[tuple[float, float]]]()
    for low, high in sorted(bars):
        free = next((level for level in found if level[-1][1] + 0.15 < low), None)
        if free is None:
            found.append(free := [])
        free.append((low, high))
    return [*found]

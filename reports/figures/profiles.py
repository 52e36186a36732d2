"""Performance profiles: the share of a method's runs above each accuracy (Agarwal et al. 2021, arXiv:2108.13264)."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.figures import style
from reports.figures.catalog import Figure, if_empty, numbers
from reports.figures.style import Look, Looks, ink, key
from reports.load.records import dicts
from reports.statistics.frame import LEAST
from reports.statistics.shares import profile
from reports.tables.columns import counted
from reports.tables.comparison import ALONE, FAILED, comparable, identities

TAUS = 201
MOST = 8  # methods up to which their bands are drawn
COLUMNS = ["method", "reconstruction", "label", "tau", "share", "low", "high", "runs"]


def profiles(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the share (0 to 1) of each method's runs above ``tau``, up to the highest score, with the ends of its pointwise
    95 % interval (NaN with few dense models). Outliers far below the other scores are counted, but tau does not
    begin at them."""
    scores, rows, taus = frame["score"].dropna(), [], list[float]()
    if len(scores):
        taus = np.linspace(_floor(scores), math.ceil(scores.max()), TAUS).tolist()
    for shown, whose in identities(frame).items():
        runs = int((frame["method"] == shown).sum())
        for tau, found in zip(taus, profile(frame, shown, taus), strict=True):
            rows.append(
                {
                    **whose.columns(),
                    "tau": tau,
                    "share": found.value,
                    "low": found.low,
                    "high": found.high,
                    "runs": runs,
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def _floor(scores: pd.Series) -> int:
    """The lowest tau: below the lowest score, or below Tukey's fence where single runs collapsed."""
    low, high = np.percentile(scores, [25, 75])
    return math.floor(max(float(scores.min()), float(low - 1.5 * (high - low))) - 1e-9)


def figure(frame: pd.DataFrame, score: str = "test top-1 (%)") -> Figure:
    """The figure of the performance profiles of a frame's methods."""
    table = pd.DataFrame(columns=COLUMNS)
    if comparable(frame):
        table = profiles(frame)
    seeds = frame.groupby(["cell", "method"])["seed"].nunique()
    bands = "are drawn as bands"
    if len(identities(frame)) > MOST:
        bands = "are in the CSV only, because so many bands would hide each other"
    caption = (
        f"Share of each method's runs with {score} above τ, over {counted(frame['cell'].nunique(), 'cell')} and "
        f"{numbers(seeds)} dense models in each; higher is better, and runs below the lowest τ are counted. Wilson's "
        f"pointwise 95 % intervals (none below {LEAST} dense models; the budgets of a model count as one sample) {bands}. "
        f"{FAILED}"
    )
    missing = if_empty(table, ALONE)
    title = "Performance profiles"
    return Figure("profiles", title, caption, table, partial(draw, table, score=score), missing)


def draw(table: pd.DataFrame, looks: Looks, wide: bool, score: str = "test top-1 (%)") -> Canvas:
    """Draws one panel with a line for each method."""
    labels = list(table["label"].unique())
    lines = math.ceil(len(labels) / style.LEGEND_COLUMNS[wide])
    canvas, [[axes]] = style.panels(1, wide, height=2.0 + 0.14 * lines + 0.04 * len(labels))
    named = [_line(axes, table, label, place, looks) for place, label in enumerate(labels)]
    named.sort(key=lambda line: line.get_markerfacecolor() == "white")
    axes.set_xlabel(f"τ: {score}")
    axes.set_ylabel("Share of runs above τ")
    axes.set_xlim(table["tau"].min(), table["tau"].max())
    axes.set_ylim(-0.02, 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    style.legend(canvas, named, wide)
    return canvas


def _line(axes: Axes, table: pd.DataFrame, label: str, place: int, looks: Looks) -> Line2D:
    rows = table[table["label"] == label]
    look, dash = _inks(table, label, looks)
    line = ink(**look.mark(), linestyle=dash, markersize=3.5, linewidth=1, drawstyle="steps-post")
    spots = np.searchsorted(
        rows["tau"], rows["tau"].iloc[0] + np.ptp(rows["tau"]) * (np.arange(8) + (place % 7) / 7) / 8
    )
    axes.plot(rows["tau"], rows["share"], **line, markevery=spots.tolist())
    if table["label"].nunique() <= MOST:
        axes.fill_between(rows["tau"], rows["low"], rows["high"], color=look.colour, alpha=0.12, linewidth=0)
    return key(label, **line)


def _inks(table: pd.DataFrame, label: str, looks: Looks) -> tuple[Look, style.Dash]:
    """Look and dashes of a method; several variants of one method differ by shades and dashes."""
    whose = {row["label"]: row["method"] for row in dicts(table.drop_duplicates("label"))}
    alike = [other for other, method in whose.items() if method == whose[label]]
    look, index = looks[whose[label]], alike.index(label)
    if len(alike) > 1:
        look = replace(look, colour=style.shade(look.colour, index, len(alike)))
    return look, style.LINES[index % len(style.LINES)]

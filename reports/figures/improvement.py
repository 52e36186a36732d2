"""Probability of improvement over a baseline (Agarwal et al. 2021)."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd
from matplotlib.figure import Figure as Canvas

from reports.figures import style
from reports.figures.catalog import Figure, if_empty, numbers
from reports.figures.style import CONTROL_DASH, INK, Looks, ink
from reports.load.records import dicts
from reports.statistics.bootstrap import improvement
from reports.statistics.frame import strata
from reports.tables.comparison import ALONE, FAILED, comparable, identities

COLUMNS = ["method", "reconstruction", "label", "baseline", "cells", "probability", "low", "high"]
ROW = 0.155  # inches of paper for one method


def improvements(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Returns for every other method the probability (0 to 1) that one of its runs has a higher score than a run of the
    baseline in the same cell, by decreasing probability.

    Ties count one half. It is the mean over the ``cells`` that both have, with its 95 % bootstrap interval (NaN where a cell
    has one run).
    """
    theirs, rows = strata(frame, baseline), []
    for shown, whose in identities(frame).items():
        if shown != baseline:
            ours = strata(frame, shown)
            found = improvement(ours, theirs, shown, baseline)
            numbers = {"probability": found.value, "low": found.low, "high": found.high}
            rows.append({**whose.columns(), "baseline": baseline, "cells": len(set(ours) & set(theirs)), **numbers})
    table = pd.DataFrame(rows, columns=COLUMNS).dropna(subset="probability")
    return table.sort_values(["probability", "label"], ascending=[False, True], ignore_index=True)


def figure(frame: pd.DataFrame, baseline: str) -> Figure:
    """The figure of the methods of a frame against a baseline; "" where there is none."""
    table = pd.DataFrame(columns=COLUMNS)
    if comparable(frame) and baseline:
        table = improvements(frame, baseline)
    seeds = frame.groupby(["cell", "method"])["seed"].nunique()
    caption = (
        f"Probability that a run of a method has a higher score than a run of {baseline} in the same cell (ties count one "
        f"half), mean over {numbers(table['cells']).removeprefix('n = ')} cells of {numbers(seeds)} seeds, with 95 % intervals "
        "of a bootstrap within cells (none where a cell has one run; with few seeds they are too narrow). It does not measure "
        f"the size of the difference. {FAILED}"
    )
    missing, title = if_empty(table, ALONE), f"Probability of improvement over {baseline}"
    if not baseline:
        missing, title = "the baseline has no final, so no method can be compared with it", "Probability of improvement"
    return Figure("improvement", title, caption, table, partial(draw, table), missing)


def draw(table: pd.DataFrame, looks: Looks, wide: bool) -> Canvas:
    """Draws a row for each method; the dashed line is a probability of one half."""
    canvas, [[axes]] = style.panels(1, wide, height=0.4 + ROW * len(table))
    for place, row in enumerate(dicts(table)):
        look = looks[row["method"]]
        ends = [[row["probability"] - row["low"]], [row["high"] - row["probability"]]]
        bars = ink(**look.mark(), elinewidth=0.9, capsize=1.5, markersize=4)
        if not math.isnan(row["low"]):
            bars["xerr"] = ends
        axes.errorbar([row["probability"]], [place], **bars)
    axes.axvline(0.5, color=INK, linestyle=CONTROL_DASH, linewidth=0.9)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_yticks(range(len(table)), list(table["label"]))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"Probability of improvement over {table['baseline'].iloc[0]}")
    return canvas

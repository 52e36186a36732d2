"""Probability of improvement over a baseline (Agarwal et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import pandas as pd
from matplotlib.figure import Figure as Canvas

from reports.figures import style
from reports.figures.catalog import Figure, if_empty, numbers
from reports.figures.style import CONTROL_DASH, INK, Looks, ink
from reports.load.records import dicts
from reports.statistics.frame import LEAST
from reports.statistics.shares import improvement
from reports.tables.comparison import ALONE, FAILED, comparable, identities
from reports.tables.tidy import told

COLUMNS = ["method", "reconstruction", "label", "baseline", "cells", "probability", "low", "high"]
ROW = 0.155  # inches of paper for one method


def improvements(frame: pd.DataFrame, chosen: Mapping[str, str]) -> pd.DataFrame:
    """Returns for every method the probability (0 to 1) that one of its runs has a higher score than a run of the baseline of
    the same cell (``chosen``, by cell), by decreasing probability.

    Ties count one half. It is the mean over the ``cells`` that both have and of which it is not the baseline, with its 95 %
    interval (`reports.statistics.shares`; NaN with few dense models).
    """
    rows, baseline = [], told(chosen)
    for shown, whose in identities(frame).items():
        others = {cell: name for cell, name in chosen.items() if name != shown}
        found = improvement(frame, shown, others)
        cells = len(others.keys() & set(frame.loc[frame["method"] == shown, "cell"]))
        numbers = {"probability": found.value, "low": found.low, "high": found.high}
        rows.append({**whose.columns(), "baseline": baseline, "cells": cells, **numbers})
    table = pd.DataFrame(rows, columns=COLUMNS).dropna(subset="probability")
    return table.sort_values(["probability", "label"], ascending=[False, True], ignore_index=True)


def figure(frame: pd.DataFrame, chosen: Mapping[str, str]) -> Figure:
    """The figure of the methods of a frame against the baseline of each cell; empty where there is none."""
    table, baseline = pd.DataFrame(columns=COLUMNS), told(chosen)
    if comparable(frame) and chosen:
        table = improvements(frame, chosen)
    seeds = frame.groupby(["cell", "method"])["seed"].nunique()
    caption = (
        f"Probability that a run of a method has a higher score than a run of {baseline} in the same cell (ties count one "
        f"half), mean over {numbers(table['cells']).removeprefix('n = ')} cells of {numbers(seeds)} dense models, with "
        f"Newcombe's 95 % score intervals (none below {LEAST} dense models); the budgets of a model count as one sample. "
        f"It does not measure the size of the difference. {FAILED}"
    )
    missing, title = if_empty(table, ALONE), f"Probability of improvement over {baseline}"
    if not chosen:
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

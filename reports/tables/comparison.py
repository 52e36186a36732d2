"""The tables of a comparison: each cell, and all cells together, with tests and intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.load.records import dicts
from reports.statistics import ranks
from reports.statistics.bootstrap import aggregate, improvement, iqm
from reports.statistics.frame import checked, differences, strata
from reports.statistics.groups import top_groups
from reports.statistics.paired import ALPHA, POWER, against, detectable
from reports.statistics.summary import mean
from reports.tables.columns import Column, Row, Table, counted, fixed, interval, p_value, percent, text, there
from reports.tables.tidy import baseline, cell, tidy

__all__ = ["ALONE", "baseline", "cell", "comparable", "comparison", "identities", "overall", "tidy"]

ALONE = "a comparison needs results of two methods in the same cell, at the same budget"
MARK = "≠"
SPREAD = 1e-9  # points: the standard deviation below which seeds are considered equal
FAILED = (
    "A failed run has no score: it is excluded from means, and counts as worse than every score in statistics that use only "
    "the order."
)
UNNAMED = "the baseline"
"""How a baseline without runs is called."""


def comparable(frame: pd.DataFrame) -> bool:
    """Whether some cell has scores of two methods."""
    scored = checked(frame).dropna(subset="score")
    return bool((scored.groupby("cell")["method"].nunique() > 1).any())


@dataclass(frozen=True)
class Identity:
    """A compared method: the ``method`` whose look it has, whether it is a ``reconstruction``, and its ``label``."""

    method: str
    reconstruction: bool
    label: str

    def columns(self) -> dict[str, str | bool]:
        """The columns that identify the method in the table of a figure."""
        return {"method": self.method, "reconstruction": self.reconstruction, "label": self.label}


def identities(frame: pd.DataFrame) -> dict[str, Identity]:
    """Returns the identity of each method, by its label. A frame without the columns has methods of these names."""
    rows = frame.drop_duplicates("method").sort_values("method")
    names = rows.get("name", rows["method"])
    ours = rows.get("reconstruction", [False] * len(rows))
    triples = zip(names, ours, rows["method"], strict=True)
    return {label: Identity(name, bool(own), label) for name, own, label in triples}


def comparison(frame: pd.DataFrame, against_what: str, score: str = "test top-1") -> Table:
    """Every cell and method: mean, letters, difference to the baseline ("" for none), smallest detectable difference."""
    other, shown = against_what or UNNAMED, top_groups(frame)
    shown = shown.merge(_in_cells(frame, against_what), how="left", on=["cell", "method"])
    sizes: tuple[Column, ...] = ()
    sized = ""
    if "missed" in frame:
        sizes, sized = SIZES, SIZED
        attained = frame.groupby(["cell", "method"])[["weights_left", "missed"]]
        left = attained.agg({"weights_left": "mean", "missed": "sum"}).reset_index()
        shown = shown.merge(left, how="left", on=["cell", "method"])
    columns = (
        Column("cell", "cell", text("cell")),
        Column("method", "method", text("method")),
        Column("n", "n", fixed("n", 0), number=True),
        Column(score, "mean", interval("mean", "half"), number=True, bold="top"),
        Column("letters", "letters", _letters),
        Column(f"vs. {other}", "difference", signed("difference", "difference_half"), number=True),
        Column("detectable", "detectable", fixed("detectable", 2), number=True),
        Column("failed", "failed", fixed("failed", 0), number=True),
        *sizes,
    )
    caption = (
        "Mean over n seeds ± half the width of the 95 % t interval. Within a cell, methods that share a letter are not "
        "significantly different, and methods that are not significantly worse than the best are bold: paired t tests on the "
        "differences of runs with the same seed, Holm's correction over all pairs of the cell, at 0.05; the tests assume "
        f"normal differences and have little power with few seeds. Vs. {other}: mean difference ± half the width of its 95 % t "
        f"interval, uncorrected. Detectable: the smallest true difference to {other} that as many seeds with the same standard "
        f"deviation would show with a power of {100 * POWER:.0f} %. ± 0.00: the seeds have equal accuracies, which a small "
        "test set makes likely; it does not mean that the mean is precise. Scores without a partner of the same seed, excluded "
        f"from both: {int(shown['unpaired'].sum())}. {FAILED}{sized}"
    )
    return Table("comparison", "Comparison", caption, shown, columns)


def _missed(row: Row) -> str:
    if not row["missed"]:
        return "–"
    return f"{MARK} {row['missed']:.0f}"


SIZED = (
    f" Weights left: of all convolution and linear weights, mean. {MARK}: the number of runs whose size differs from the "
    "requested size by more than 0.5 % of the weights (1 % of the MACs)."
)
SIZES = (
    Column("weights left (%)", "weights_left", percent("weights_left"), number=True),
    Column(f"{MARK} budget", "missed", _missed, number=True),
)


def _in_cells(frame: pd.DataFrame, against_what: str) -> pd.DataFrame:
    """The differences of each method to the baseline within each cell that has both."""
    rows = []
    for where, own in frame.groupby("cell", sort=True):
        methods = set(own["method"])
        if against_what in methods:
            others = sorted(methods - {against_what})
            rows += [{"cell": where, **_difference(own, method, against_what)} for method in others]
    columns = ["cell", "method", "pairs", "unpaired", "difference", "difference_half", "detectable"]
    return pd.DataFrame(rows, columns=columns)


def _difference(own: pd.DataFrame, method: str, other: str) -> dict[str, Any]:
    """The difference of a method to the baseline in one cell."""
    found, unpaired = differences(own, method, other)
    over, seen = mean(found), math.nan
    if over.std > SPREAD:
        seen = detectable(over.std, over.n)
    row = {"method": method, "pairs": over.n, "unpaired": unpaired, "difference": over.mean}
    return {**row, "difference_half": over.half, "detectable": seen}


def _letters(row: Row) -> str:
    if row["letters"]:
        return str(row["letters"])
    return "n = 1" if row["n"] == 1 else "–"


def overall(frame: pd.DataFrame, against_what: str, score: str = "test top-1") -> Table:
    """Every method over all cells: interquartile mean, mean rank, and comparison with the baseline ("" for none)."""
    ranked, cells = ranks.ranks(frame), frame["cell"].nunique()
    tests: dict[str, dict[str, Any]] = {}
    if against_what:
        tests = {row["method"]: row for row in dicts(against(frame, against_what).drop(columns="n"))}
    detected = _in_cells(frame, against_what).groupby("method")["detectable"].median()
    rows = [
        {
            **_aggregate(frame, method, cells),
            **{"rank": ranked.mean.get(method, math.nan), "top": method in ranked.top},
            **_against(frame, method, against_what),
            **tests.get(method, {}),
            "detectable": detected.get(method, math.nan),
        }
        for method in sorted(identities(frame))
    ]
    shown = pd.DataFrame(rows, columns=OVERALL)
    shown = shown.sort_values(["rank", "method"], ignore_index=True)
    missed = int(shown["iqm"].isna().sum())
    caption = (
        f"Over {counted(cells, 'cell')}. IQM: interquartile mean of {score} over all runs, with its stratified bootstrap "
        f"interval; none where a method failed or has no run in a cell ({missed} of {len(shown)} methods). Mean rank over "
        f"{counted(ranked.cells, 'cell')}, 1 is best; {_ranks_told(ranked)} P: probability that a run has a higher score than "
        f"a run of {against_what or UNNAMED} in the same cell (95 % bootstrap intervals; with few seeds they are too narrow). "
        "Difference: mean over all pairs with the same cell and seed, ± half the width of the 95 % t interval; p: Wilcoxon's "
        "signed-rank test on these pairs (exact, without zeros), Holm's correction; it applies to these cells only, and cannot "
        "reach 0.05 with fewer than six non-zero differences. r: the rank-biserial correlation. Detectable: median over cells "
        f"of the smallest true difference that the seeds of a cell would show. {FAILED}"
    )
    return Table("overall", "Overall", caption, shown, _overall_columns(against_what))


OVERALL = ["method", "cells", "total", "failed", "iqm", "iqm_low", "iqm_high", "rank", "top"]
OVERALL += ["better", "better_low", "better_high", "n", "unpaired", "mean", "half"]
OVERALL += ["wilcoxon", "holm", "least", "effect", "detectable"]


def _aggregate(frame: pd.DataFrame, method: str, cells: int) -> dict[str, Any]:
    own = frame[frame["method"] == method]
    found = strata(frame, method)
    counts = {"method": method, "cells": len(found), "total": len(own), "failed": int(own["score"].isna().sum())}
    if len(found) < cells:
        return {**counts, "iqm": math.nan, "iqm_low": math.nan, "iqm_high": math.nan}
    over = aggregate(found, iqm, "iqm", method)
    return {**counts, "iqm": over.value, "iqm_low": over.low, "iqm_high": over.high}


def _against(frame: pd.DataFrame, method: str, other: str) -> dict[str, Any]:
    if not other or method == other:
        return {}
    found = improvement(strata(frame, method), strata(frame, other), method, other)
    pairs = len(differences(frame, method, other)[0])
    return {"better": found.value, "better_low": found.low, "better_high": found.high, "n": pairs}


def _ranks_told(found: ranks.Ranks) -> str:
    if not found.enough:
        few = f"{counted(found.cells, 'cell')} and {counted(len(found.mean), 'method')}"
        return f"{few} are too few for a critical difference, so no rank is bold."
    return (
        f"ranks that do not differ significantly from the best by Nemenyi's test (critical difference {found.critical:.2f}) "
        f"are bold; Friedman's test: p = {found.friedman:.2g}."
    )


def _overall_columns(against_what: str) -> tuple[Column, ...]:
    other = against_what or UNNAMED
    return (
        Column("method", "method", text("method")),
        Column("runs", "total", fixed("total", 0), number=True),
        Column("failed", "failed", fixed("failed", 0), number=True),
        Column("IQM", "iqm", _between("iqm", 2), number=True),
        Column("mean rank", "rank", fixed("rank", 2), number=True, bold="top"),
        Column(f"P(beats {other})", "better", _between("better", 2), number=True),
        Column(f"vs. {other}", "mean", signed("mean", "half"), number=True),
        Column("pairs", "n", fixed("n", 0), number=True),
        Column("p (Holm)", "holm", _p, number=True),
        Column("r", "effect", signed("effect"), number=True),
        Column("detectable", "detectable", fixed("detectable", 2), number=True),
    )


def _between(key: str, digits: int) -> Callable[[Row], str]:
    """Shows a number with the ends of its interval, where it has one."""

    def shown(row: Row) -> str:
        value, low, high = (fixed(name, digits)(row) for name in (key, f"{key}_low", f"{key}_high"))
        if not there(row[f"{key}_low"]):
            return value
        return f"{value} [{low}, {high}]"

    return shown


def signed(key: str, half: str = "") -> Callable[[Row], str]:
    """Shows a number with its sign, and the half width of its interval, where it has one."""

    def shown(row: Row) -> str:
        value = row[key]
        if not there(value):
            return "–"
        size = interval(key, half)({**row, "": None, key: abs(value)})
        if round(value, 2) == 0:
            return size
        return f"−{size}" if value < 0 else f"+{size}"

    return shown


def _p(row: Row) -> str:
    """Shows the corrected p, or that the test cannot be significant with so few pairs."""
    if there(row["least"]) and row["least"] > ALPHA:
        return "too few pairs"
    return p_value(row)

"""The tables of a fair comparison: each cell, and all cells together, with what the statistics support."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from reports.statistics import ranks
from reports.statistics.bootstrap import aggregate, improvement, iqm
from reports.statistics.frame import checked, differences, strata
from reports.statistics.groups import top_groups
from reports.statistics.paired import ALPHA, POWER, against, detectable
from reports.statistics.summary import mean
from reports.tables.columns import Column, Row, Table, fixed, interval, percent, text, there
from reports.tables.tidy import baseline, cell, tidy

__all__ = ["ALONE", "baseline", "cell", "comparable", "comparison", "identities", "overall", "tidy"]

ALONE = "to compare, two methods need results in one cell, at one budget"
MARK = "≠"
SPREAD = 1e-9  # points: the standard deviation below which seeds do not differ
FAILED = "A failed run has no score: it is in no mean, and counts as worse than every score where only order matters."


def counted(count: int, what: str) -> str:
    """A number of things: "1 cell", "2 cells"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def comparable(frame: pd.DataFrame) -> bool:
    """Whether some cell has scores of two methods."""
    scored = checked(frame).dropna(subset="score")
    return bool((scored.groupby("cell")["method"].nunique() > 1).any())


def identities(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """For each method as shown: the ``method`` whose look it has, whether it is a ``reconstruction``, and its ``label``. A
    frame without these columns has methods of these names."""
    rows = frame.drop_duplicates("method").sort_values("method")
    names = rows["name"] if "name" in rows else rows["method"]
    ours = rows["reconstruction"] if "reconstruction" in rows else [False] * len(rows)
    triples = zip(names, ours, rows["method"], strict=True)
    return {shown: {"method": name, "reconstruction": bool(own), "label": shown} for name, own, shown in triples}


def comparison(frame: pd.DataFrame, against_what: str, score: str = "test top-1") -> Table:
    """Every cell and method: mean, letters, the difference to the baseline ("" for none), and what could be detected."""
    other, shown = against_what or "the baseline", top_groups(frame)
    shown = shown.merge(_in_cells(frame, against_what), how="left", on=["cell", "method"])
    sized = "missed" in frame
    if sized:
        sizes = frame.groupby(["cell", "method"])[["weights_left", "missed"]].agg(
            {"weights_left": "mean", "missed": "sum"}
        )
        shown = shown.merge(sizes.reset_index(), how="left", on=["cell", "method"])
    columns = (
        Column("cell", "cell", text("cell")),
        Column("method", "method", text("method")),
        Column("n", "n", fixed("n", 0), number=True),
        Column(score, "mean", interval("mean", "half"), number=True, bold="top"),
        Column("letters", "letters", _letters),
        Column(f"vs. {other}", "difference", signed("difference", "difference_half"), number=True),
        Column("detectable", "detectable", fixed("detectable", 2), number=True),
        Column("failed", "failed", fixed("failed", 0), number=True),
        *(SIZES if sized else ()),
    )
    caption = (
        "Mean over n seeds ± half the width of the 95 % t interval. Within a cell, methods that share a letter cannot be told "
        "apart, and bold is all that is not significantly worse than the best: paired t tests on the differences seed by seed, "
        "corrected by Holm over all pairs of the cell, at 0.05; they take differences as normal, and tell little apart with "
        f"few seeds. Versus {other}: mean difference ± half its 95 % t interval, uncorrected. Detectable: the smallest true "
        f"difference to {other} that as many seeds, spreading as these do, would show in {100 * POWER:.0f} % of cases. ± 0.00: "
        "these seeds do not differ, as accuracies of a small test set move in steps; that is no precision. "
        f"Scores without a partner of the same seed, left out of both: {int(shown['unpaired'].sum())}. {FAILED}"
        f"{SIZED if sized else ''}"
    )
    return Table("comparison", "Comparison", caption, shown, columns)


SIZED = (
    f" Weights left: of all convolution and linear weights, mean. {MARK}: so many runs are not within 0.5 % of the weights "
    "(1 % of the MACs) of what was asked for."
)
SIZES = (
    Column("weights left (%)", "weights_left", percent("weights_left"), number=True),
    Column(
        f"{MARK} budget", "missed", lambda row: f"{MARK} {row['missed']:.0f}" if row["missed"] else "–", number=True
    ),
)


def _in_cells(frame: pd.DataFrame, against_what: str) -> pd.DataFrame:
    """The differences of each method to the baseline within each cell that has both."""
    rows = []
    for where, own in frame.groupby("cell", sort=True):
        methods = sorted(own["method"].unique())
        for method in methods if against_what in methods else []:
            if method != against_what:
                found, unpaired = differences(own, method, against_what)
                over = mean(found)
                row = {"cell": where, "method": method, "pairs": over.n, "unpaired": unpaired, "difference": over.mean}
                seen = detectable(over.std, over.n) if over.std > SPREAD else math.nan
                rows.append({**row, "difference_half": over.half, "detectable": seen})
    columns = ["cell", "method", "pairs", "unpaired", "difference", "difference_half", "detectable"]
    return pd.DataFrame(rows, columns=columns)


def _letters(row: Row) -> str:
    return row["letters"] or ("n = 1" if row["n"] == 1 else "–")


def overall(frame: pd.DataFrame, against_what: str, score: str = "test top-1") -> Table:
    """Every method over all cells: interquartile mean, mean rank, and how it stands to the baseline ("" for none)."""
    ranked, cells = ranks.ranks(frame), frame["cell"].nunique()
    tests = against(frame, against_what).set_index("method") if against_what else pd.DataFrame()
    detected = _in_cells(frame, against_what).groupby("method")["detectable"].median()
    rows = [
        {
            **_aggregate(frame, method, cells),
            **{"rank": ranked.mean.get(method, math.nan), "top": method in ranked.top},
            **_against(frame, method, against_what),
            **(tests.loc[method].drop("n").to_dict() if method in tests.index else {}),
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
        f"{counted(ranked.cells, 'cell')}, 1 is best; {_ranks_told(ranked)} P: probability that a run beats one of "
        f"{against_what or 'the baseline'} in the same cell (95 % bootstrap intervals; with few seeds they are too narrow). "
        "Difference: mean over all pairs of one cell and seed, ± half the 95 % t interval; p: Wilcoxon's signed-rank test on "
        "these pairs (zeros left out, exact), corrected by Holm; it speaks of these cells only, and with fewer than six pairs "
        "that differ it cannot reach 0.05. r: the rank-biserial correlation. Detectable: median over cells of the smallest "
        f"true difference that the seeds of one cell would show. {FAILED}"
    )
    return Table("overall", "Overall", caption, shown, _overall_columns(against_what))


OVERALL = ["method", "cells", "total", "failed", "iqm", "iqm_low", "iqm_high", "rank", "top"]
OVERALL += [
    "better",
    "better_low",
    "better_high",
    "n",
    "unpaired",
    "mean",
    "half",
    "wilcoxon",
    "holm",
    "least",
    "effect",
]
OVERALL += ["detectable"]


def _aggregate(frame: pd.DataFrame, method: str, cells: int) -> dict[str, Any]:
    own = frame[frame["method"] == method]
    found = strata(frame, method)
    over = aggregate(found, iqm, "iqm", method)
    numbers = (over.value, over.low, over.high) if len(found) == cells else (math.nan,) * 3
    counts = {"method": method, "cells": len(found), "total": len(own), "failed": int(own["score"].isna().sum())}
    return counts | dict(zip(("iqm", "iqm_low", "iqm_high"), numbers, strict=True))


def _against(frame: pd.DataFrame, method: str, other: str) -> dict[str, Any]:
    if not other or method == other:
        return {}
    found = improvement(strata(frame, method), strata(frame, other), method, other)
    pairs = len(differences(frame, method, other)[0])
    return {"better": found.value, "better_low": found.low, "better_high": found.high, "n": pairs}


def _ranks_told(found: ranks.Ranks) -> str:
    if not found.enough:
        few = f"{counted(found.cells, 'cell')} and {counted(len(found.mean), 'method')}"
        return f"{few} are too few to say which ranks differ, so none is bold."
    return (
        f"bold is all that Nemenyi's test (critical difference {found.critical:.2f}) does not tell from the best; Friedman's "
        f"test: p = {found.friedman:.2g}."
    )


def _overall_columns(against_what: str) -> tuple[Column, ...]:
    other = against_what or "the baseline"
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
    """A number with the ends of its interval."""

    def shown(row: Row) -> str:
        ends = [fixed(f"{key}_{end}", digits)(row) for end in ("low", "high")]
        return fixed(key, digits)(row) + (f" [{', '.join(ends)}]" if there(row[f"{key}_low"]) else "")

    return shown


def signed(key: str, half: str = "") -> Callable[[Row], str]:
    """A number with its sign, and the half width of its interval where there is one."""

    def shown(row: Row) -> str:
        if not there(row[key]):
            return "–"
        size = interval(key, half)({**row, "": None, key: abs(row[key])})
        sign = "" if round(row[key], 2) == 0 else "−" if row[key] < 0 else "+"
        return f"{sign}{size}"

    return shown


def _p(row: Row) -> str:
    """The corrected p; where no result whatever could have been significant, that."""
    if there(row["least"]) and row["least"] > ALPHA:
        return "too few pairs"
    return "< 0.001" if there(row["holm"]) and row["holm"] < 0.001 else fixed("holm", 3)(row)

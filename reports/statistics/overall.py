"""Differences over all cells, to the dense model and to a baseline.

Budgets of one model are no independent replicates, so each dense model gives one value: the mean over the cells of its pair
of data set and architecture. Over these, the mean of the pairs' means has one of two intervals. Below `LEAST` pairs the cells
are fixed: the error is that of the dense models within the pairs, and the interval holds for these cells only. From `LEAST`
pairs on the pairs are replicates: a t interval over their means holds for similar pairs too. With as many dense models in every
pair it is that of a mixed model with a random effect of the pair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from reports.statistics.frame import LEAST, Floats, checked, forfeits
from reports.statistics.summary import LEVEL, Mean, logit, mean, t_quantile

ByPair = Mapping[str, Floats]
"""One value for each dense model, by pair of data set and architecture."""


def over_pairs(values: ByPair, level: float = LEVEL) -> Mean:
    """Returns the mean of the pairs' means, with the interval of fixed cells, or from `LEAST` pairs on that over pairs."""
    if not values:
        return mean([])
    if len(values) >= LEAST:
        return mean((float(own.mean()) for own in values.values()), level)
    centre, n = float(np.mean([own.mean() for own in values.values()])), sum(map(len, values.values()))
    if min(map(len, values.values())) < 2:
        return Mean(n, centre)
    shares = [(float(own.var(ddof=1)) / len(own) / len(values) ** 2, len(own) - 1) for own in values.values()]
    total = math.fsum(share for share, _ in shares)
    if total == 0:
        return Mean(n, centre, math.nan, 0.0, centre, centre)
    freedom = total**2 / math.fsum(share**2 / free for share, free in shares)  # Satterthwaite 1946
    half = t_quantile(level, freedom) * math.sqrt(total)
    return Mean(n, centre, math.nan, half, centre - half, centre + half)


def to_dense(frame: pd.DataFrame, method: str, *, odds: bool = False) -> ByPair:
    """Returns the differences of a method to the dense models that it started from, in points, or in logits (``odds``).

    Empty where the method forfeits or lacks a cell of the frame, because its mean would be over other cells than those of
    the others; dense models whose accuracy is not known are left out.
    """
    known = checked(frame)
    own = _everywhere(known, method).dropna(subset="dense")
    change = own["score"] - own["dense"]
    if odds:
        change = own["score"].map(logit) - own["dense"].map(logit)
    return _by_pair(known, own.assign(change=change))


def to_baseline(frame: pd.DataFrame, method: str, baselines: Mapping[str, str]) -> ByPair:
    """Returns the differences of a method to the baseline of each cell, in points, of runs with the same seed. Empty where
    either forfeits or lacks a cell of the frame."""
    known = checked(frame)
    theirs = known[known["method"] == known["cell"].map(baselines)]
    lost = forfeits(known)
    if theirs["cell"].nunique() < known["cell"].nunique() or lost & set(
        zip(theirs["cell"], theirs["method"], strict=True)
    ):
        return {}
    both = _everywhere(known, method).merge(theirs, on=["cell", "seed", "pair"], suffixes=("", "_baseline"))
    return _by_pair(known, both.assign(change=both["score"] - both["score_baseline"]))


def _everywhere(known: pd.DataFrame, method: str) -> pd.DataFrame:
    """The rows of a method; none where it forfeits or lacks a cell."""
    own = known[known["method"] == method]
    if own["cell"].nunique() < known["cell"].nunique() or method in {name for _, name in forfeits(known)}:
        return own.head(0)
    return own


def _by_pair(known: pd.DataFrame, rows: pd.DataFrame) -> ByPair:
    """The mean change of each dense model over all cells of its pair, by pair; dense models that lack a cell are left out."""
    cells = known.groupby("pair")["cell"].nunique()
    found: dict[str, Floats] = {}
    for pair, own in rows.groupby("pair", sort=True):
        means = own.groupby("seed", sort=True)["change"].agg(["mean", "size"])
        whole = means.loc[means["size"] == cells[pair], "mean"]
        if not len(whole):
            return {}
        found[str(pair)] = whole.to_numpy()
    return found

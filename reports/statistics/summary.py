"""Means with t intervals, Pareto fronts and hypervolumes, as pure functions over numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
from scipy import special, stats

LEVEL = 0.95


EDGE = 0.05
"""Accuracies in per cent are at least so far from 0 and 100 on the logit scale: half an image of a thousand."""


@dataclass(frozen=True)
class Mean:
    """A mean of ``n`` values with its sample standard deviation (ddof 1) and its two-sided interval from ``low`` to ``high``.

    ``half`` is the half width of the t interval, which has these ends unless it was computed on the logit scale (`accuracy`).
    For one value all but the mean are NaN; without a value the mean is NaN too.
    """

    n: int
    mean: float
    std: float = math.nan
    half: float = math.nan
    low: float = math.nan
    high: float = math.nan

    def columns(self, name: str) -> dict[str, float]:
        """The mean under ``name``, with ``low``, ``high`` and ``n``: columns of a figure's table."""
        return {name: self.mean, "low": self.low, "high": self.high, "n": self.n}

    def prefixed(self, name: str) -> dict[str, float]:
        """The mean under ``name``, with ``name_low`` and ``name_high``: columns of a table with several means."""
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}


def mean(values: Iterable[float], level: float = LEVEL) -> Mean:
    """Returns the mean of the values that are not NaN, with its t interval."""
    found = np.array([v for v in values if not math.isnan(v)], dtype=float)
    n = len(found)
    if n == 0:
        return Mean(0, math.nan)
    centre = float(found.mean())
    if n == 1:
        return Mean(1, centre)
    std = float(found.std(ddof=1))
    half = t_quantile(level, n - 1) * std / math.sqrt(n)
    return Mean(n, centre, std, half, centre - half, centre + half)


def accuracy(values: Iterable[float], level: float = LEVEL) -> Mean:
    """Returns the mean of accuracies in per cent, with its t interval; one that leaves 0 to 100 is computed from the logits
    instead, and is not symmetric."""
    known = [v for v in values if not math.isnan(v)]
    found = mean(known, level)
    if found.n < 2 or (found.low >= 0 and found.high <= 100):
        return found
    over = mean(map(logit, known), level)
    low, high = (100 * float(special.expit(end)) for end in (over.low, over.high))
    return replace(found, low=min(found.mean, low), high=max(found.mean, high))


def logit(score: float) -> float:
    """Returns the logarithm of the odds of an accuracy in per cent, which is kept `EDGE` away from 0 and 100."""
    share = min(max(score, EDGE), 100 - EDGE) / 100
    return math.log(share / (1 - share))


@cache
def t_quantile(level: float, freedom: float) -> float:
    """Quantile of Student's t for the half width of a two-sided interval; cached, as a report needs few values many times."""
    return float(stats.t.ppf((1 + level) / 2, freedom))


def pareto_front(sizes: Sequence[float], accuracies: Sequence[float]) -> list[int]:
    """Returns the indices of the Pareto-optimal points (no other point is as small and as accurate, or better in one of both),
    by increasing size.

    Of equal points only the first is returned; points with a NaN are left out.
    """
    known = [i for i in range(len(sizes)) if not math.isnan(sizes[i]) and not math.isnan(accuracies[i])]
    found, best = list[int](), -math.inf
    for i in sorted(known, key=lambda i: (sizes[i], -accuracies[i], i)):
        if accuracies[i] > best:
            found.append(i)
            best = accuracies[i]
    return found


def hypervolume(sizes: Sequence[float], accuracies: Sequence[float]) -> float:
    """Returns the share (0 to 1) of the rectangle [size 0 to 1] x [accuracy 0 to 100] that the points dominate."""
    front = pareto_front(sizes, accuracies)
    ends = [*(min(1.0, sizes[i]) for i in front), 1.0]
    return sum((right - left) * accuracies[i] / 100 for i, (left, right) in zip(front, pairwise(ends), strict=True))

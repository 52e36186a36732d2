"""Means with t intervals, Pareto fronts and hypervolumes, as pure functions over numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean of ``n`` values with its sample standard deviation (ddof 1) and the half width of its two-sided t interval.

    For one value ``std`` and ``half`` are NaN; without a value ``mean`` is NaN too.
    """

    n: int
    mean: float
    std: float
    half: float

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + self.half

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
        return Mean(0, math.nan, math.nan, math.nan)
    if n == 1:
        return Mean(1, float(found[0]), math.nan, math.nan)
    std = float(found.std(ddof=1))
    return Mean(n, float(found.mean()), std, _quantile(level, n - 1) * std / math.sqrt(n))


@cache
def _quantile(level: float, freedom: int) -> float:
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

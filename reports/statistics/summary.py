"""The statistics of the report, as pure functions over numbers; nothing here knows what they mean."""

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
    """A mean with its sample standard deviation (ddof 1) and the half width of its two-sided t interval.

    With one value there is no deviation and no interval: ``std`` and ``half`` are NaN.
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


def mean(values: Iterable[float], level: float = LEVEL) -> Mean:
    """Mean of the values that are there (NaN: not there), with its t interval."""
    found = np.array([v for v in values if not math.isnan(v)], dtype=float)
    n = len(found)
    if n < 2:
        return Mean(n, float(found[0]) if n else math.nan, math.nan, math.nan)
    std = float(found.std(ddof=1))
    return Mean(n, float(found.mean()), std, _quantile(level, n - 1) * std / math.sqrt(n))


@cache
def _quantile(level: float, freedom: int) -> float:
    """Student's t, for the half width of a two-sided interval; kept, since a report asks for a few values many times."""
    return float(stats.t.ppf((1 + level) / 2, freedom))


def pareto_front(sizes: Sequence[float], accuracies: Sequence[float]) -> list[int]:
    """Indices of the points that no other beats (smaller, at least as accurate, and the like), by rising size.

    Of equal points the first stands for all; points with a NaN are left out.
    """
    known = [i for i in range(len(sizes)) if not math.isnan(sizes[i]) and not math.isnan(accuracies[i])]
    found, best = list[int](), -math.inf
    for i in sorted(known, key=lambda i: (sizes[i], -accuracies[i], i)):
        if accuracies[i] > best:
            found.append(i)
            best = accuracies[i]
    return found


def hypervolume(sizes: Sequence[float], accuracies: Sequence[float]) -> float:
    """The share (0 to 1) of the rectangle [size 0 to 1] x [accuracy 0 to 100] that the points dominate."""
    front = pareto_front(sizes, accuracies)
    ends = [*(min(1.0, sizes[i]) for i in front), 1.0]
    return sum((right - left) * accuracies[i] / 100 for i, (left, right) in zip(front, pairwise(ends), strict=True))

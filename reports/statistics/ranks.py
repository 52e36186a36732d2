"""Ranks of methods over cells, and how far apart they must be: Friedman's and Nemenyi's tests as in Demsar (2006)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from reports.statistics.frame import means
from reports.statistics.paired import ALPHA

CELLS, METHODS = 5, 3
"""How many a critical difference needs at least; below that Friedman's distribution is too rough."""


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of methods, best first (1 is best), over a number of ``cells``; ``left_out``: cells that not all have run.

    ``friedman`` is the p that all are alike; ``critical`` the difference of mean ranks from which two methods differ, at
    0.05. Both are NaN below `CELLS` cells or `METHODS` methods. ``groups``: the longest stretches of methods that cannot be
    told apart, by rank; all of them are one where Friedman's test finds no difference at all.
    """

    mean: Mapping[str, float]
    cells: int
    left_out: int
    friedman: float
    critical: float
    groups: tuple[tuple[str, ...], ...]

    @property
    def enough(self) -> bool:
        """Whether there are cells and methods enough for a critical difference."""
        return not math.isnan(self.critical)

    @property
    def top(self) -> tuple[str, ...]:
        """What cannot be told from the best: empty without a critical difference."""
        first = next(iter(self.mean), "")
        return max((g for g in self.groups if first in g), key=len, default=(first,)) if self.enough else ()


def ranks(frame: pd.DataFrame) -> Ranks:
    """Rank the methods in each cell by their mean over seeds, ties averaged; a method that only failed shares the last
    ranks. Cells where a method has no run are left out: its rank is not known."""
    table = means(frame)
    whole = table.dropna()
    places = np.asarray(stats.rankdata(-whole.to_numpy(), axis=1)) if len(whole) else np.empty((0, table.shape[1]))
    by_method = dict(zip(table.columns, places.mean(axis=0).tolist() if len(whole) else [], strict=False))
    mean = dict(sorted(by_method.items(), key=lambda item: (item[1], item[0])))
    n, k, left = len(whole), len(mean), len(table) - len(whole)
    if n < CELLS or k < METHODS:
        return Ranks(mean, n, left, math.nan, math.nan, ())
    p, critical = friedman(places), critical_difference(k, n)
    groups = stretches(mean, critical) if p < ALPHA else (tuple(mean),)
    return Ranks(mean, n, left, p, critical, groups)


def friedman(places: np.ndarray) -> float:
    """Friedman's p that all methods are alike, from ranks (cells, methods), corrected for ties; 1 where all tie."""
    n, k = places.shape
    spread = float(((places - (k + 1) / 2) ** 2).sum())  # n k (k + 1) (k - 1) / 12 without ties
    if spread == 0:
        return 1.0
    between = float(((places.sum(axis=0) - n * (k + 1) / 2) ** 2).sum())
    return float(stats.chi2.sf((k - 1) * between / spread, k - 1))


def critical_difference(k: int, n: int, alpha: float = ALPHA) -> float:
    """Nemenyi's: mean ranks of k methods over n cells differ where they are at least this far apart.

    It is q sqrt(k (k + 1) / (6 n)), with q from the studentized range of infinitely many degrees of freedom, over sqrt(2).
    """
    return quantile(k, alpha) * math.sqrt(k * (k + 1) / (6 * n))


def quantile(k: int, alpha: float = ALPHA) -> float:
    """The q of Nemenyi's test for k methods (Demsar 2006, table 5a)."""
    return float(stats.studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2)


def stretches(mean: Mapping[str, float], critical: float) -> tuple[tuple[str, ...], ...]:
    """The longest runs of two methods or more, by rank, whose ends are less than the critical difference apart."""
    names = sorted(mean, key=lambda name: (mean[name], name))
    found, reached = list[tuple[str, ...]](), 0
    for first, name in enumerate(names):
        last = max(i for i, other in enumerate(names) if mean[other] - mean[name] < critical or i == first)
        if last > first and last > reached:
            found.append(tuple(names[first : last + 1]))
        reached = max(reached, last)
    return tuple(found)

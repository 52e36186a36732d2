"""Mean ranks of methods over pairs of data set and architecture, with Friedman's and Nemenyi's tests as in Demsar (2006).

The blocks of these tests must be independent, so they are pairs, not cells: the budgets of one model are one block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from reports.statistics.frame import DIGITS, LEAST, checked, means
from reports.statistics.paired import ALPHA

PAIRS, METHODS = LEAST, 3
"""Minimum numbers for a critical difference; below them Friedman's distribution is a poor approximation."""


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of methods, best first (1 is best), over ``pairs`` of data set and architecture; ``left_out``: pairs without
    runs of all methods in all their cells.

    ``friedman`` is the p of Friedman's test that all methods are equal; ``critical`` the difference of mean ranks from which
    two methods differ significantly, at 0.05. Both are NaN below `PAIRS` pairs or `METHODS` methods. ``groups``: maximal
    groups of methods, by rank, that do not differ significantly; a single group where Friedman's test finds no difference.
    """

    mean: Mapping[str, float]
    pairs: int
    left_out: int
    friedman: float
    critical: float
    groups: tuple[tuple[str, ...], ...]

    @property
    def enough(self) -> bool:
        """Whether there are enough pairs and methods for a critical difference."""
        return not math.isnan(self.critical)

    @property
    def top(self) -> tuple[str, ...]:
        """The methods that do not differ significantly from the best: empty without a critical difference."""
        if not self.enough:
            return ()
        first = next(iter(self.mean))
        return max((g for g in self.groups if first in g), key=len, default=(first,))


def ranks(frame: pd.DataFrame) -> Ranks:
    """Ranks the methods in each pair, by the mean of their ranks in its cells, where they are ranked by mean score.

    Ties are averaged; methods that forfeit a cell share the last ranks there. Pairs in which a method has no run in some cell
    are left out, because its rank is unknown.
    """
    blocks, left = _blocks(frame)
    if not len(blocks):
        return Ranks({}, 0, left, math.nan, math.nan, ())
    places = np.asarray(stats.rankdata(blocks.to_numpy(), axis=1))
    by_method = dict(zip(blocks.columns, places.mean(axis=0).tolist(), strict=True))
    mean = dict(sorted(by_method.items(), key=lambda item: (item[1], item[0])))
    n, k = len(blocks), len(mean)
    if n < PAIRS or k < METHODS:
        return Ranks(mean, n, left, math.nan, math.nan, ())
    p, critical = friedman(places), critical_difference(k, n)
    if p < ALPHA:
        return Ranks(mean, n, left, p, critical, stretches(mean, critical))
    return Ranks(mean, n, left, p, critical, (tuple(mean),))


def _blocks(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The mean rank within cells, with a row per pair and a column per method, and the number of pairs left out."""
    known = checked(frame)
    table = means(known)
    within = pd.DataFrame(stats.rankdata(-table.to_numpy(), axis=1), index=table.index, columns=table.columns)
    pair = known.drop_duplicates("cell").set_index("cell")["pair"].reindex(table.index)
    whole = ~table.isna().any(axis=1).groupby(pair).any()
    found = within.groupby(pair).mean().round(DIGITS)
    return found[whole], int((~whole).sum())


def friedman(places: np.ndarray) -> float:
    """Returns the p of Friedman's test that all methods are equal, from ranks of shape (blocks, methods), corrected for ties; 1
    where all are tied."""
    n, k = places.shape
    spread = float(((places - (k + 1) / 2) ** 2).sum())  # n k (k + 1) (k - 1) / 12 without ties
    if spread == 0:
        return 1.0
    between = float(((places.sum(axis=0) - n * (k + 1) / 2) ** 2).sum())
    return float(stats.chi2.sf((k - 1) * between / spread, k - 1))


def critical_difference(k: int, n: int, alpha: float = ALPHA) -> float:
    """Returns Nemenyi's critical difference: the smallest significant difference of mean ranks of k methods over n blocks.

    It is q sqrt(k (k + 1) / (6 n)), with q from the studentized range of infinitely many degrees of freedom, over sqrt(2).
    """
    return quantile(k, alpha) * math.sqrt(k * (k + 1) / (6 * n))


def quantile(k: int, alpha: float = ALPHA) -> float:
    """Returns the q of Nemenyi's test for k methods (Demsar 2006, table 5a)."""
    return float(stats.studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2)


def stretches(mean: Mapping[str, float], critical: float) -> tuple[tuple[str, ...], ...]:
    """Returns the maximal groups of at least two methods whose mean ranks differ by less than the critical difference."""
    names = sorted(mean, key=lambda name: (mean[name], name))
    found, reached = list[tuple[str, ...]](), 0
    for first, name in enumerate(names):
        last = max(i for i, other in enumerate(names) if mean[other] - mean[name] < critical or i == first)
        if last > first and last > reached:
            found.append(tuple(names[first : last + 1]))
        reached = max(reached, last)
    return tuple(found)

"""Performance profile and probability of improvement over cells (Agarwal et al. 2021, arXiv:2108.13264), with score intervals.

A share of 0 or 1 among few runs does not make it certain, so intervals are not from a bootstrap, which would have no width
there: Wilson's (1927) for a share, Newcombe's (2006, part 2, method 5) for a probability of improvement. Only dense models and
pairs of data set and architecture are independent: the budgets of one model count as one. Below `LEAST` dense models of a pair
there is no interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, stats

from reports.statistics.frame import LEAST, Floats, checked, strata, units
from reports.statistics.summary import LEVEL


@dataclass(frozen=True)
class Estimate:
    """A number with the ends of its interval, which are NaN where it has none."""

    value: float
    low: float = math.nan
    high: float = math.nan


def wilson(share: float, n: int, level: float = LEVEL) -> Estimate:
    """Returns a share of n independent values with Wilson's score interval."""
    z = _z(level)
    centre, spread = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((centre + sign * spread) / (1 + z**2 / n) for sign in (-1, 1))
    return Estimate(share, min(share, max(0.0, low)), max(share, min(1.0, high)))


def newcombe(share: float, sizes: Sequence[tuple[int, int]], level: float = LEVEL) -> Estimate:
    """Returns the mean of the Mann-Whitney probabilities of several pairs of samples, of these sizes, with the score interval
    of Newcombe: the values whose distance from it is at most z standard errors at that value."""
    z = _z(level)

    def beyond(value: float) -> float:
        variance = math.fsum(_variance(value, m, n) for m, n in sizes) / len(sizes) ** 2
        return abs(share - value) - z * math.sqrt(variance)

    low, high, near = 0.0, 1.0, 1e-12  # at 0 and 1 the standard error is 0, which is no end of the interval
    if share > near:
        low = float(optimize.brentq(beyond, 0.0, min(share, 1 - near)))
    if share < 1 - near:
        high = float(optimize.brentq(beyond, max(share, near), 1.0))
    return Estimate(share, low, high)


def _variance(share: float, m: int, n: int) -> float:
    """The variance of the Mann-Whitney probability of samples of m and n (Hanley & McNeil 1982, as in Newcombe's method 5)."""
    others = (m + n) / 2 - 1
    return share * (1 - share) * (1 + others * ((1 - share) / (2 - share) + share / (1 + share))) / (m * n)


def _z(level: float) -> float:
    return float(stats.norm.ppf((1 + level) / 2))


def improvement(frame: pd.DataFrame, method: str, baselines: Mapping[str, str]) -> Estimate:
    """Returns the probability that a run of a method has a higher score than one of the baseline in the same cell.

    Ties count one half (the Mann-Whitney statistic divided by the number of pairs). It is the mean over the cells of a pair,
    then over the pairs. Samples are taken as independent, although runs of the same seed are paired.
    """
    known = checked(frame)
    ours = strata(known, method)
    by_pair: dict[str, list[float]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for (pair, cell), rows in known.groupby(["pair", "cell"], sort=True):
        other = baselines.get(str(cell), "")
        if cell in ours and other in set(rows["method"]):
            theirs = strata(rows, other)[str(cell)]
            by_pair.setdefault(str(pair), []).append(_improvement(ours[str(cell)], theirs))
            size = (len(ours[str(cell)]), len(theirs))
            sizes[str(pair)] = min(size, sizes.get(str(pair), size))
    if not by_pair:
        return Estimate(math.nan)
    value = float(np.mean([np.mean(values) for values in by_pair.values()]))
    if min(min(size) for size in sizes.values()) < LEAST:
        return Estimate(value)
    return newcombe(value, list(sizes.values()))


def _improvement(ours: Floats, theirs: Floats) -> float:
    one, other = ours[:, None], theirs[None, :]
    return float(((one > other) + 0.5 * (one == other)).mean())


def profile(frame: pd.DataFrame, method: str, taus: Sequence[float]) -> list[Estimate]:
    """Returns the share of a method's runs with a score above each tau (the run-score distribution), with pointwise
    intervals."""
    pooled = np.concatenate(list(strata(frame, method).values()))
    counts = units(frame, method)
    shares = [float((pooled > tau).mean()) for tau in taus]
    if min(counts.values()) < LEAST:
        return [Estimate(share) for share in shares]
    return [wilson(share, sum(counts.values())) for share in shares]

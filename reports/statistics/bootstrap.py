"""Aggregates over cells with stratified bootstrap intervals, as Agarwal et al. 2021 (arXiv:2108.13264) define them.

The strata are the cells: each draw takes, in every cell, as many runs as there are, with replacement. The interval is between
percentiles. Few runs to a cell make it too narrow: a resampled mean of n varies by (n - 1) / n of the variance that a mean of
n fresh runs has, which is 2/3 for three seeds. Where a cell has a single run there is nothing to draw from, and no interval.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reports.statistics.frame import Floats
from reports.statistics.summary import LEVEL

DRAWS = 2000
Strata = Mapping[str, Floats]


@dataclass(frozen=True)
class Estimate:
    """A number with the ends of its interval; these are NaN where there is none."""

    value: float
    low: float
    high: float


def generator(*parts: object) -> np.random.Generator:
    """A generator with an address, as in `bench.seeds`: the same numbers for the same parts, on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def draws(found: Strata, *address: object, count: int = DRAWS) -> dict[str, Floats]:
    """For each cell ``count`` resamples of its runs, (count, runs)."""
    source = generator("bootstrap", *address)
    return {
        cell: found[cell][source.integers(len(found[cell]), size=(count, len(found[cell])))] for cell in sorted(found)
    }


def iqm(values: Floats) -> Floats:
    """Interquartile mean along the last axis: the mean of the middle half, a quarter of the runs cut at either end (rounded
    down)."""
    return np.asarray(stats.trim_mean(values, 0.25, axis=-1))


def aggregate(found: Strata, statistic: Callable[[Floats], Floats], *address: object, level: float = LEVEL) -> Estimate:
    """A statistic (of the last axis) of all runs of all cells. Where a run failed there is none: it has no score to average,
    and without it the rest would be of other cells than the other methods' are."""
    pooled = np.concatenate([found[cell] for cell in sorted(found)])
    if not np.isfinite(pooled).all():
        return Estimate(math.nan, math.nan, math.nan)
    value = float(statistic(pooled))
    return _interval(
        value, lambda: statistic(np.concatenate(list(draws(found, *address).values()), axis=-1)), [found], level
    )


def improvement(ours: Strata, theirs: Strata, *address: object, level: float = LEVEL) -> Estimate:
    """Probability that a run of ours is better than one of theirs in the same cell, ties half (the Mann-Whitney statistic
    over the number of pairs), mean over the cells that both have. Runs are drawn independently of each other: seeds are not
    paired here."""
    cells = sorted(set(ours) & set(theirs))
    if not cells:
        return Estimate(math.nan, math.nan, math.nan)
    ours, theirs = ({cell: found[cell] for cell in cells} for found in (ours, theirs))

    def resampled() -> Floats:
        return _improvement(draws(ours, "ours", *address), draws(theirs, "theirs", *address))

    return _interval(float(_improvement(ours, theirs)), resampled, [ours, theirs], level)


def _improvement(ours: Strata, theirs: Strata) -> Floats:
    found = []
    for cell in ours:
        one, other = ours[cell][..., :, None], theirs[cell][..., None, :]
        found.append(((one > other) + 0.5 * (one == other)).mean(axis=(-2, -1)))
    return np.asarray(np.mean(found, axis=0))


def profile(found: Strata, taus: Sequence[float], *address: object, level: float = LEVEL) -> list[Estimate]:
    """Share of all runs with a score above each tau (the run-score distribution), with pointwise intervals."""
    pooled = np.concatenate([found[cell] for cell in sorted(found)])
    drawn = np.concatenate(list(draws(found, *address).values()), axis=-1)

    def above(tau: float) -> Estimate:
        return _interval(float((pooled > tau).mean()), lambda: (drawn > tau).mean(axis=-1), [found], level)

    return [above(tau) for tau in taus]


def _interval(value: float, resampled: Callable[[], Floats], found: Sequence[Strata], level: float) -> Estimate:
    if min(len(runs) for strata in found for runs in strata.values()) < 2:
        return Estimate(value, math.nan, math.nan)
    low, high = np.percentile(resampled(), [50 * (1 - level), 50 * (1 + level)])
    return Estimate(value, float(low), float(high))

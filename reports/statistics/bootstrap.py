"""Aggregates over cells with stratified bootstrap intervals, as Agarwal et al. 2021 (arXiv:2108.13264) define them.

The strata are the cells: each resample draws, in every cell, as many runs as it has, with replacement. Intervals are between
percentiles. With few runs per cell they are too narrow: the variance of a resampled mean of n runs is (n - 1) / n of that of
a mean of n new runs, which is 2/3 for three seeds. With a single run in a cell there is no interval.
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
    """A number with the ends of its interval, which are NaN where it has none."""

    value: float
    low: float
    high: float


def generator(*parts: object) -> np.random.Generator:
    """Returns a generator seeded by ``parts``, as in `bench.seeds`: equal parts give equal numbers on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def draws(found: Strata, *address: object, count: int = DRAWS) -> dict[str, Floats]:
    """Returns for each cell ``count`` resamples of its runs, of shape (count, runs)."""
    source = generator("bootstrap", *address)
    return {
        cell: found[cell][source.integers(len(found[cell]), size=(count, len(found[cell])))] for cell in sorted(found)
    }


def iqm(values: Floats) -> Floats:
    """Returns the interquartile mean along the last axis: a quarter of the runs, rounded down, is removed at either end."""
    return np.asarray(stats.trim_mean(values, 0.25, axis=-1))


def aggregate(found: Strata, statistic: Callable[[Floats], Floats], *address: object, level: float = LEVEL) -> Estimate:
    """Returns a statistic (along the last axis) of all runs of all cells, with its interval.

    NaN where a run failed: without its score, the value would be over other runs than those of the other methods.
    """
    pooled = np.concatenate([found[cell] for cell in sorted(found)])
    if not np.isfinite(pooled).all():
        return Estimate(math.nan, math.nan, math.nan)
    value = float(statistic(pooled))
    return _interval(
        value, lambda: statistic(np.concatenate(list(draws(found, *address).values()), axis=-1)), [found], level
    )


def improvement(ours: Strata, theirs: Strata, *address: object, level: float = LEVEL) -> Estimate:
    """Returns the probability that a run of ours has a higher score than a run of theirs in the same cell.

    Ties count one half (the Mann-Whitney statistic divided by the number of pairs); it is the mean over the cells that both
    have. Both are resampled independently: seeds are not paired.
    """
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
    """Returns the share of all runs with a score above each tau (the run-score distribution), with pointwise intervals."""
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

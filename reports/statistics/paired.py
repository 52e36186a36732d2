"""Paired differences: the t test, Holm's correction, and the smallest detectable difference."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

from reports.statistics.frame import Floats

ALPHA = 0.05
POWER = 0.8


def spread_of(values: Floats) -> float:
    """Returns the standard deviation (ddof 1) of at least two values; 0 where they are equal but for rounding errors."""
    spread = float(np.std(values, ddof=1))
    if spread <= 1e-9 * max(1.0, abs(float(np.mean(values)))):
        return 0.0
    return spread


def t_test(values: Floats) -> float:
    """Returns the two-sided p of the paired t test, which assumes normal differences; NaN with fewer than two pairs.

    Equal differences have no spread, so that p is 1 where they are zero, else 0.
    """
    if len(values) < 2:
        return math.nan
    centre, spread = float(np.mean(values)), spread_of(values)
    if spread == 0:
        return float(abs(centre) <= 1e-9)
    return float(2 * stats.t.sf(abs(centre) / (spread / math.sqrt(len(values))), len(values) - 1))


def holm(values: Sequence[float]) -> list[float]:
    """Returns p values corrected by Holm's step-down method (1979): in increasing order the i-th of m (from 0) is multiplied by
    m - i; none is smaller than the one before it, and none larger than 1. NaN stays NaN, and is not counted in m."""
    known = sorted((i for i, p in enumerate(values) if not math.isnan(p)), key=lambda i: (values[i], i))
    found, floor = list(values), 0.0
    for place, i in enumerate(known):
        floor = max(floor, min(1.0, (len(known) - place) * values[i]))
        found[i] = floor
    return found


def detectable(std: float, n: int, *, power: float = POWER, alpha: float = ALPHA) -> float:
    """Returns the smallest true difference that a two-sided paired t test with n pairs detects with the given power, where
    differences have this standard deviation: in the unit of the score. NaN with fewer than two pairs.

    ``alpha`` is that of the test: with Holm's correction over m methods, of which the first step tests at ALPHA / m. It is an
    order of magnitude, because the deviation is estimated from few pairs.
    """
    if n < 2:
        return math.nan
    return _noncentrality(n, power, alpha) * std / math.sqrt(n)


@functools.cache
def _noncentrality(n: int, power: float, alpha: float) -> float:
    """The noncentrality at which the two-sided t test of n pairs has this power.

    The power is computed as a mean over the distribution of the sample's deviation, because SciPy's noncentral t
    distribution is NaN for some arguments.
    """
    chances = (np.arange(4000) + 0.5) / 4000
    bound = float(stats.t.ppf(1 - alpha / 2, n - 1))
    bounds = bound * np.sqrt(stats.chi2.ppf(chances, n - 1) / (n - 1))

    def missing(shift: float) -> float:
        return float(np.mean(stats.norm.sf(bounds - shift) + stats.norm.cdf(-bounds - shift))) - power

    return float(optimize.brentq(missing, 0.0, 20.0 + 5 * bound))

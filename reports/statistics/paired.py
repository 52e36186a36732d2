"""Paired differences: two tests, Holm's correction, an effect size, and the smallest detectable difference."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import optimize, stats

from reports.statistics.frame import Floats, checked, differences, named
from reports.statistics.summary import mean

ALPHA = 0.05
POWER = 0.8
COLUMNS = ["method", "n", "unpaired", "mean", "std", "half", "wilcoxon", "holm", "least", "effect"]


def against(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Compares every other method with a baseline over all pairs (cell, seed); returns one row per method.

    ``n`` pairs and ``unpaired`` scores without a partner; ``mean``, ``std`` (ddof 1) and ``half`` (of the 95 % t interval) of
    the differences, above 0 where the method is better; ``wilcoxon``: p of Wilcoxon's test, ``holm``: corrected over the
    rows; ``least``: the smallest p that the test can give (before the correction); ``effect``: see `rank_biserial`. Pairs are
    assumed to be independent, so that the test applies to these cells only, and not to similar ones.
    """
    known = checked(frame)
    rows = []
    for method in sorted(set(known["method"]) - {named(known, baseline)}):
        found, unpaired = differences(known, method, baseline)
        values, over = found.to_numpy(), mean(found)
        row = {"method": method, "n": len(values), "unpaired": unpaired}
        row |= {"mean": over.mean, "std": over.std, "half": over.half}
        row |= {"wilcoxon": wilcoxon(values), "least": least(values), "effect": rank_biserial(values)}
        rows.append(row)
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(holm=holm(table["wilcoxon"].astype(float).tolist()))


def signed_ranks(values: Floats) -> Floats:
    """Returns the ranks of the absolute differences, ties averaged, with the signs of the differences. Zeros are left out
    (as Wilcoxon does; ``zero_method="wilcox"`` in SciPy)."""
    some = values[values != 0]
    return np.asarray(stats.rankdata(np.abs(some)) * np.sign(some))


def wilcoxon(values: Floats) -> float:
    """Returns the two-sided p of Wilcoxon's signed-rank test: exact, also with ties, from all 2^n signs. NaN without a pair, 1
    where all differences are zero.

    SciPy is exact only without ties, which are frequent for accuracies on small test sets; so the distribution is computed
    here.
    """
    if not len(values):
        return math.nan
    ranks = signed_ranks(values)
    if not len(ranks):
        return 1.0
    twice = np.rint(2 * np.abs(ranks)).astype(int)  # integers, as tied ranks are multiples of one half
    chances = np.ones(1)
    for rank in twice:  # distribution of the sum of the positive ranks
        chances = 0.5 * (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0)))
    at = int(twice[ranks > 0].sum())
    return float(min(1.0, 2 * min(chances[: at + 1].sum(), chances[at:].sum())))


def least(values: Floats) -> float:
    """Returns the smallest two-sided p that a test of the signs of these differences can give: 2 / 2^n, zeros left out. With
    five pairs it is 0.0625, so that fewer than six pairs never reach 0.05."""
    if not len(values):
        return math.nan
    count = int((values != 0).sum())
    return min(1.0, 2.0 * 0.5**count)


def rank_biserial(values: Floats) -> float:
    """Returns the matched-pairs rank-biserial correlation, -1 to 1: the share of the rank sum with positive sign minus that
    with negative sign (Kerby 2014). NaN where all differences are zero."""
    ranks = signed_ranks(values)
    if not len(ranks):
        return math.nan
    return float(ranks.sum() / np.abs(ranks).sum())


def t_test(values: Floats) -> float:
    """Returns the two-sided p of the paired t test, which assumes normal differences; NaN with fewer than two pairs.

    Where all differences are equal (frequent with small test sets, on which accuracies have few values), their deviation is
    unknown: the p is 1 where all are zero, else only the signs are used, 2 / 2^n.
    """
    if len(values) < 2:
        return math.nan
    centre, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    if spread <= 1e-9 * max(1.0, abs(centre)):
        return least(np.where(np.abs(values) <= 1e-9, 0.0, values))
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

    It is an order of magnitude, because the deviation is estimated from few pairs.
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

"""Paired differences: two tests, Holm's correction, an effect size, and what the number of pairs could have shown."""

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
    """Every other method against a baseline over all pairs (cell, seed), one row per method.

    ``n`` pairs and ``unpaired`` scores that have no partner; ``mean``, ``std`` (ddof 1) and ``half`` (of the 95 % t interval)
    of the differences, above 0 where the method is better; ``wilcoxon``: p of Wilcoxon's test, ``holm``: corrected over the
    rows; ``least``: the smallest p that the test could have given (before the correction); ``effect``: see `rank_biserial`.
    Pairs are taken as independent, so that the test speaks of these cells only, and not of others like them.
    """
    known = checked(frame)
    rows = []
    for method in sorted(set(known["method"]) - {named(known, baseline)}):
        found, unpaired = differences(known, method, baseline)
        values, over = found.to_numpy(), mean(found)
        row = {"method": method, "n": len(values), "unpaired": unpaired, "mean": over.mean, "std": over.std}
        row |= {
            "half": over.half,
            "wilcoxon": wilcoxon(values),
            "least": least(values),
            "effect": rank_biserial(values),
        }
        rows.append(row)
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(holm=holm(table["wilcoxon"].astype(float).tolist()))


def signed_ranks(values: Floats) -> Floats:
    """The ranks of what differs from zero by size, ties averaged, with the signs of the differences. Zeros are left out
    (Wilcoxon's own way; ``zero_method="wilcox"`` in SciPy)."""
    some = values[values != 0]
    return np.asarray(stats.rankdata(np.abs(some)) * np.sign(some))


def wilcoxon(values: Floats) -> float:
    """Two-sided p of Wilcoxon's signed-rank test: exact, also with ties, from all 2^n signs. NaN without a pair, 1 where all
    differences are zero.

    SciPy is exact without ties only; accuracies of small test sets tie often, so the distribution is worked out here.
    """
    ranks = signed_ranks(values)
    if not len(ranks):
        return 1.0 if len(values) else math.nan
    twice = np.rint(2 * np.abs(ranks)).astype(int)  # tied ranks are halves
    chances = np.ones(1)
    for rank in twice:  # of the sum of the ranks that are positive
        chances = 0.5 * (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0)))
    at = int(twice[ranks > 0].sum())
    return float(min(1.0, 2 * min(chances[: at + 1].sum(), chances[at:].sum())))


def least(values: Floats) -> float:
    """The smallest two-sided p that any test of the signs of these differences can give: 2 / 2^n, zeros left out. With five
    pairs it is 0.0625, so that fewer than six never reach 0.05."""
    count = int((values != 0).sum())
    return min(1.0, 2.0 * 0.5**count) if len(values) else math.nan


def rank_biserial(values: Floats) -> float:
    """The matched-pairs rank-biserial correlation, -1 to 1: the share of the rank sum in favour less that against (Kerby
    2014). NaN where nothing differs."""
    ranks = signed_ranks(values)
    return float(ranks.sum() / np.abs(ranks).sum()) if len(ranks) else math.nan


def t_test(values: Floats) -> float:
    """Two-sided p of the paired t test; NaN with fewer than two pairs. It takes differences as normal.

    Differences that are all alike say nothing of how much they vary, which happens where a test set is so small that
    accuracies move in steps: all zero gives 1, and otherwise only their signs are counted, 2 / 2^n.
    """
    if len(values) < 2:
        return math.nan
    centre, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    if spread <= 1e-9 * max(1.0, abs(centre)):
        return least(np.where(np.abs(values) <= 1e-9, 0.0, values))
    return float(2 * stats.t.sf(abs(centre) / (spread / math.sqrt(len(values))), len(values) - 1))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979) of p values: in rising order the i-th of m (from 0) is multiplied by m - i, none
    ends below the one before it, and none above 1. A NaN stays, and is no part of the family."""
    known = sorted((i for i, p in enumerate(values) if not math.isnan(p)), key=lambda i: (values[i], i))
    found, floor = list(values), 0.0
    for place, i in enumerate(known):
        floor = max(floor, min(1.0, (len(known) - place) * values[i]))
        found[i] = floor
    return found


def detectable(std: float, n: int, *, power: float = POWER, alpha: float = ALPHA) -> float:
    """The smallest true difference that a two-sided paired t test with n pairs finds with the given power, where differences
    have this standard deviation: in the score's unit. NaN with fewer than two pairs.

    The deviation is itself known from few pairs: take it as an order of magnitude.
    """
    return _noncentrality(n, power, alpha) * std / math.sqrt(n) if n > 1 else math.nan


@functools.cache
def _noncentrality(n: int, power: float, alpha: float) -> float:
    """The noncentrality at which the two-sided t test of n pairs has this power.

    The power is the noncentral t distribution beyond the bound, as a mean over what the sample's deviation may turn out to
    be: SciPy's own is NaN here and there.
    """
    chances = (np.arange(4000) + 0.5) / 4000
    bound = float(stats.t.ppf(1 - alpha / 2, n - 1))
    bounds = bound * np.sqrt(stats.chi2.ppf(chances, n - 1) / (n - 1))

    def missing(shift: float) -> float:
        return float(np.mean(stats.norm.sf(bounds - shift) + stats.norm.cdf(-bounds - shift))) - power

    return float(optimize.brentq(missing, 0.0, 20.0 + 5 * bound))

"""Differences over all cells: one value for each dense model, and which interval they have."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports.statistics.overall import over_pairs, to_baseline, to_dense
from tests.reports.frames import frame

SCORES = {
    "net@0.5": {"a": [90.0, 91.0, 92.0], "b": [89.0, 90.0, 90.0]},
    "net@0.9": {"a": [80.0, 83.0, 82.0], "b": [81.0, 81.0, 81.0]},
}
CHOSEN = dict.fromkeys(SCORES, "b")


def one_model() -> pd.DataFrame:
    tidy = frame(SCORES).assign(pair="digits/net")
    return tidy.assign(dense=95.0 + tidy["seed"])


def test_budgets_are_averaged_within_a_dense_model() -> None:
    """By hand: a is 5 and 15, 5 and 13, 5 and 15 below dense 95, 96, 97."""
    assert to_dense(one_model(), "a")["digits/net"].tolist() == [-10.0, -9.0, -10.0]
    assert to_baseline(one_model(), "a", CHOSEN)["digits/net"].tolist() == [0.0, 1.5, 1.5]
    found = over_pairs(to_dense(one_model(), "a"))
    scipy = stats.ttest_1samp([-10.0, -9.0, -10.0], 0.0).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((-29 / 3, scipy.low, scipy.high))


def test_the_interval_of_fixed_cells_by_hand() -> None:
    """Pairs with means 1 and 3 and variances 1 and 4 of three values each: error sqrt((1 + 4) / 3) / 2 = 0.6455, degrees of
    freedom 25 / (1 / 2 + 16 / 2) = 2.9412."""
    found = over_pairs({"x": np.array([0.0, 1.0, 2.0]), "y": np.array([1.0, 3.0, 5.0])})
    assert found.mean == 2.0
    assert found.half == pytest.approx(float(stats.t.ppf(0.975, 25 / 8.5)) * math.sqrt(5 / 3) / 2)


def test_from_five_pairs_on_the_pairs_are_the_replicates() -> None:
    """However many dense models: the deviation is that of the pairs' means."""
    values = {f"p{i}": np.array([i - 0.01, i, i + 0.01]) for i in range(5)}
    found = over_pairs(values)
    assert (found.n, found.mean) == (5, pytest.approx(2.0))
    assert found.half == pytest.approx(2.776445 * np.std(range(5), ddof=1) / math.sqrt(5))
    assert over_pairs({name: own for name, own in values.items() if name != "p4"}).half < 0.1


def test_a_collapse_at_one_budget_is_seen() -> None:
    """An interquartile mean of eight runs hides two that fell to 10 %; the difference to dense does not."""
    cells = {f"net@{t}": {"a": [90.0, 91.0]} for t in (0.5, 0.6, 0.7)} | {"net@0.9": {"a": [10.0, 10.0]}}
    tidy = frame(cells).assign(pair="net", dense=95.0)
    assert stats.trim_mean(tidy["score"], 0.25) == 90.25
    assert over_pairs(to_dense(tidy, "a")).mean == pytest.approx((3 * -4.5 - 85) / 4)


def test_failing_never_helps() -> None:
    """A mean over the cells that are left would be better: there is none."""
    tidy = one_model()
    last = (tidy["cell"] == "net@0.9") & (tidy["seed"] == 2) & (tidy["method"] == "b")
    failed = tidy.assign(score=tidy["score"].mask(last))
    assert to_dense(failed, "b") == to_baseline(failed, "a", CHOSEN) == {}
    assert to_dense(tidy[tidy["cell"] == "net@0.5"], "b").keys() == {"digits/net"}
    assert to_dense(tidy[(tidy["cell"] == "net@0.5") | (tidy["method"] == "a")], "b") == {}
    under_way = tidy[~last]
    assert to_baseline(under_way, "a", CHOSEN)["digits/net"].tolist() == [0.0, 1.5]
    off = tidy.assign(missed=tidy["method"] == "a")
    assert to_dense(off, "a") == {}
    assert math.isnan(over_pairs({}).mean)


def test_odds_are_compared_near_100_per_cent() -> None:
    """From 99 to 98 % the odds of an error double, from 60 to 59 % they hardly change; 100 % has finite odds."""
    tidy = frame({"net": {"a": [98.0, 59.0, 100.0]}}).assign(dense=[99.0, 60.0, 99.0])
    near, far, whole = to_dense(tidy, "a", odds=True)["net"]
    assert near == pytest.approx(math.log(98 / 2) - math.log(99))
    assert abs(near) > 10 * abs(far)
    assert 2 < whole < 4

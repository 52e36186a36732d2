"""Shares over cells: the definitions by hand and against rliable 1.2's numbers, and their intervals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.errors import BenchError
from reports.statistics.frame import checked, strata
from reports.statistics.shares import Estimate, improvement, newcombe, profile, wilson
from tests.reports.frames import frame, simulated

OURS = [[85.292, 83.2, 86.936, 92.723, 93.603, 87.068], [82.85, 81.546, 83.69, 87.232, 88.432, 94.363]]
OURS += [[82.283, 82.365, 85.332, 87.001, 92.482, 89.385], [80.939, 79.438, 76.341, 87.961, 90.593, 87.774]]
OURS += [[86.809, 77.637, 84.137, 85.438, 92.598, 94.408]]
THEIRS = [[79.465, 82.134, 80.337, 79.058, 85.956, 89.469], [82.691, 84.607, 81.838, 84.093, 83.854, 84.74]]
THEIRS += [[73.881, 86.852, 81.471, 83.686, 83.242, 91.332], [74.158, 80.362, 80.314, 86.161, 85.468, 85.458]]
THEIRS += [[78.915, 82.285, 83.2, 85.907, 85.097, 87.912]]


def compared(ours: list[list[float]], theirs: list[list[float]]) -> pd.DataFrame:
    """A frame of two methods from runs (rows) of cells (columns)."""
    by_cell = zip(np.array(ours).T.tolist(), np.array(theirs).T.tolist(), strict=True)
    return frame({f"c{i}": {"ours": one, "theirs": other} for i, (one, other) in enumerate(by_cell)})


def better(ours: list[list[float]], theirs: list[list[float]], method: str = "ours") -> Estimate:
    """The probability that a method beats the other in cells that are all of different pairs."""
    tidy = compared(ours, theirs)
    other = {"ours": "theirs", "theirs": "ours"}[method]
    return improvement(tidy, method, dict.fromkeys(tidy["cell"], other))


def test_the_probability_of_improvement_is_rliables() -> None:
    """Rliable's bootstrap gave 0.653 to 0.873; the score interval is a little wider, and never leaves 0 to 1."""
    found = better(OURS, THEIRS)
    assert found.value == pytest.approx(0.76666667)
    assert (found.low, found.high) == (pytest.approx(0.635, abs=0.02), pytest.approx(0.862, abs=0.02))


def test_the_probability_of_improvement_is_mann_whitneys_mean_over_cells() -> None:
    ours, theirs = [[1.0, 4, 2], [2, 4, 8], [3, 5, 9]], [[1.0, 3, 3], [1, 5, 7], [4, 5, 2]]
    columns = zip(np.array(ours).T, np.array(theirs).T, strict=True)
    wanted = [stats.mannwhitneyu(one, other).statistic / 9 for one, other in columns]
    assert better(ours, theirs).value == pytest.approx(np.mean(wanted))
    assert better(ours, theirs).value == pytest.approx(0.5740740740740741)  # rliable
    assert better(ours, ours).value == 0.5


@given(st.lists(st.lists(st.integers(0, 4).map(float), min_size=3, max_size=3), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_what_is_better_one_way_is_worse_the_other(rows: list[list[float]]) -> None:
    theirs = [[1.0, 2.0, 3.0]] * len(rows)
    assert better(rows, theirs).value + better(rows, theirs, "theirs").value == pytest.approx(1)


def test_newcombes_interval_is_published() -> None:
    """Newcombe 2006, part 2, method 5, by its equation: at both ends the estimate is 1.96 standard errors away."""
    found = newcombe(0.8, [(10, 8)])
    for end in (found.low, found.high):
        others = (10 + 8) / 2 - 1
        variance = end * (1 - end) * (1 + others * (1 - end) / (2 - end) + others * end / (1 + end)) / 80
        assert abs(0.8 - end) == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-5)
    one, other = newcombe(0.8, [(10, 8)]), newcombe(0.2, [(10, 8)])
    assert (one.low, one.high) == (pytest.approx(1 - other.high), pytest.approx(1 - other.low))


def test_a_share_of_none_is_not_certain() -> None:
    """The truth 0.10 gives none of the pairs 28 % of the time: a bootstrap says [0, 0] then."""
    found = better([[1.0]] * 5, [[2.0]] * 5)
    assert (found.value, found.low) == (0.0, 0.0)
    assert 0.2 < found.high < 0.5
    assert better([[2.0]] * 5, [[1.0]] * 5).low == pytest.approx(1 - found.high)


def test_wilsons_interval_is_scipys() -> None:
    for count, n in ((0, 5), (3, 10), (10, 10)):
        found, scipy = wilson(count / n, n), stats.binomtest(count, n).proportion_ci(method="wilson")
        assert (found.low, found.high) == (pytest.approx(scipy.low), pytest.approx(scipy.high))


def test_the_profile_is_rliables() -> None:
    tidy = compared(OURS, THEIRS)
    found = profile(tidy, "ours", [80.0, 85.0, 90.0])
    assert [f.value for f in found] == pytest.approx([0.9, 0.63333333, 0.23333333])
    assert (found[0].low, found[0].high) == (
        wilson(0.9, 30).low,
        wilson(0.9, 30).high,
    )  # all cells are of different pairs


def test_budgets_of_one_model_are_one_sample() -> None:
    """Six budgets of one model say no more than one: the interval is that of its five dense models."""
    tidy = compared(OURS, THEIRS).assign(pair="net")
    one = improvement(tidy, "ours", dict.fromkeys(tidy["cell"], "theirs"))
    assert (one.low, one.high) == (newcombe(one.value, [(5, 5)]).low, newcombe(one.value, [(5, 5)]).high)
    assert one.high - one.low > 2 * (better(OURS, THEIRS).high - better(OURS, THEIRS).low)
    assert profile(tidy, "ours", [80.0])[0].low == wilson(0.9, 5).low


def test_a_run_that_failed_is_above_nothing_and_worse_than_everything() -> None:
    tidy = frame({"c": {"a": [1.0, math.nan], "b": [0.0, 0.0]}})
    assert [f.value for f in profile(tidy, "a", [-1e9, 2.0])] == [0.5, 0.0]
    assert improvement(tidy, "a", {"c": "b"}).value == 0.5


def test_a_run_off_its_budget_is_worse_than_everything_too() -> None:
    tidy = frame({"c": {"a": [1.0, 2.0], "b": [0.0, 0.0]}}).assign(missed=[True, False, False, False])
    assert improvement(tidy, "a", {"c": "b"}).value == 0.5


def test_few_dense_models_give_no_interval() -> None:
    tidy = frame({"c": {"a": [1.0, 2.0, 3.0, 4.0], "b": [3.0, 3.0, 3.0, 3.0]}})
    assert math.isnan(improvement(tidy, "a", {"c": "b"}).low)
    assert math.isnan(profile(tidy, "a", [1.5])[0].high)


def test_equal_scores_are_ties_also_where_they_differ_by_rounding() -> None:
    """303 of 359 images, computed in two ways."""
    tidy = frame({"c": {"a": [100 * 303 / 359], "b": [100 * (303 / 359)]}})
    assert tidy["score"].nunique() == 2
    assert improvement(tidy, "a", {"c": "b"}).value == 0.5


def test_the_order_of_rows_never_matters() -> None:
    tidy = simulated(3, seeds=5)
    mixed = tidy.sample(frac=1, random_state=1)
    assert checked(mixed).equals(checked(tidy))
    chosen = dict.fromkeys(tidy["cell"], "gradual")
    assert improvement(mixed, "sap", chosen) == improvement(tidy, "sap", chosen)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda f: f.drop(columns="seed"), "got no 'seed'"),
        (lambda f: pd.concat([f, f[:1]]), "c/a/0 more than once"),
        (lambda f: f.assign(score=math.inf), "infinite"),
    ],
)
def test_a_frame_of_another_form_is_refused(change: object, rule: str) -> None:
    with pytest.raises(BenchError, match=rule):
        checked(change(frame({"c": {"a": [1.0]}})))  # type: ignore[operator]


def test_an_unknown_method_is_told_with_the_known_ones() -> None:
    with pytest.raises(BenchError, match="sap"):
        strata(simulated(2), "sepp")

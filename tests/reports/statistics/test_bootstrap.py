"""Aggregates over cells: the definitions by hand and against rliable 1.2's numbers, and their intervals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.errors import BenchError
from reports.statistics.bootstrap import Estimate, aggregate, improvement, iqm, profile
from reports.statistics.frame import Floats, checked, strata
from tests.reports.frames import frame, simulated

OURS = [[85.292, 83.2, 86.936, 92.723, 93.603, 87.068], [82.85, 81.546, 83.69, 87.232, 88.432, 94.363]]
OURS += [[82.283, 82.365, 85.332, 87.001, 92.482, 89.385], [80.939, 79.438, 76.341, 87.961, 90.593, 87.774]]
OURS += [[86.809, 77.637, 84.137, 85.438, 92.598, 94.408]]
THEIRS = [[79.465, 82.134, 80.337, 79.058, 85.956, 89.469], [82.691, 84.607, 81.838, 84.093, 83.854, 84.74]]
THEIRS += [[73.881, 86.852, 81.471, 83.686, 83.242, 91.332], [74.158, 80.362, 80.314, 86.161, 85.468, 85.458]]
THEIRS += [[78.915, 82.285, 83.2, 85.907, 85.097, 87.912]]


def cells(rows: list[list[float]]) -> dict[str, Floats]:
    """Strata from runs (rows) of cells (columns)."""
    return {str(i): column for i, column in enumerate(np.array(rows).T)}


def average(values: Floats) -> Floats:
    return np.asarray(values.mean(axis=-1))


def test_the_interquartile_mean_cuts_a_quarter_off_each_end() -> None:
    assert float(iqm(np.array([1000.0, 4, 1, 3, 2, 5, 6, -1000]))) == (2 + 3 + 4 + 5) / 4
    assert float(iqm(np.array([1.0, 4, 2, 2, 4, 8, 3, 5, 9]))) == 3.6  # 9 / 4 rounded down: the middle five; as rliable


def test_interquartile_mean_and_mean_with_intervals_are_rliables() -> None:
    """rliable: 20 000 draws gave 85.413 to 87.216 and 85.392 to 87.253."""
    found = aggregate(cells(OURS), iqm, "iqm")
    assert found.value == pytest.approx(86.1585625)
    assert (found.low, found.high) == (pytest.approx(85.413, abs=0.1), pytest.approx(87.216, abs=0.1))
    found = aggregate(cells(OURS), average, "mean")
    assert found.value == pytest.approx(86.3285333)
    assert (found.low, found.high) == (pytest.approx(85.392, abs=0.1), pytest.approx(87.253, abs=0.1))


def test_the_probability_of_improvement_is_rliables() -> None:
    found = improvement(cells(OURS), cells(THEIRS), "x")
    assert found.value == pytest.approx(0.76666667)
    assert (found.low, found.high) == (pytest.approx(0.6533, abs=0.02), pytest.approx(0.8733, abs=0.02))


def test_the_probability_of_improvement_is_mann_whitneys_mean_over_cells() -> None:
    ours, theirs = cells([[1.0, 4, 2], [2, 4, 8], [3, 5, 9]]), cells([[1.0, 3, 3], [1, 5, 7], [4, 5, 2]])
    wanted = [stats.mannwhitneyu(ours[c], theirs[c]).statistic / 9 for c in ours]
    assert improvement(ours, theirs).value == pytest.approx(np.mean(wanted))
    assert improvement(ours, theirs).value == pytest.approx(0.5740740740740741)  # rliable
    assert improvement(ours, ours).value == 0.5


@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_what_is_better_one_way_is_worse_the_other(rows: list[list[int]]) -> None:
    ours, theirs = cells([[float(v) for v in row] for row in rows]), cells([[1.0, 2.0, 3.0]])
    assert improvement(ours, theirs).value + improvement(theirs, ours).value == pytest.approx(1)


def test_the_profile_is_rliables() -> None:
    found = profile(cells(OURS), [80.0, 85.0, 90.0], "p")
    assert [f.value for f in found] == pytest.approx([0.9, 0.63333333, 0.23333333])
    assert [f.low for f in found] == pytest.approx([0.8, 0.53333333, 0.13333333], abs=0.034)  # one run in thirty
    assert [f.high for f in found] == pytest.approx([1.0, 0.73333333, 0.33333333], abs=0.034)


def test_a_run_that_failed_is_above_nothing_and_worse_than_everything() -> None:
    own = strata(frame({"c": {"a": [1.0, math.nan], "b": [0.0, 0.0]}}), "a")
    assert [f.value for f in profile(own, [-1e9, 2.0])] == [0.5, 0.0]
    assert improvement(own, {"c": np.zeros(2)}).value == 0.5
    assert math.isnan(aggregate(own, iqm).value)


def test_one_run_in_a_cell_gives_no_interval() -> None:
    lone = {"c": np.array([1.0, 2.0]), "d": np.array([3.0])}
    assert aggregate(lone, average) == Estimate(
        2.0, pytest.approx(math.nan, nan_ok=True), pytest.approx(math.nan, nan_ok=True)
    )
    assert math.isnan(improvement(lone, lone).low)
    assert math.isnan(profile(lone, [1.5])[0].high)


def test_cells_are_not_mixed_by_a_draw() -> None:
    """Two cells far apart, without noise: whatever is drawn within them has the same mean."""
    found = aggregate({"c": np.array([10.0, 10]), "d": np.array([90.0, 90])}, average)
    assert (found.value, found.low, found.high) == (50.0, 50.0, 50.0)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """With ten runs to a cell a percentile interval is a little narrow: of 95 % about 92 % hold."""
    source, held = np.random.default_rng(1), 0
    for trial in range(150):
        found = aggregate(cells(source.normal(0, 1, (10, 4)).tolist()), average, trial)
        held += found.low <= 0 <= found.high
    assert 0.86 <= held / 150 <= 0.99


def test_the_order_of_rows_never_matters() -> None:
    tidy = simulated(3)
    mixed = tidy.sample(frac=1, random_state=1)
    assert checked(mixed).equals(checked(tidy))
    assert aggregate(strata(mixed, "sap"), iqm, 1) == aggregate(strata(tidy, "sap"), iqm, 1)


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

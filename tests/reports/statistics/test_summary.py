from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from reports.statistics.summary import accuracy, hypervolume, mean, pareto_front

POINTS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 100)), max_size=12)


def test_mean_of_three_by_hand() -> None:
    found = mean([92.0, 93.0, 94.0])
    assert (found.n, found.mean, found.std) == (3, 93.0, 1.0)
    assert found.half == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)  # t(0.975, 2 degrees of freedom)
    assert (found.low, found.high) == (93.0 - found.half, 93.0 + found.half)


def test_one_value_has_no_interval_and_none_no_mean() -> None:
    one, none = mean([90.0]), mean([])
    assert (one.n, one.mean) == (1, 90.0)
    assert math.isnan(one.std)
    assert math.isnan(one.half)
    assert none.n == 0
    assert math.isnan(none.mean)


def test_values_that_are_not_there_do_not_count() -> None:
    assert mean([1.0, math.nan, 3.0]) == mean([1.0, 3.0])


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=8, unique=True))
def test_interval_is_scipys(values: list[int]) -> None:
    found, expected = mean(values), scipy_stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(expected.low, abs=1e-6), pytest.approx(expected.high, abs=1e-6))


def test_an_interval_of_accuracies_stays_between_0_and_100() -> None:
    """Three logits by hand: 97.5 is 3.6636, 99 is 4.5951, 99.9 is 6.9068."""
    inside, outside = accuracy([90.0, 91.0, 92.0]), accuracy([97.5, 99.0, 99.9])
    assert inside == mean([90.0, 91.0, 92.0])
    assert outside.mean + outside.half > 100
    logits = mean([3.6636, 4.5951, 6.9068])
    assert outside.high == pytest.approx(100 / (1 + math.exp(-logits.high)), abs=1e-3)
    assert outside.low == pytest.approx(100 / (1 + math.exp(-logits.low)), abs=1e-3)
    assert 99 < accuracy([100.0, 100.0, 98.0]).high < 100
    assert math.isnan(accuracy([99.0]).high)


def test_front_by_hand() -> None:
    sizes, accuracies = [0.5, 0.1, 0.5, 0.9, 0.2, 0.1], [90.0, 70.0, 95.0, 94.0, math.nan, 70.0]
    assert pareto_front(sizes, accuracies) == [1, 2]


@given(POINTS)
def test_front_is_what_no_point_beats(points: list[tuple[float, float]]) -> None:
    front = pareto_front([s for s, _ in points], [a for _, a in points])
    for i, (size, score) in enumerate(points):
        beaten = any(s <= size and a >= score and (s, a) != (size, score) for s, a in points)
        assert (i in front) == (not beaten and points.index((size, score)) == i)


def test_hypervolume_by_hand() -> None:
    assert hypervolume([], []) == 0
    assert hypervolume([0.5], [80.0]) == pytest.approx(0.4)
    assert hypervolume([0.5, 0.25], [80.0, 60.0]) == pytest.approx(0.5 * 0.8 + 0.25 * 0.6)
    assert hypervolume([1.0], [99.0]) == 0


@given(POINTS, st.tuples(st.floats(0, 1), st.floats(0, 100)))
def test_another_point_never_lowers_the_hypervolume(
    points: list[tuple[float, float]], other: tuple[float, float]
) -> None:
    def volume(them: list[tuple[float, float]]) -> float:
        return hypervolume([s for s, _ in them], [a for _, a in them])

    assert 0 <= volume(points) <= volume([*points, other]) + 1e-12 <= 1 + 2e-12


def test_a_mean_as_columns() -> None:
    over = mean([1.0, 2.0, 3.0])
    assert over.columns("size") == {"size": 2.0, "low": over.low, "high": over.high, "n": 3}
    assert over.prefixed("dense") == {"dense": 2.0, "dense_low": over.low, "dense_high": over.high}

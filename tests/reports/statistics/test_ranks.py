"""Ranks: against Demsar's table, SciPy and scikit-posthocs 0.17."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.statistics.ranks import critical_difference, friedman, quantile, ranks, stretches
from tests.reports.frames import frame, simulated

MEANS = [[92.1, 91.4, 90.2, 88.0], [81.0, 80.5, 80.5, 74.0], [95.5, 95.9, 94.0, 93.1]]
MEANS += [[70.2, 69.8, 66.1, 67.0], [88.8, 87.0, 86.5, 81.0], [60.0, 59.0, 55.0, 51.0]]
SIX = frame({f"c{i}": {m: [score] for m, score in zip("abcd", row, strict=True)} for i, row in enumerate(MEANS)})


@pytest.mark.parametrize(
    ("k", "at_5", "at_10"),
    [(2, 1.960, 1.645), (3, 2.343, 2.052), (5, 2.728, 2.459), (8, 3.031, 2.780), (10, 3.164, 2.920)],
)
def test_quantiles_are_demsars(k: int, at_5: float, at_10: float) -> None:
    """Demsar 2006, table 5a."""
    assert quantile(k) == pytest.approx(at_5, abs=1e-3)
    assert quantile(k, 0.1) == pytest.approx(at_10, abs=1e-3)


def test_the_critical_difference_is_demsars_example() -> None:
    """Section 3.2.4: four classifiers on 14 data sets, q = 2.291 at 0.10: 1.12; at 0.05 q = 2.569: 1.25."""
    assert critical_difference(4, 14, 0.1) == pytest.approx(1.12, abs=5e-3)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)


def test_ranks_by_hand_and_friedman_as_scipy_has_it() -> None:
    found = ranks(SIX)
    assert found.mean == pytest.approx({"a": 7 / 6, "b": 11.5 / 6, "c": 18.5 / 6, "d": 23 / 6})
    assert found.friedman == pytest.approx(float(stats.friedmanchisquare(*np.array(MEANS).T).pvalue))


def test_groups_are_those_of_scikit_posthocs() -> None:
    """Its Nemenyi p: a-b 0.746, a-c 0.0497, a-d 0.002, b-c 0.399, b-d 0.0497, c-d 0.746."""
    found = ranks(SIX)
    assert found.groups == (("a", "b"), ("b", "c"), ("c", "d"))
    assert found.top == ("a", "b")
    distance = 11.5 / 6  # of a and c
    at = stats.studentized_range.sf(distance / math.sqrt(4 * 5 / 36) * math.sqrt(2), 4, np.inf)
    assert at == pytest.approx(0.0496761660310302, abs=1e-5)


def test_methods_that_all_tie_are_one_group() -> None:
    found = ranks(frame({f"c{i}": {m: [1.0, 2.0] for m in "abc"} for i in range(6)}))
    assert (found.friedman, found.mean) == (1.0, {"a": 2.0, "b": 2.0, "c": 2.0})
    assert found.groups == (("a", "b", "c"),)


def test_without_a_difference_by_friedman_nemenyi_is_not_asked() -> None:
    rows = [[1.0, 2, 3], [3, 1, 2], [2, 3, 1], [1, 3, 2], [3, 2, 1], [2, 1, 3]]
    found = ranks(frame({f"c{i}": {m: [s] for m, s in zip("abc", row, strict=True)} for i, row in enumerate(rows)}))
    assert found.friedman > 0.05
    assert found.top == ("a", "b", "c")


def test_failing_is_last_and_what_has_not_run_leaves_the_cell_out() -> None:
    cells = {f"c{i}": {"a": [1.0], "b": [2.0], "c": [math.nan], "d": [math.nan]} for i in range(5)}
    found = ranks(frame({**cells, "c5": {"a": [1.0]}}))
    assert (found.pairs, found.left_out) == (5, 1)
    assert found.mean == {"b": 1.0, "a": 2.0, "c": 3.5, "d": 3.5}


def test_failing_in_one_seed_is_last_however_good_the_others() -> None:
    """A = {95, failed, failed} has the best mean of what is left, and B = 94 wins every cell."""
    cells = {f"c{i}": {"a": [95.0, math.nan, math.nan], "b": [94.0] * 3, "c": [93.0] * 3} for i in range(5)}
    found = ranks(frame(cells))
    assert found.mean == {"b": 1.0, "c": 2.0, "a": 3.0}
    off = frame({f"c{i}": {"a": [95.0], "b": [94.0], "c": [93.0]} for i in range(5)})
    assert ranks(off.assign(missed=off["method"] == "a")).mean == {"b": 1.0, "c": 2.0, "a": 3.0}


def test_budgets_of_one_model_are_one_block() -> None:
    """One model at five targets is one pair, and no critical difference comes of it."""
    tidy = simulated(3, cells=5)
    found = ranks(tidy.assign(pair="digits/net"))
    assert (found.pairs, found.enough) == (1, False)
    assert ranks(tidy).enough


def test_a_block_ranks_the_mean_ranks_of_its_cells() -> None:
    """By hand: a is 1, 1, 3, b is 2, 3, 1, c is 3, 2, 2 in the three cells: 5 / 3, 2 and 7 / 3."""
    rows = ([3.0, 2, 1], [3, 1, 2], [1, 3, 2])
    cells = {f"c{i}": {m: [v] for m, v in zip("abc", row, strict=True)} for i, row in enumerate(rows)}
    assert ranks(frame(cells).assign(pair="one")).mean == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_scores_are_rounded_before_they_are_ranked() -> None:
    """300, 302 and 303 of 359 images in another order have a mean that differs by a rounding error only: they tie."""
    orders = {"a": (300, 302, 303), "b": (303, 302, 300), "c": (302, 300, 303)}
    cells = {f"c{i}": {m: [100 * hits / 359 for hits in own] for m, own in orders.items()} for i in range(5)}
    own = frame(cells)
    assert own.groupby(["cell", "method"])["score"].mean().nunique() > 1
    assert ranks(own).mean == {"a": 2.0, "b": 2.0, "c": 2.0}


@pytest.mark.parametrize(("methods", "cells"), [(2, 9), (3, 4)])
def test_too_few_have_no_critical_difference(methods: int, cells: int) -> None:
    found = ranks(simulated(methods, cells))
    assert not found.enough
    assert (found.groups, found.top) == ((), ())
    assert len(found.mean) == methods


def test_stretches_by_hand() -> None:
    mean = {"a": 1.0, "b": 1.5, "c": 2.4, "d": 2.5, "e": 4.0}
    assert stretches(mean, 1.2) == (("a", "b"), ("b", "c", "d"))
    assert stretches(mean, 0.05) == ()
    assert stretches(mean, 1.0) == (("a", "b"), ("b", "c"), ("c", "d"))  # exactly the difference apart is apart


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)), min_size=2, max_size=8))
def test_friedman_with_ties_is_scipys(rows: list[tuple[int, int, int]]) -> None:
    table = np.array(rows, dtype=float)
    places = stats.rankdata(-table, axis=1)
    if (places == 2).all():
        assert friedman(places) == 1.0
    else:
        assert friedman(places) == pytest.approx(float(stats.friedmanchisquare(*table.T).pvalue))

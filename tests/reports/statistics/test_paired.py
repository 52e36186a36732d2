"""Paired tests: against SciPy, published corrections, and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reports.statistics.frame import differences
from reports.statistics.paired import detectable, holm, t_test
from tests.reports.frames import frame


def test_the_t_test_is_scipys() -> None:
    values = np.array([0.8, 1.4, 0.3, 1.1])
    assert t_test(values) == pytest.approx(float(stats.ttest_1samp(values, 0.0).pvalue))
    assert math.isnan(t_test(values[:1]))


def test_differences_that_are_all_equal_have_a_p_of_0_or_1() -> None:
    assert t_test(np.full(3, 0.28)) == 0.0
    assert t_test(np.full(3, 93.61) - np.full(3, 93.33)) == 0.0  # equal but for rounding
    assert t_test(np.zeros(3)) == 1.0


def test_holm_by_hand_and_as_statsmodels_has_it() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005, 0.2]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.2])  # statsmodels 0.15
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_was_not_tested_is_no_part_of_the_family() -> None:
    found = holm([0.01, math.nan, 0.02])
    assert found[::2] == [0.02, 0.02]
    assert math.isnan(found[1])


@pytest.mark.parametrize(("n", "wanted"), [(10, 0.996), (20, 0.660), (34, 0.495)])
def test_the_detectable_difference_is_the_tables(n: int, wanted: float) -> None:
    """Cohen's d with power 0.8 at 0.05, as power calculators have it (d = 0.5 needs 34 pairs)."""
    assert detectable(1.0, n) == pytest.approx(wanted, abs=2e-3)
    assert detectable(2.5, n) == pytest.approx(2.5 * detectable(1.0, n))


@pytest.mark.parametrize("n", [3, 6])
def test_the_detectable_difference_is_found_four_times_in_five(n: int) -> None:
    source = np.random.default_rng(0)
    drawn = source.normal(detectable(1.0, n), 1.0, (20_000, n))
    found = np.asarray(stats.ttest_1samp(drawn, 0.0, axis=1).pvalue) < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("n", [3, 4, 10, 100])
def test_at_the_detectable_difference_the_noncentral_t_has_the_power(n: int) -> None:
    shift, bound = detectable(1.0, n) * math.sqrt(n), stats.t.ppf(0.975, n - 1)
    power = stats.nct.sf(bound, n - 1, shift) + stats.nct.cdf(-bound, n - 1, shift)
    assert float(power) == pytest.approx(0.8, abs=1e-4)


def test_one_pair_can_detect_nothing() -> None:
    assert math.isnan(detectable(1.0, 1))


def test_unpaired_seeds_are_dropped_and_counted() -> None:
    tidy = frame({"c": {"a": [1.0, 2.0, math.nan, 5.0], "b": [0.5, 1.0, 1.5]}, "d": {"a": [7.0]}})
    found, unpaired = differences(tidy, "a", "b")
    assert found.to_dict() == {("c", 0): 0.5, ("c", 1): 1.0}
    assert unpaired == 3  # seeds 2 and 3 of c, of which one has no score at all on one side, and seed 0 of d


def test_the_detectable_difference_is_that_of_the_corrected_test() -> None:
    """Of twelve methods Holm tests the first at 0.05 / 12: with three seeds more than three times the difference of the
    uncorrected test is needed."""
    source = np.random.default_rng(0)
    for n, times in ((3, 3.0), (5, 1.7), (10, 1.35)):
        wanted = detectable(1.0, n, alpha=0.05 / 12)
        assert wanted > times * detectable(1.0, n)
        drawn = source.normal(wanted, 1.0, (20_000, n))
        found = np.asarray(stats.ttest_1samp(drawn, 0.0, axis=1).pvalue) < 0.05 / 12
        assert found.mean() == pytest.approx(0.8, abs=0.01)

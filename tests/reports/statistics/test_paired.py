"""Paired tests: against SciPy, published corrections, and simulations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.errors import BenchError
from reports.statistics.frame import differences
from reports.statistics.paired import against, detectable, holm, least, rank_biserial, t_test, wilcoxon
from tests.reports.frames import frame

STEPS = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=9)
UNTIED = st.lists(st.integers(1, 60), min_size=1, max_size=14, unique=True)


@given(UNTIED, st.integers(0, 2**14))
def test_wilcoxon_without_ties_is_scipys(sizes: list[int], signs: int) -> None:
    values = np.array([size if signs >> i & 1 else -size for i, size in enumerate(sizes)], dtype=float)
    assert wilcoxon(values) == pytest.approx(float(stats.wilcoxon(values, method="exact").pvalue))


@given(STEPS)
def test_wilcoxon_with_ties_counts_all_signs(steps: list[float]) -> None:
    values = np.array(steps)
    some = values[values != 0]
    ranks = stats.rankdata(np.abs(some))
    at = ranks[some > 0].sum()
    sums = np.array(
        [
            sum(r for r, s in zip(ranks, signs, strict=True) if s)
            for signs in itertools.product((0, 1), repeat=len(some))
        ]
    )
    wanted = min(1.0, 2 * min((sums <= at).mean(), (sums >= at).mean()))
    assert wilcoxon(values) == pytest.approx(wanted)


def test_fewer_than_six_pairs_never_reach_significance() -> None:
    for n in range(1, 9):
        values = np.arange(1.0, n + 1)
        assert wilcoxon(values) == least(values) == min(1.0, 2 / 2**n)
    assert least(np.ones(5)) == 0.0625
    assert least(np.ones(6)) == 0.03125
    assert wilcoxon(np.zeros(4)) == least(np.zeros(4)) == 1.0
    assert math.isnan(wilcoxon(np.empty(0)))


def test_the_t_test_is_scipys() -> None:
    values = np.array([0.8, 1.4, 0.3, 1.1])
    assert t_test(values) == pytest.approx(float(stats.ttest_1samp(values, 0.0).pvalue))
    assert math.isnan(t_test(values[:1]))


def test_differences_that_are_all_alike_are_no_certainty() -> None:
    assert t_test(np.full(3, 0.28)) == 0.25
    assert t_test(np.full(3, 93.61) - np.full(3, 93.33)) == 0.25  # alike but for rounding
    assert t_test(np.zeros(3)) == 1.0


def test_holm_by_hand_and_as_statsmodels_has_it() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005, 0.2]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.2])  # statsmodels 0.15
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_was_not_tested_is_no_part_of_the_family() -> None:
    found = holm([0.01, math.nan, 0.02])
    assert found[::2] == [0.02, 0.02]
    assert math.isnan(found[1])


def test_rank_biserial_by_hand() -> None:
    """Ranks 1, 2, 3, 4 of which 2 is against: (8 - 2) / 10."""
    assert rank_biserial(np.array([1.0, -2, 3, 4])) == pytest.approx(0.6)
    assert rank_biserial(np.array([0.0, 2, 1])) == 1.0
    assert math.isnan(rank_biserial(np.zeros(3)))


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


def test_every_method_against_the_baseline() -> None:
    values = {"a": [1.0, 2, 3], "b": [2.0, 3, 5], "c": [1.0, 2, 3]}
    table = against(frame({"x": values, "y": values}), "a").set_index("method")
    assert table.index.tolist() == ["b", "c"]
    assert table.loc["b", ["n", "unpaired", "mean"]].tolist() == [6, 0, pytest.approx(4 / 3)]
    assert table.loc["b", "wilcoxon"] == table.loc["b", "least"] == 2 / 2**6
    assert table["holm"].tolist() == [2 * 2 / 2**6, 1.0]
    assert table.loc["c", ["mean", "wilcoxon"]].tolist() == [0.0, 1.0]


def test_a_baseline_that_is_not_there_is_refused() -> None:
    with pytest.raises(BenchError, match="gradual"):
        against(frame({"x": {"a": [1.0]}}), "gradual")

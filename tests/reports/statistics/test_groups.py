"""Letters: the laws of a letter display, and which methods are not worse than the best."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.statistics.groups import letters, pairwise, top_groups
from reports.statistics.paired import holm
from tests.reports.frames import NAMES, frame, simulated


@given(st.integers(1, 8), st.integers(0, 2**28))
@settings(deadline=None)
def test_two_share_a_letter_if_and_only_if_they_do_not_differ(count: int, bits: int) -> None:
    order = NAMES[:count]
    pairs = list(itertools.combinations(order, 2))
    different = {pair for i, pair in enumerate(pairs) if bits >> i & 1}
    found = letters(order, different)
    assert all(found.values())
    for one, other in pairs:
        assert bool(set(found[one]) & set(found[other])) == ((one, other) not in different)


def test_letters_by_hand() -> None:
    assert letters("abc", set()) == {"a": "a", "b": "a", "c": "a"}
    assert letters("abc", {("a", "c")}) == {"a": "a", "b": "ab", "c": "b"}
    assert letters("abc", {("a", "b"), ("a", "c"), ("b", "c")}) == {"a": "a", "b": "b", "c": "c"}
    assert letters("abc", {("b", "c")}) == {"a": "ab", "b": "a", "c": "b"}


def test_all_that_is_not_worse_than_the_best_is_on_top() -> None:
    noise = [-0.1, 0.05, 0.05]
    values = {"a": [93.0, 93.1, 93.2], "b": [93.05, 92.8, 93.3], "c": [80 + e for e in noise], "d": [79.0, 84.0, 77.0]}
    found = top_groups(frame({"cell": values})).set_index("method")
    assert found.index.tolist() == ["a", "b", "c", "d"]
    assert found["top"].tolist() == [
        True,
        True,
        False,
        True,
    ]  # d is far worse, but spreads so widely that it is not known
    assert found["letters"].tolist() == ["a", "a", "b", "ab"]
    assert found["failed"].tolist() == [0, 0, 0, 0]


def test_within_a_cell_the_correction_is_over_all_pairs() -> None:
    own = simulated(4, cells=1, seeds=5)
    wanted = [
        float(stats.ttest_rel(*(own.loc[own["method"] == m, "score"] for m in pair)).pvalue)
        for pair in itertools.combinations(NAMES[:4], 2)
    ]
    assert list(pairwise(own, NAMES[:4]).values()) == pytest.approx(holm(wanted))


def test_one_seed_has_no_letters_and_a_failed_method_is_a_gap() -> None:
    found = top_groups(frame({"c": {"a": [3.0], "b": [1.0, 1.1], "d": [2.0, 2.3], "e": [math.nan, math.nan]}}))
    rows = {row["method"]: row for row in found.to_dict("records")}
    assert list(rows) == ["a", "d", "b", "e"]
    assert (rows["a"]["n"], rows["a"]["letters"], rows["a"]["top"]) == (1, "", False)
    assert math.isnan(rows["a"]["half"])
    assert (rows["e"]["n"], rows["e"]["failed"], rows["e"]["letters"], rows["e"]["top"]) == (0, 2, "", False)
    assert math.isnan(rows["e"]["mean"])
    assert rows["d"]["letters"] == "a"


def test_alone_nothing_is_on_top() -> None:
    assert not top_groups(frame({"c": {"a": [1.0, 2.0]}, "d": {"a": [1.0], "b": [2.0]}}))["top"].any()


def test_chance_alone_seldom_splits_the_top_group() -> None:
    """Holm's promise: where nothing differs, at most one cell in twenty says that something does."""
    source = np.random.default_rng(0)
    cells = {f"c{i}": {m: source.normal(0, 1, 4).tolist() for m in "abcd"} for i in range(200)}
    found = top_groups(frame(cells))
    assert found.groupby("cell")["top"].all().mean() >= 0.93

"""Letters: the laws of a letter display, and which methods are not worse than the best."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.statistics.groups import best, letters, top_groups
from tests.reports.frames import NAMES, frame


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


SPREAD = [-0.2, -0.1, 0.0, 0.1, 0.2]


def scores(**centres: float) -> dict[str, list[float]]:
    """Five scores around each centre, with the same spread."""
    return {name: [centre + e for e in SPREAD] for name, centre in centres.items()}


def test_a_method_is_bold_until_some_other_beats_it() -> None:
    found = top_groups(frame({"cell": scores(a=93.0, b=92.9, c=92.0)})).set_index("method")
    assert found.index.tolist() == ["a", "b", "c"]
    assert found["top"].tolist() == [True, True, False]
    assert found["letters"].tolist() == ["a", "a", "b"]


def test_by_hand_the_set_of_the_best_is_welchs_with_all_others_counted() -> None:
    """One-sided p of c against a, times the number of the others, k - 1."""
    own = scores(a=93.0, b=92.9, c=92.77)
    p = float(stats.ttest_ind(own["a"], own["c"], equal_var=False, alternative="greater").pvalue)
    values = {name: np.array(found) for name, found in own.items()}
    assert 0.02 < p < 0.05
    assert best({"a": values["a"], "c": values["c"]}) == {"a"}
    assert best(values) == {"a", "b", "c"}  # 2 p is above 0.05
    assert best(values, alpha=2 * p + 1e-6) == {"a", "b"}


def test_a_method_far_below_is_never_bold_however_wide_its_spread() -> None:
    """Random pruning, 38.65 points below, was bold at n = 3: with five seeds it is not, and with fewer nothing is."""
    own = {"a": [91.3, 91.0, 91.5, 91.2, 91.4], "random": [30.0, 75.0, 52.0, 45.0, 61.0]}
    found = top_groups(frame({"cell": own})).set_index("method")
    assert found["top"].to_dict() == {"a": True, "random": False}


def test_a_control_is_never_bold() -> None:
    tidy = frame({"cell": scores(a=93.0, b=93.0)})
    found = top_groups(tidy.assign(control=tidy["method"] == "b")).set_index("method")
    assert found["top"].to_dict() == {"a": True, "b": False}
    assert found["letters"].to_dict() == {"a": "a", "b": "a"}


@pytest.mark.parametrize("lost", ["failed", "missed"])
def test_failing_never_helps(lost: str) -> None:
    """A = {95, 95, 95, 95, failed} beats B = 94 by its mean, and forfeits; the same where a run is off its budget."""
    own = {
        "a": [95.0, 95.1, 94.9, 95.0, 95.0],
        "b": [94.0, 94.1, 93.9, 94.0, 94.0],
        "c": [93.0, 93.1, 92.9, 93.0, 93.0],
    }
    tidy = frame({"cell": own})
    last = (tidy["method"] == "a") & (tidy["seed"] == 4)
    tidy = tidy.assign(score=tidy["score"].mask(last)) if lost == "failed" else tidy.assign(missed=last)
    found = top_groups(tidy).set_index("method")
    assert found.index.tolist() == ["b", "c", "a"]
    assert found["top"].to_dict() == {"b": True, "c": False, "a": False}
    assert found["letters"].to_dict() == {"b": "a", "c": "b", "a": ""}
    assert found.loc["a", "mean"] == pytest.approx(95.0)


def test_below_five_dense_models_there_is_no_bold_and_no_letter() -> None:
    found = top_groups(frame({"c": {name: values[:4] for name, values in scores(a=93.0, b=80.0).items()}}))
    assert not found["top"].any()
    assert set(found["letters"]) == {""}
    assert found["half"].notna().all()


def test_a_failed_method_is_a_gap() -> None:
    found = top_groups(frame({"c": {"a": [3.0], "b": [1.0, 1.1], "d": [2.0, 2.3], "e": [math.nan, math.nan]}}))
    rows = {row["method"]: row for row in found.to_dict("records")}
    assert list(rows) == ["a", "d", "b", "e"]
    assert math.isnan(rows["a"]["half"])
    assert (rows["e"]["n"], rows["e"]["failed"], rows["e"]["letters"], rows["e"]["top"]) == (0, 2, "", False)
    assert math.isnan(rows["e"]["mean"])


def test_alone_nothing_is_on_top() -> None:
    assert not top_groups(frame({"c": scores(a=1.0)}))["top"].any()


def test_an_interval_that_leaves_the_scale_is_computed_from_logits() -> None:
    found = top_groups(frame({"c": {"a": [99.7, 100.0, 98.2], "b": [87.4, 78.0, 96.7]}})).set_index("method")
    assert found.loc["a", "mean"] + found.loc["a", "half"] > 100
    assert found["high"].max() < 100
    assert ((found["low"] < found["mean"]) & (found["mean"] < found["high"])).all()

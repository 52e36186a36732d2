"""Verdicts: each method against a baseline."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reports.statistics.paired import detectable, holm
from reports.statistics.verdicts import (
    BETTER,
    EQUIVALENT,
    UNRESOLVED,
    WORSE,
    equivalence,
    judged,
    verdicts,
)
from tests.reports.frames import frame

NOISE = np.array([-0.2, -0.1, 0.0, 0.1, 0.2])
BASE = [90.0, 90.5, 91.0, 90.2, 90.8]


def against(**shifts: float) -> dict[str, list[float]]:
    """Five seeds of the baseline, and methods that differ from it by these points, with noise."""
    own = {name: (np.array(BASE) + shift + NOISE).tolist() for name, shift in shifts.items()}
    return {"base": BASE, **own}


def test_the_four_verdicts() -> None:
    found = judged(
        {
            "up": 2.0 + NOISE,
            "down": -2.0 + NOISE,
            "same": 0.1 + NOISE,
            "wide": np.array([-3.0, 2.0, 1.0, -1.0, 2.0]),
        }
    )
    assert {name: own.verdict for name, own in found.items()} == {
        "up": BETTER,
        "down": WORSE,
        "same": EQUIVALENT,
        "wide": UNRESOLVED,
    }


def test_a_judgement_by_hand_is_scipys_with_holms_correction() -> None:
    values = {"one": 0.15 + NOISE, "other": 0.3 + 2 * NOISE}
    found = judged(values)
    p = holm([float(stats.ttest_1samp(values[name], 0.0).pvalue) for name in ("one", "other")])
    assert [found["one"].holm, found["other"].holm] == pytest.approx(p)
    sides = [
        max(
            float(stats.ttest_1samp(values[name], -0.5, alternative="greater").pvalue),
            float(stats.ttest_1samp(values[name], 0.5, alternative="less").pvalue),
        )
        for name in ("one", "other")
    ]
    assert [found["one"].equivalence, found["other"].equivalence] == pytest.approx(holm(sides))
    assert found["one"].difference_half == pytest.approx(2.776445 * np.std(NOISE, ddof=1) / math.sqrt(5))


def test_the_detectable_difference_and_the_test_have_the_same_alpha() -> None:
    found = judged(dict.fromkeys("abcdefghijkl", NOISE))
    assert found["a"].detectable == pytest.approx(detectable(float(np.std(NOISE, ddof=1)), 5, alpha=0.05 / 12))


def test_below_five_pairs_nothing_is_resolved() -> None:
    found = judged({"far": np.array([-38.0, -38.7, -39.1, -38.6])})["far"]
    assert (found.pairs, found.verdict) == (4, UNRESOLVED)
    assert found.holm < 0.001
    assert judged({"far": np.array([-1.0])})["far"].verdict == UNRESOLVED


def test_equal_differences_are_certain() -> None:
    found = judged({"near": np.full(5, 0.3), "far": np.full(5, 0.6), "none": np.zeros(5)})
    assert [found[name].verdict for name in ("near", "far", "none")] == [EQUIVALENT, BETTER, EQUIVALENT]
    assert equivalence(np.full(5, 0.5)) == 1.0
    assert math.isnan(found["far"].detectable)


def test_every_cell_is_judged_against_its_own_baseline() -> None:
    tidy = frame({"x": against(up=2.0, down=-2.0), "y": {"a": BASE, "b": [v + 1 for v in BASE]}, "z": {"a": BASE}})
    found = verdicts(tidy, {"x": "base", "y": "b", "z": "b"}).set_index(["cell", "method"])
    assert found.index.tolist() == [("x", "down"), ("x", "up"), ("y", "a")]
    assert found["baseline"].tolist() == ["base", "base", "b"]
    assert found["verdict"].tolist() == [WORSE, BETTER, WORSE]


def test_the_margin_is_a_setting() -> None:
    tidy = frame({"x": against(near=1.0)})
    words = [verdicts(tidy, {"x": "base"}, margin=margin)["verdict"].item() for margin in (0.5, 1.5)]
    assert words == [BETTER, EQUIVALENT]


def test_a_control_is_compared_and_is_no_part_of_the_family() -> None:
    tidy = frame({"x": against(up=2.0, random=-20.0)})
    tidy = tidy.assign(control=tidy["method"] == "random")
    found = verdicts(tidy, {"x": "base"}).set_index("method")
    alone = verdicts(tidy[tidy["method"] != "random"], {"x": "base"}).set_index("method")
    assert found.loc["up", "holm"] == alone.loc["up", "holm"]
    assert (found.loc["random", "verdict"], found.loc["random", "difference"]) == ("", pytest.approx(-20.0))


@pytest.mark.parametrize("lost", ["failed", "missed"])
def test_failing_never_helps(lost: str) -> None:
    """With a sixth seed that failed, or was off its budget, five pairs are left or six: neither better nor equivalent."""
    own = {name: [*values, 90.0] for name, values in against(up=2.0, same=0.0, down=-2.0).items()}
    tidy = frame({"x": own})
    last = (tidy["seed"] == 5) & (tidy["method"] != "base")
    tidy = tidy.assign(score=tidy["score"].mask(last)) if lost == "failed" else tidy.assign(missed=last)
    found = verdicts(tidy, {"x": "base"}).set_index("method")
    words = found["verdict"].to_dict()
    assert (words["up"], words["same"]) == (UNRESOLVED, UNRESOLVED)
    if lost == "failed":
        assert words["down"] == WORSE


def test_a_baseline_that_failed_resolves_nothing() -> None:
    own = {name: [*values, 90.0] for name, values in against(up=2.0, down=-2.0).items()}
    own["base"][-1] = math.nan
    assert set(verdicts(frame({"x": own}), {"x": "base"})["verdict"]) == {UNRESOLVED}


def test_scores_without_a_partner_are_counted() -> None:
    tidy = frame({"c": {"a": [1.0, 2.0, math.nan, 5.0], "b": [0.5, 1.0, 1.5]}})
    found = verdicts(tidy, {"c": "b"})
    assert found[["pairs", "unpaired", "difference"]].to_numpy().tolist() == [[2, 2, 0.75]]

"""Accuracy against size: the numbers behind the figure."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from bench.records.folder import Folder
from reports.figures.accuracy import accuracy_against, floor
from reports.load.records import Study, load
from tests.reports import homes, samples


@pytest.fixture
def grid(tmp_path: Path) -> Study:
    return samples.variants(tmp_path)


def test_accuracy_shows_finals_only_and_a_marker_per_group(grid: Study) -> None:
    table = accuracy_against(grid, "weights_left")
    assert set(table["series"]) == {"final", "control"}
    assert table["group"].tolist() == ["", "parts", "eta", "eta"]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load(Folder(homes.full(tmp_path)), "pareto-sap")


def test_accuracy_against_weights(study: Study) -> None:
    table = accuracy_against(study, "weights_left")
    assert table.groupby("series").size()[["control", "final", "trial"]].to_dict() == {
        "control": 2,
        "final": 4,
        "trial": 14,
    }
    final = table[(table["series"] == "final") & (table["model"] == "test_vit") & (table["number"] == 2)].iloc[0]
    assert (final["accuracy"], final["n"], final["split"]) == (93.0, 3, "test")
    assert final["size"] == pytest.approx(0.35)
    assert final["high"] - final["accuracy"] == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)
    control = table[table["series"] == "control"].iloc[0]
    assert (control["method"], control["accuracy"], control["size"]) == ("dense", 95.0, 1.0)
    front = table[(table["series"] == "front") & (table["model"] == "test_vit")]
    assert front["size"].is_monotonic_increasing
    assert front["accuracy"].is_monotonic_increasing


def test_macs_are_another_axis(study: Study) -> None:
    table = accuracy_against(study, "macs_left")
    final = table[(table["series"] == "final") & (table["number"] == 6)].iloc[0]
    assert final["size"] == pytest.approx(0.05**0.7)


def test_trials_far_below_do_not_stretch_the_axis() -> None:
    rows = pd.DataFrame(
        {"series": ["trial", "front", "final"], "accuracy": [10.0, 90.0, 95.0], "low": None, "high": None}
    )
    assert floor(rows.astype({"low": float, "high": float})) == 88.0

"""Hosts with and without decay, and the samples.sweeps of its settings: the numbers by hand, the paper's beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reports.figures import decay
from reports.page import requested
from tests.reports import samples
from tests.reports.looking import assert_legible, drawn


def test_sweeps_by_hand(tmp_path: Path) -> None:
    table = decay.decay(samples.sweeps(tmp_path))
    assert table["sweep"].value_counts().to_dict() == {"steps": 4, "rate": 2, "length": 2, "": 1}
    steps = table[table["sweep"] == "steps"]
    assert steps[["name", "x", "accuracy", "released"]].values.tolist() == [
        ["+SP", 1, 90.0, 0.0],
        ["+SP", 10, 91.0, 0.0],
        ["+SR", 1, 92.0, 20.0],
        ["+SR", 10, 93.0, 30.0],
    ]
    rate = table[table["sweep"] == "rate"]
    assert rate[["name", "x", "released", "stayed"]].values.tolist() == [
        ["gain", 0.0, 40.0, 20.0],
        ["gain", 0.1, 50.0, 25.0],
    ]
    assert rate["released_high"].tolist() == pytest.approx([40 + samples.HALF, 50 + samples.HALF], abs=1e-6)
    assert table.loc[table["sweep"] == "length", "x"].tolist() == [0.01, 1.0]


def test_what_was_released_is_told(tmp_path: Path) -> None:
    caption = requested.FIGURES["decay"](samples.sweeps(tmp_path)).caption
    assert "Of 7 variants 5 released channels, and 5 of these kept some of them to the end." in caption


@pytest.mark.slow
def test_every_point_of_a_sweep_is_seen(tmp_path: Path) -> None:
    canvas = drawn(requested.FIGURES["decay"](samples.sweeps(tmp_path)))
    for axes in canvas.axes:
        low, high = axes.get_ylim()
        for line in axes.lines:
            assert all(low <= y <= high for y in np.ravel(line.get_ydata()))


@pytest.mark.parametrize("make", [samples.on_hosts, samples.sweeps])
def test_figures_of_decay_are_legible(make: object, tmp_path: Path) -> None:
    study = make(tmp_path)  # type: ignore[operator]
    (maker,) = requested.makers(study)
    for wide in (True, False):
        assert_legible(drawn(maker(study), wide))

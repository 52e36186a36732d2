"""Drop Pruning's fixed points, measured and predicted, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.figures.fixed_points import farthest, fixed_points
from reports.page import requested
from tests.reports import samples
from tests.reports.looking import drawn


def test_equilibrium_by_hand(tmp_path: Path) -> None:
    table = fixed_points(samples.ablation(tmp_path))
    settled = table[table["series"] == "sparsity"]
    assert settled["name"].tolist() == ["R1, a fixed fraction", *["R2, directed at the target"] * 2]
    assert settled["x"].tolist() == [0.1, 0.1, 0.2]
    assert settled["predicted"].tolist() == [0.6, 0.75, 0.64]
    assert settled["value"].tolist() == pytest.approx([0.6, 0.75, 0.59])
    assert (settled["high"] - settled["value"]).tolist() == pytest.approx([0.001 * samples.HALF] * 3, abs=1e-8)
    parts = table[table["series"] == "accuracy"].set_index("name")
    assert parts["value"].to_dict() == {"": 95.0, "away only": 90.0, "back only": 91.0, "both": 92.0}
    assert parts.loc["both", "x"] == 0.9


def test_the_distance_from_the_prediction_is_said(tmp_path: Path) -> None:
    said = farthest(fixed_points(samples.ablation(tmp_path)))
    assert said == (
        "The largest difference between a mean and its prediction, of 3, is 5.00 points of sparsity (drop† target 0.2 on "
        "test_vit); 2 of the 3 intervals contain the prediction."
    )


def test_the_line_of_theory_is_the_declared_one(tmp_path: Path) -> None:
    figure = requested.FIGURES["equilibrium"](samples.ablation(tmp_path))
    canvas = drawn(figure)
    panel = next(axes for axes in canvas.axes if axes.get_title(loc="left").startswith("R2"))
    lines = [line for line in panel.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2]
    assert lines[0].get_ydata().tolist() == [75.0, 64.0]
    assert "theory" in figure.caption
    assert "No number here is from a paper" in figure.caption

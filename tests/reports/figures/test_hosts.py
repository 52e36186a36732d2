"""Hosts with and without decay, by hand, with the paper's numbers in rows of their own."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import methods
from reports.figures import hosts
from reports.load import published
from reports.page import requested
from reports.tables import formats
from tests.reports import samples
from tests.reports.looking import drawn


def test_hosts_by_hand(tmp_path: Path) -> None:
    table = hosts.hosts(samples.on_hosts(tmp_path))
    own = {(row["host"], row["policy"]): row for row in table[~table["claim"]].to_dict("records")}
    smooth, rectified = own["depgraph", "+SP"], own["depgraph", "+SR"]
    assert (smooth["top1"], smooth["difference"], smooth["before"], smooth["parameters"]) == (91.0, 1.0, 40.0, 0.5)
    assert smooth["difference_half"] == pytest.approx(samples.HALF, abs=1e-6)
    assert (rectified["n"], rectified["difference_n"], rectified["difference"]) == (2, 2, 0.0)
    assert math.isnan(own["depgraph", "alone"]["difference"])


def test_the_papers_rows_stand_beside_their_hosts_in_italics(tmp_path: Path) -> None:
    study = samples.on_hosts(tmp_path)
    table = hosts.hosts(study)
    assert table["claim"].tolist() == [False] * 3 + [True] * 3 + [False] * 3 + [True] * 3
    assert table.loc[table["claim"], "difference"].dropna().tolist() == pytest.approx([0.12, 0.29, 0.2, 0.4])
    text = formats.markdown(requested.TABLES["hosts"](study))
    assert r"| *depgraph* | *+SR* | *cifar\_resnet56* | – | – | *94.13* | *+0.29* |" in text
    assert "| depgraph | +SP |" in text


def test_the_papers_numbers_are_those_of_the_claims() -> None:
    claimed = sorted((claim.model, claim.accuracy) for claim in methods.load("decay").CLAIMS)
    assert sorted((point.model, point.top1) for point in published.DECAY) == claimed


def test_the_papers_points_are_drawn_on_its_model_only(tmp_path: Path) -> None:
    canvas = drawn(requested.FIGURES["hosts"](samples.on_hosts(tmp_path)))
    assert "paper's" in [text.get_text() for text in canvas.legends[0].get_texts()]
    points = [line for line in canvas.axes[0].lines if line.get_marker() == "D" and np.size(line.get_xdata())]
    assert len(points) == 3  # OTOv2's are of another model


def test_a_host_on_several_models_has_a_panel_for_each(tmp_path: Path) -> None:
    canvas = drawn(requested.FIGURES["hosts"](samples.on_hosts(tmp_path, ("one", "two"))))
    assert [axes.get_title(loc="left") for axes in canvas.axes if axes.get_title(loc="left")] == ["one", "two"]

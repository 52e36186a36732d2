from __future__ import annotations

from pathlib import Path

import pytest

from bench.records.folder import Folder
from reports.figures.rounds import phase_of, pq_rounds, seen
from reports.load.records import load
from tests.reports import homes


@pytest.mark.parametrize(
    ("accuracy", "pq", "phase"),
    [
        (0.5, -0.01, "regularisation"),
        (0.0, -0.01, "regularisation"),
        (6.0, -0.01, ""),  # a strong rise is no slight one
        (-0.5, 0.01, "compression"),
        (-5.0, 0.01, "compression"),
        (-6.0, 0.01, ""),  # a strong fall with a rising index
        (-6.0, -0.10, "collapse"),
        (-6.0, -0.01, ""),  # the index hardly moves
        (-0.5, -0.10, ""),
        (1.0, 0.01, ""),
        (0.0, 0.0, ""),
        (float("nan"), float("nan"), ""),  # the first round
    ],
)
def test_rule(accuracy: float, pq: float, phase: str) -> None:
    assert phase_of(accuracy, pq) == phase


def test_rounds_are_named_from_the_means_over_seeds(tmp_path: Path) -> None:
    study = load(Folder(homes.full(tmp_path)), "pareto-sap")
    table = pq_rounds(study)
    own = table[(table["model"] == "test_vit") & (table["number"] == 2)]
    assert own["round"].tolist() == [1, 2, 3, 4]
    assert own["top1"].tolist() == [94.0, 95.0, 93.0, 82.0]
    assert own["pq"].tolist() == pytest.approx([0.30, 0.25, 0.35, 0.10])
    assert own["phase"].tolist() == ["", "regularisation", "compression", "collapse"]
    assert set(own["n"]) == {3}
    assert "dense" not in set(table["method"])  # one phase only: no rounds
    words = "sap #2 on test_vit: regularisation in round 2, compression in round 3, collapse in round 4."
    assert words in seen(table)


def test_what_is_not_seen_is_said(tmp_path: Path) -> None:
    declared = homes.declare(tmp_path, models=["test_vit"])
    homes.write_run(tmp_path, run := homes.run_id(1), model="test_vit", val=90.0, left=0.5, rounds=3)
    homes.write_entry(tmp_path, declared["name"], "trial", "sap/test_vit", 0, values=[90.0, 0.5], run=run)
    assert "collapse not seen" in seen(pq_rounds(load(Folder(tmp_path), declared["name"])))

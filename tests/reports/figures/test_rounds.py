from __future__ import annotations

from pathlib import Path

import pytest

from bench.records.folder import Folder
from reports.figures import catalog, rounds
from reports.figures.rounds import phase_of, pq_rounds, seen
from reports.load.records import load
from reports.page import requested
from tests.reports import homes, samples


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
    assert "collapse not observed" in seen(pq_rounds(load(Folder(tmp_path), declared["name"])))


def test_phases_of_each_variant(tmp_path: Path) -> None:
    study = samples.sap_phases(tmp_path)
    found = rounds.phases(rounds.pq_rounds(study))
    assert found["label"].tolist() == ["sap eta=0", "sap eta=1", "sap eta=2"]
    assert found.loc[0, list(rounds.PHASES)].tolist() == ["round 2", "round 3", "round 4"]
    assert found["noise"].tolist() == pytest.approx([0.1 * samples.HALF] * 3, abs=1e-6)
    (make,) = requested.tables(study)
    assert [row["compression"] for row in make(study).rows()] == ["round 3"] * 3


def test_many_variants_are_counted_in_the_caption(tmp_path: Path) -> None:
    said = rounds.seen(rounds.pq_rounds(samples.sap_phases(tmp_path, variants=10)))
    assert said == "Of 10 configurations, regularisation in 10, compression in 10, collapse in 10."


def test_the_same_rounds_are_not_drawn_twice(tmp_path: Path) -> None:
    study = samples.sap_phases(tmp_path)
    again = next(f for f in (make(study) for make in catalog.makers(study)) if f.name == "pq-rounds")
    assert "the figure of SAP's ablations shows the same rounds" in again.missing

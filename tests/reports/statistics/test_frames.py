"""From records to the numbers behind the figures."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.errors import BenchError, Corrupt
from bench.records.files import write_json
from bench.records.folder import Folder
from bench.records.reading import write
from reports.figures.accuracy import accuracy_against, floor
from reports.figures.search import history, importances
from reports.figures.series import layer_sparsity, validation_curves
from reports.load.records import Study, load
from reports.tables import finals
from tests.reports import homes


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load(Folder(homes.full(tmp_path)), "pareto-sap")


def test_entries_hold_what_records_say(study: Study) -> None:
    assert study.entries.groupby("kind").size().to_dict() == {"baseline": 6, "final": 12, "trial": 16}
    row = study.done("final").iloc[0]
    assert (row["cell"], row["method"], row["model"], row["number"]) == (
        "sap/test_efficientnet",
        "sap",
        "test_efficientnet",
        2,
    )
    assert (row["val_top1"], row["test_top1"], row["weights_left"], row["seconds"]) == (93.0, 92.0, 0.35, 12.5)


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


def test_curves_average_over_seeds(study: Study) -> None:
    table = validation_curves(study)
    own = table[(table["label"] == "sap #2") & (table["model"] == "test_vit")]
    assert own["epoch"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert set(own["n"]) == {3}
    assert own["val/top1"].iloc[0] == pytest.approx(94 * (1 - math.exp(-1)))


def test_layers_keep_the_models_order(study: Study) -> None:
    table = layer_sparsity(study)
    own = table[(table["label"] == "sap #6") & (table["model"] == "test_efficientnet")]
    assert own["name"].tolist() == [f"blocks.{i}.conv.weight" for i in range(20)]
    assert own["sparsity"].iloc[0] == pytest.approx(0.95 / 20)
    assert own["prunable"].tolist() == [True] * 19 + [False]


def test_history_of_a_front_and_of_a_ladder(study: Study, tmp_path: Path) -> None:
    table = history(study)
    own = table[table["cell"] == "sap/test_vit"]
    assert own["number"].tolist() == list(range(8))
    assert own.loc[own["number"] == 3, "accuracy"].isna().all()
    assert own["reached"].is_monotonic_increasing
    home = tmp_path / "ladder"
    declared = homes.declare(home, kind="ladder", name="ladder-sap", objectives=["accuracy"])
    for number, value in enumerate([80.0, 90.0, 85.0]):
        homes.write_run(home, run := homes.run_id(number), model="test_vit", val=value, left=0.1)
        homes.write_entry(home, declared["name"], "trial", "sap/test_vit@0.9", number, values=[value], run=run)
    ladder = history(load(Folder(home), "ladder-sap"))
    assert ladder["reached"].tolist() == [80.0, 90.0, 90.0]


def test_importances_are_those_of_the_declaration(study: Study) -> None:
    table = importances(study)
    own = table[(table["cell"] == "sap/test_vit") & (table["objective"] == "accuracy")]
    assert list(zip(own["parameter"], own["share"], strict=True)) == [("gamma", 0.6), ("p", 0.4)]


def test_without_finals_the_best_trial_stands_for_its_cell(tmp_path: Path) -> None:
    study = load(Folder(homes.full(tmp_path, seeds=())), "pareto-sap")
    shown = study.shown()
    trials = study.done("trial")
    assert shown["cell"].tolist() == ["sap/test_efficientnet", "sap/test_vit"]
    assert shown["val_top1"].tolist() == trials.groupby("cell")["val_top1"].max().tolist()


def test_a_finished_entry_without_its_record_is_missing(tmp_path: Path) -> None:
    declared = homes.declare(tmp_path)
    homes.write_entry(tmp_path, declared["name"], "trial", "sap/test_vit", 0, values=[90.0, 0.5])
    assert load(Folder(tmp_path), declared["name"]).entries["state"].tolist() == ["missing"]


def test_records_of_a_newer_schema_are_refused(tmp_path: Path) -> None:
    declared = homes.declare(tmp_path, schema=2)
    with pytest.raises(BenchError, match="update this package"):
        load(Folder(tmp_path), declared["name"])


def test_broken_curves_are_told(study: Study) -> None:
    run = study.done("final")["run"].iloc[0]
    (study.folder.run(run) / "curves.parquet").write_bytes(b"torn")
    with pytest.raises(Corrupt, match=run):
        validation_curves(study)


def test_a_broken_entry_is_told(tmp_path: Path) -> None:
    declared = homes.declare(tmp_path)
    write_json(path := tmp_path / "studies" / declared["name"] / "entries" / "trial-x-0000-s0.json", {})
    path.write_text("{")
    with pytest.raises(Corrupt, match=r"trial-x-0000-s0\.json"):
        load(Folder(tmp_path), declared["name"])


def test_what_a_record_is_labelled_with_stands_beside_its_numbers(tmp_path: Path) -> None:
    home = homes.full(tmp_path)
    for run in Folder(home).run_ids():
        record = Folder(home).record(run)
        assert record is not None
        if record.run.model == "test_vit" and record.metrics.weights_left < 1:
            write(Folder(home).run(run) / "record.json", replace(record, label="masked channels"))
    study = load(Folder(home), "pareto-sap")
    for table in (finals.finals(study), finals.configurations(study)):
        for row in table.rows():
            masked = row["model"] == "test_vit" and row["label"].startswith("sap")
            assert ("(masked channels)" in row["label"]) is masked
    cells = next(column for column in finals.runs(study).columns if column.key == "cell")
    told = {row["said"]: cells.text(row) for row in finals.runs(study).rows() if row["kind"] == "final"}
    assert told == {"": "sap/test_efficientnet", "masked channels": "sap (masked channels)/test_vit"}
    assert accuracy_against(study, "macs_left").groupby("model")["said"].max()["test_vit"] == "masked channels"

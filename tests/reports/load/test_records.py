"""From files of records to the entries of a study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import BenchError, Corrupt
from bench.records.files import write_json
from bench.records.folder import Folder
from bench.records.reading import write
from reports.figures.accuracy import accuracy_against
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

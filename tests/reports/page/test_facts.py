from __future__ import annotations

from pathlib import Path

import pytest

from bench.records.files import read_json, write_json
from bench.records.folder import Folder
from reports.load.records import Study, load
from reports.page.facts import facts, warnings
from tests.reports import homes, samples


def read(home: Path) -> Study:
    return load(Folder(home), "pareto-sap")


def test_the_head_of_a_study(tmp_path: Path) -> None:
    found = dict(facts(read(homes.full(tmp_path))))
    assert found["Finals"] == "n = 3, seeds 1000, 1001, 1002"
    assert found["Runs"] == "trials: 2 failed, 14 finished; finals: 12 finished; baselines: 6 finished"
    assert found["Commit"] == "0123456789ab"
    assert found["Hardware"] == "cores 2, cpu Some CPU, memory 8.0 GiB"
    assert found["Method sap"] == "SAP (Diao et al., 2023)."


def test_a_whole_study_has_only_its_failures_to_say(tmp_path: Path) -> None:
    assert warnings(read(homes.full(tmp_path))) == [
        "2 of 34 runs have no result; the table of failures lists the reasons."
    ]


def test_one_seed_is_said(tmp_path: Path) -> None:
    assert any("a single seed" in w for w in warnings(read(homes.full(tmp_path, seeds=(1000,)))))


def test_reconstructions_are_said(tmp_path: Path) -> None:
    study = read(homes.full(tmp_path, reconstructions={"sap": "the order of the two steps"}))
    assert "sap† contains a reconstruction: the order of the two steps" in warnings(study)


def test_records_that_do_not_belong_together_are_said(tmp_path: Path) -> None:
    study = read(homes.full(tmp_path))
    run = study.done("final")["run"].iloc[0]
    path = study.folder.run(run) / "record.json"
    record = read_json(path)
    record |= {
        "protocol": "2",
        "test_openings": 2,
        "provenance": {**record["provenance"], "commit": "f" * 40, "dirty": True},
    }
    write_json(path, record)
    found = " ".join(warnings(read(tmp_path)))
    for words in ("differ in their protocol", "differ in their commit", "not committed", "more than once in 1 runs"):
        assert words in found


@pytest.fixture
def grid(tmp_path: Path) -> Study:
    return samples.variants(tmp_path)


def test_the_head_and_the_warnings_of_a_grid(grid: Study, tmp_path: Path) -> None:
    head = dict(facts(grid))
    assert head["Variants"] == "3 (eta: 2, parts: 1)"
    assert head["Tuning"] == "none: each variant runs as declared"
    assert head["Method drop†"] == "drop."
    said = " ".join(warnings(grid))
    assert "trial" not in said
    assert "drop† contains a reconstruction: the order of the two steps" in said
    assert "1 of 12 runs have no result" in said
    homes.grid(tmp_path, samples.VARIANTS, name="empty", controls=[])
    assert "No variant has a result yet." in warnings(load(Folder(tmp_path), "empty"))

"""A comparison as figures: every cell by itself, what was injected in grey, and epochs counted from the dense model's first."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from bench.records.files import read_json, write_json
from bench.records.folder import Folder
from reports.card.evidence import Evidence
from reports.card.protocol import recovery
from reports.card.records import failures
from reports.figures import accuracy, cells, costs, style
from reports.load.records import Study, injected, load, methods
from tests.reports import homes, samples
from tests.reports.looking import assert_legible, drawn


@pytest.fixture
def compared(tmp_path: Path) -> Study:
    return samples.ladder(tmp_path)


def test_every_cell_has_all_methods_the_best_of_all_first(compared: Study) -> None:
    table = cells.figure(compared).table
    assert table["cell"].drop_duplicates().tolist() == ["net@0.5", "net@0.8"]
    assert table["label"].tolist() == ["gradual", "random", "sap"] * 2
    first = table.iloc[0]
    assert (first["n"], first["mean"]) == (3, 94.5)
    assert first["high"] == pytest.approx(94.5 + 4.302653 / math.sqrt(3), abs=1e-6)
    assert set(table["dense"]) == {94.0}


@pytest.mark.parametrize("wide", [True, False])
def test_the_cells_can_be_read(compared: Study, wide: bool) -> None:
    assert_legible(drawn(cells.figure(compared), wide))


def test_what_was_injected_is_grey_and_hollow(compared: Study) -> None:
    assert methods([compared]) == ["gradual", "sap"]
    assert injected([compared]) == ["dense", "random", "random_ratios"]
    found = style.looks(methods([compared]), injected([compared]))
    assert [name for name, look in found.items() if look.hollow] == ["random", "random_ratios"]
    assert found["gradual"] == style.looks(["gradual", "sap"])["gradual"]


def test_what_has_not_ended_has_not_failed_either(compared: Study) -> None:
    home, cell = compared.folder.path, "sap/net@0.8"
    run = homes.run_id("compare", "final", cell, 0, homes.SEEDS[2])
    homes.write_entry(home, "compare", "final", cell, 0, homes.SEEDS[2], state="running", run=run)
    verdict = failures(Evidence(load(Folder(home), "compare"), {}, frozenset()))
    assert verdict.evidence == "none of 26 runs failed; 1 more are running or were interrupted"


def test_ways_to_recover_are_told_apart_and_are_an_axis(tmp_path: Path) -> None:
    said: dict[str, Any] = {"model": "net", "space": {}, "importances": {}, "method": "sap", "target": 0.5}
    found = {f"sap/net@0.5:recovery={way}": {**said, "recovery": way} for way in ("none", "lr")}
    homes.declare(
        tmp_path, name="compare", kind="ladder", methods=["sap"], models=["net"], cells=found, trials=0, claims={}
    )
    for cell, about in found.items():
        samples.write_compared(tmp_path, "final", cell, 1000, left=0.5, test=90.0)
        path = Folder(tmp_path).run(homes.run_id("compare", "final", cell, 0, 1000)) / "record.json"
        record = read_json(path)
        record["run"]["recovery"] = "" if about["recovery"] == "none" else about["recovery"]
        write_json(path, record)
    study = load(Folder(tmp_path), "compare")
    assert set(accuracy.accuracy_against(study, "macs_left")["group"]) == {"recovery=none", "recovery=lr"}
    assert set(costs.costs(study)["group"]) == {"recovery=none", "recovery=lr"}
    assert recovery(Evidence(study, {}, frozenset())).evidence == "every method with each of lr, none"

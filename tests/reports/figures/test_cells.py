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
from reports.figures import accuracy, cells, costs, series, style
from reports.load.records import Study, injected, load, methods
from tests.reports import homes
from tests.reports.looking import assert_legible, drawn

TARGETS = (0.5, 0.8)
DOWN = {"gradual": 0.0, "sap": 4.0}


def ladder(home: Path) -> Study:
    """Two methods and one injected baseline at two targets, three seeds, and for each final of gradual a derived control."""
    said: dict[str, Any] = {"model": "net", "space": {}, "importances": {}}
    cells_ = {f"{m}/net@{t}": {**said, "method": m, "target": t} for m in DOWN for t in TARGETS}
    names = {f"random/net@{t}": {**said, "method": "random", "target": t} for t in TARGETS}
    names["dense/net"] = {**said, "method": "dense", "target": None}
    declared = {"kind": "ladder", "methods": list(DOWN), "models": ["net"], "cells": cells_, "baselines": names}
    homes.declare(home, name="compare", claims={}, trials=0, figures=["comparison", "allocation"], **declared)
    for cell, about in {**cells_, **names}.items():
        for seed in homes.SEEDS:
            kind = "final" if cell in cells_ else "baseline"
            test = 95.0 + seed - 1001 - DOWN.get(about["method"], 1.0) - (about["target"] or 0)
            write(home, kind, cell, seed, left=1 - (about["target"] or 0), test=test)
            if about["method"] == "gradual":
                derived = f"random_ratios/net:gradual@{about['target']}"
                write(home, "baseline", derived, seed, left=1 - about["target"], test=test, of=cell)
    return load(Folder(home), "compare")


def write(home: Path, kind: str, cell: str, seed: int, *, left: float, test: float, **more: str) -> None:
    run = homes.run_id("compare", kind, cell, 0, seed)
    homes.write_run(home, run, model="net", val=90.0, left=left, test=test, rounds=1)
    path = Folder(home).run(run) / "record.json"
    record = read_json(path)
    record["run"]["epochs"] = 6.0
    record["cost"] |= {"steps": 60, "start_steps": 0 if cell.startswith("dense") else 100}
    write_json(path, record)
    homes.write_entry(home, "compare", kind, cell, 0, seed, run=run, **more)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return ladder(tmp_path)


def test_every_cell_has_all_methods_the_best_of_all_first(study: Study) -> None:
    table = cells.figure(study).table
    assert table["cell"].drop_duplicates().tolist() == ["net@0.5", "net@0.8"]
    assert table["label"].tolist() == ["gradual", "random", "sap"] * 2
    first = table.iloc[0]
    assert (first["n"], first["mean"]) == (3, 94.5)
    assert first["high"] == pytest.approx(94.5 + 4.302653 / math.sqrt(3), abs=1e-6)
    assert set(table["dense"]) == {94.0}


@pytest.mark.parametrize("wide", [True, False])
def test_the_cells_can_be_read(study: Study, wide: bool) -> None:
    assert_legible(drawn(cells.figure(study), wide))


def test_what_was_injected_is_grey_and_hollow(study: Study) -> None:
    assert methods([study]) == ["gradual", "sap"]
    assert injected([study]) == ["dense", "random", "random_ratios"]
    found = style.looks(methods([study]), injected([study]))
    assert [name for name, look in found.items() if look.hollow] == ["random", "random_ratios"]
    assert found["gradual"] == style.looks(["gradual", "sap"])["gradual"]


def test_configurations_that_are_not_tuned_have_no_number(study: Study) -> None:
    assert set(series.validation_curves(study)["label"]) >= {"gradual @0.5", "sap @0.8"}


def test_epochs_are_counted_from_where_the_dense_model_began(study: Study) -> None:
    table = series.validation_curves(study)
    own = table[table["label"] == "gradual @0.5"]
    assert set(own["begun"]) == {10.0}
    assert own["epoch"].min() > 10.0
    assert set(table.loc[table["method"] == "dense", "begun"]) == {0.0}


def test_a_panel_shows_the_baselines_of_its_target_and_nothing_that_is_derived(study: Study) -> None:
    many = series.validation_curves(study)
    many = many.assign(order=0)  # as of a grid: a panel for each target
    parts = dict(series.facets(many))
    assert list(parts) == ["@0.5", "@0.8"]
    assert sorted(set(parts["@0.5"]["label"])) == ["dense", "gradual", "random", "sap"]
    assert set(parts["@0.5"]["group"]) == {"", "@0.5"}


def test_one_legend_names_the_lines_of_all_panels(study: Study) -> None:
    parts = series.facets(series.validation_curves(study).assign(order=0))
    looks = style.looks(methods([study]), injected([study]))
    assert [name for name, *_ in series.shared(parts, looks)] == ["dense", "gradual", "sap", "random"]
    other = [(name, part.assign(method="sap")) for name, part in parts[1:]]
    assert series.shared([parts[0], *other], looks) == []


def test_what_has_not_ended_has_not_failed_either(study: Study) -> None:
    home, cell = study.folder.home, "sap/net@0.8"
    run = homes.run_id("compare", "final", cell, 0, homes.SEEDS[2])
    homes.write_entry(home, "compare", "final", cell, 0, homes.SEEDS[2], state="running", run=run)
    verdict = failures(Evidence(load(Folder(home), "compare"), {}, frozenset()))
    assert verdict.evidence == "none of 26 runs failed; 1 more are under way or were cut off"


def test_ways_to_recover_are_told_apart_and_are_an_axis(tmp_path: Path) -> None:
    said: dict[str, Any] = {"model": "net", "space": {}, "importances": {}, "method": "sap", "target": 0.5}
    found = {f"sap/net@0.5:recovery={way}": {**said, "recovery": way} for way in ("none", "lr")}
    homes.declare(
        tmp_path, name="compare", kind="ladder", methods=["sap"], models=["net"], cells=found, trials=0, claims={}
    )
    for cell, about in found.items():
        write(tmp_path, "final", cell, 1000, left=0.5, test=90.0)
        path = Folder(tmp_path).run(homes.run_id("compare", "final", cell, 0, 1000)) / "record.json"
        record = read_json(path)
        record["run"]["recovery"] = "" if about["recovery"] == "none" else about["recovery"]
        write_json(path, record)
    study = load(Folder(tmp_path), "compare")
    assert set(accuracy.accuracy_against(study, "macs_left")["group"]) == {"recovery=none", "recovery=lr"}
    assert set(costs.costs(study)["group"]) == {"recovery=none", "recovery=lr"}
    assert recovery(Evidence(study, {}, frozenset())).evidence == "every method with each of lr, none"

"""Curves and layers: means over seeds, and what shares a panel."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench.errors import Corrupt
from bench.records.folder import Folder
from reports.figures import series, style
from reports.figures.series import facets, layer_sparsity, validation_curves
from reports.load.records import Study, injected, load, methods
from tests.reports import homes, samples


def test_panels_hold_a_group_each_and_never_too_many(tmp_path: Path) -> None:
    many = [(f"p={i}", "sap", "p" if i < 12 else "q", {"p": i}, {}) for i in range(14)]
    declared = homes.grid(tmp_path, many, models=["test_vit"])
    for cell in declared["cells"]:
        homes.final(tmp_path, declared, cell, 1000, val=90.0, left=0.5, test=90.0, rounds=1)
    study = load(Folder(tmp_path), "grid")
    parts = facets(validation_curves(study))
    assert [name for name, _ in parts] == ["p (1 of 2)", "p (2 of 2)", "q"]
    shown = [rows["label"].unique().tolist() for _, rows in parts]
    assert shown[0] == ["dense", *(f"sap p={i}" for i in range(6))]
    assert shown[2] == ["dense", "sap p=12", "sap p=13"]
    assert len(layer_sparsity(study)["label"].unique()) == 14


def test_a_ladder_with_many_methods_has_a_panel_per_target(tmp_path: Path) -> None:
    cells = {
        f"{m}/test_vit@{t}": {"method": m, "model": "test_vit", "target": t, "space": {}, "importances": {}}
        for m in ("a", "b", "c", "d", "e")
        for t in (0.8, 0.9)
    }
    methods = ["a", "b", "c", "d", "e"]
    homes.declare(tmp_path, name="ladder", kind="ladder", methods=methods, models=["test_vit"], cells=cells, claims={})
    for cell, said in cells.items():
        run = homes.run_id(cell)
        homes.write_run(tmp_path, run, model="test_vit", val=90.0, left=1 - said["target"], test=90.0, rounds=1)
        homes.write_entry(tmp_path, "ladder", "final", cell, 0, 1000, run=run)
    parts = facets(validation_curves(load(Folder(tmp_path), "ladder")))
    assert [name for name, _ in parts] == ["@0.8", "@0.9"]
    assert parts[0][1]["method"].unique().tolist() == methods


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load(Folder(homes.full(tmp_path)), "pareto-sap")


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


def test_broken_curves_are_told(study: Study) -> None:
    run = study.done("final")["run"].iloc[0]
    (study.folder.run(run) / "curves.parquet").write_bytes(b"torn")
    with pytest.raises(Corrupt, match=run):
        validation_curves(study)


@pytest.fixture
def compared(tmp_path: Path) -> Study:
    return samples.ladder(tmp_path)


def test_configurations_that_are_not_tuned_have_no_number(compared: Study) -> None:
    assert set(series.validation_curves(compared)["label"]) >= {"gradual @0.5", "sap @0.8"}


def test_epochs_are_counted_from_where_the_dense_model_began(compared: Study) -> None:
    table = series.validation_curves(compared)
    own = table[table["label"] == "gradual @0.5"]
    assert set(own["begun"]) == {10.0}
    assert own["epoch"].min() > 10.0
    assert set(table.loc[table["method"] == "dense", "begun"]) == {0.0}


def test_a_panel_shows_the_baselines_of_its_target_and_nothing_that_is_derived(compared: Study) -> None:
    many = series.validation_curves(compared)
    many = many.assign(order=0)  # as of a grid: a panel for each target
    parts = dict(series.facets(many))
    assert list(parts) == ["@0.5", "@0.8"]
    assert sorted(set(parts["@0.5"]["label"])) == ["dense", "gradual", "random", "sap"]
    assert set(parts["@0.5"]["group"]) == {"", "@0.5"}


def test_one_legend_names_the_lines_of_all_panels(compared: Study) -> None:
    parts = series.facets(series.validation_curves(compared).assign(order=0))
    looks = style.looks(methods([compared]), injected([compared]))
    assert [name for name, *_ in series.shared(parts, looks)] == ["dense", "gradual", "sap", "random"]
    other = [(name, part.assign(method="sap")) for name, part in parts[1:]]
    assert series.shared([parts[0], *other], looks) == []

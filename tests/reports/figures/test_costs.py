"""Accuracy against every cost, and where the weights were taken: the numbers by hand, and that the figures can be read."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest

from bench.records.files import read_json, write_json
from bench.records.folder import Folder
from reports.figures import allocation, costs, style
from reports.load.records import Study, load
from reports.page import requested
from tests.reports import homes
from tests.reports.figures.test_speed import pair
from tests.reports.looking import assert_legible, drawn

HALF = 4.302653 / math.sqrt(3)  # of a t interval over the values -1, 0, 1


def change(home: Path, run: str, **parts: Any) -> None:
    path = Folder(home).run(run) / "record.json"
    record = read_json(path)
    for name, value in parts.items():
        record[name] = {**record[name], **value} if isinstance(value, dict) else value
    write_json(path, record)


def study_of_costs(home: Path, models: tuple[str, ...] = ("net",)) -> Study:
    """A method that removes channels, faster at half its MACs, one that masks, and one that has lost everything."""
    variants: list[homes.Variant] = [
        (f"{name} {share}", name, f"share {share}", {"final": share}, {})
        for name in ("depgraph", "gradual")
        for share in (0.5, 0.8)
    ]
    variants.append(("lost", "sap", "share 0.8", {}, {}))
    names = {"name": "costs", "models": list(models), "figures": ["costs", "allocation"]}
    declared = homes.grid(home, variants, **names)
    for cell, said in declared["cells"].items():
        lost, structured = said["method"] == "sap", said["method"] == "depgraph"
        left = 1 - float(said["settings"][0].partition("=")[2]) if said["settings"] else 0.2
        for seed in homes.SEEDS:
            test = (10.0 if lost else 80 + 20 * left) + seed - 1001
            homes.final(home, declared, cell, seed, val=90.0, left=left, test=test, rounds=1)
            run = homes.run_id("costs", "final", cell, said["number"], seed)
            change(home, run, cost={"train_seconds": 15.0}, metrics={"params/reference": 3000})
            if structured:
                thinner(home, run, left)
            rows = [*pair(1 / left, wanted="auto", batch=64), *pair(9.0, wanted="auto", batch=64, mode="compiled")]
            value = {"schema": 1, "id": run, "smaller": structured, "speedup/theoretical": 2.0, "rows": rows}
            write_json(Folder(home).run(run) / "speed.json", value)
    for model, seed in itertools.product(models, homes.SEEDS):
        change(home, homes.run_id("costs", "baseline", f"dense/{model}", 0, seed), metrics={"params/reference": 3000})
    return load(Folder(home), "costs")


def thinner(home: Path, run: str, left: float) -> None:
    """The layers of a run as those of a model with fewer channels: no zeros; and the second one is gone."""
    layers = read_json(Folder(home).run(run) / "record.json")["layers"]
    layers = [{**row, "weights": row["nonzero"], "sparsity": 0.0} for row in layers if ".1." not in row["name"]]
    change(home, run, layers=layers, metrics={"weights/reference": 5 * 576})


def test_costs_are_shares_of_the_dense_control_by_hand(tmp_path: Path) -> None:
    table = costs.costs(study_of_costs(tmp_path)).set_index(["label", "cost"])
    half = table.loc["depgraph depgraph 0.5"]
    assert half["size"].to_dict() == pytest.approx(
        {"weights_left": 0.5, "macs_left": 0.5**0.7, "bytes_left": 0.6, "latency": 0.5, "training": 1.0, "seconds": 1.5}
    )
    assert (half["accuracy"] == 90).all()
    assert half.loc["latency", "high"] == pytest.approx(90 + HALF, abs=1e-6)
    assert table.loc[("dense", "latency"), "size"] == 1


def test_masked_models_have_no_latency_and_the_caption_counts_them(tmp_path: Path) -> None:
    figure = costs.figure(study_of_costs(tmp_path))
    latency = figure.table[figure.table["cost"] == "latency"]
    assert set(latency["method"]) == {"dense", "depgraph"}
    assert "Finals without a latency: 9 masked models, which are as slow as the dense model." in figure.caption
    assert "best batch, fp32, eager, on Some CPU with 1 threads" in figure.caption


def test_the_front_holds_what_nothing_cheaper_reaches(tmp_path: Path) -> None:
    table = costs.costs(study_of_costs(tmp_path))
    weights = table[table["cost"] == "weights_left"].set_index("label")
    assert weights.index[weights["front"]].tolist() == ["dense", "depgraph depgraph 0.5", "depgraph depgraph 0.8"]
    assert not weights.loc["sap lost", "front"]


def test_what_is_far_below_does_not_stretch_the_axis() -> None:
    assert style.worth([98.0, 97.0, 96.0, 10.0, 95.0]) == 90.0
    assert style.worth([98.0, 98.0, 10.0]) == 93.0
    assert style.worth([math.nan]) == 0.0


def test_layers_are_set_against_the_dense_models(tmp_path: Path) -> None:
    table = allocation.allocation(study_of_costs(tmp_path))
    removed, masked = (table[table["label"] == name] for name in ("depgraph depgraph 0.5", "gradual gradual 0.5"))
    assert removed["left"].tolist() == [0.5, 0.0, 0.5, 0.5, 1.0]  # a layer that is gone has nothing left
    assert masked["left"].tolist() == [0.5, 0.5, 0.5, 0.5, 1.0]
    assert removed["prunable"].tolist() == [True, True, True, True, False]
    assert set(removed["weights"]) == {576}


def test_without_a_dense_model_nothing_is_set_against_it(tmp_path: Path) -> None:
    study_of_costs(tmp_path)
    for entry in Folder(tmp_path).entries("costs"):
        if entry.cell.startswith(("dense", "gradual", "sap")):
            Folder(tmp_path).drop_entry("costs", entry)
    study = load(Folder(tmp_path), "costs")
    assert allocation.figure(study).missing
    assert set(costs.costs(study)["cost"]) == {"weights_left", "macs_left", "latency"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["costs", "allocation"])
@pytest.mark.parametrize("models", [("net",), ("net", "other")], ids=len)
def test_figures_of_costs_are_legible(name: str, models: tuple[str, ...], tmp_path: Path) -> None:
    figure = requested.FIGURES[name](study_of_costs(tmp_path, models))
    for wide in (True, False):
        assert_legible(drawn(figure, wide))

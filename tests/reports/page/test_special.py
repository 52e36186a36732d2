"""The figures that single studies ask for: the numbers behind them, by hand, and what their captions say."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

import methods
from bench.records.folder import Folder
from reports.build import build
from reports.figures import catalog, prunable, roads, rounds
from reports.figures.equilibrium import equilibrium, farthest
from reports.load import published
from reports.load.records import Study, load
from reports.page import special
from tests.reports import homes
from tests.reports.looking import Page, assert_legible, drawn

HALF = 4.302653 / math.sqrt(3)  # of a t interval over the values -1, 0, 1
RECONSTRUCTION = {"drop": "the order of the two steps"}


def two_roads(home: Path) -> Study:
    """A model of 1000 parameters pruned to 100 and 500, small models of as many, and the dense one."""
    cells = {
        f"{m}/net@{t}": {"method": m, "model": "net", "target": t, "space": {}, "importances": {}}
        for m in ("gradual", "small_dense")
        for t in (0.5, 0.9)
    }
    changes = {"kind": "ladder", "methods": ["gradual", "small_dense"], "models": ["net"], "claims": {}}
    homes.declare(home, name="roads", cells=cells, figures=["roads"], **changes)
    rows = [("final", cell, said["method"], said["target"]) for cell, said in cells.items()]
    for kind, cell, method, target in [*rows, ("baseline", "dense/net", "dense", 0.0)]:
        for seed in homes.SEEDS:
            count, run = round(1000 * (1 - target)), homes.run_id(cell, seed)
            sizes = {
                "params_all": 1000,
                "params_nonzero": count,
                "bytes_dense": 4 * count,
                "bytes_sparse": 4 * count + 50,
            }
            test = 90.0 + seed - 1001 - 10 * target - (method == "small_dense")
            homes.write_run(home, run, model="net", val=90.0, left=1 - target, test=test, rounds=1, **sizes)
            homes.write_entry(home, "roads", kind, cell, 0, seed, run=run)
    return load(Folder(home), "roads")


def test_both_roads_by_hand(tmp_path: Path) -> None:
    table = roads.roads(two_roads(tmp_path))
    own = table[~table["paper"]].set_index("label")
    assert own["nonzero"].to_dict() == {
        **{"dense": 1000, "gradual @0.9 #0": 100, "gradual @0.5 #0": 500},
        **{"small_dense @0.9 #0": 100, "small_dense @0.5 #0": 500},
    }
    assert own.loc["gradual @0.9 #0", "bytes"] == 450  # with the mask
    assert own.loc["small_dense @0.9 #0", "bytes"] == 400  # which a dense model does not have
    assert own.loc["dense", "bytes"] == 4000
    assert own.loc["gradual @0.9 #0", "road"] == "large sparse"
    assert own.loc["small_dense @0.9 #0", ["road", "accuracy", "n"]].tolist() == ["small dense", 80.0, 3]
    assert own.loc["dense", "high"] == pytest.approx(90 + HALF, abs=1e-6)


def test_the_papers_points_stand_apart(tmp_path: Path) -> None:
    table = roads.roads(two_roads(tmp_path))
    paper = table[table["paper"]]
    assert len(paper) == 8
    assert set(paper["model"]) == {roads.PAPER}
    assert paper[["low", "high", "n"]].isna().all(axis=None)
    assert set(paper["method"]) == {""}  # nothing that our statistics could take for a method's


def test_the_papers_bytes_follow_from_its_own_rule() -> None:
    """Table 6 is 4 bytes for each non-zero, and the smaller of 0.52 MB of mask and 4-bit indices (tables 2 and 5)."""
    for point in published.MOBILENET:
        if point.road == published.SPARSE:
            assert point.nonzero is not None
            indices = min(0.52e6, point.nonzero / 2)
            assert point.bytes == pytest.approx(4 * point.nonzero + indices, abs=0.011e6)
        elif point.bytes is not None:
            assert point.bytes == pytest.approx(4 * (point.nonzero or 0), abs=1)


def test_the_papers_points_are_those_of_the_claims() -> None:
    claimed = {
        (claim.accuracy, claim.sparsity) for claim in methods.load("gradual").CLAIMS if claim.model == "mobilenetv1_100"
    }
    ours = {"width 1.0": 0.0, "50 % sparse": 0.5, "75 % sparse": 0.75, "90 % sparse": 0.9, "95 % sparse": 0.95}
    assert claimed == {(p.top1, ours[p.name]) for p in published.MOBILENET if p.name in ours}


def ablation(home: Path) -> Study:
    """Both parts of the ablation, on one model with three seeds; the last interval holds no prediction."""
    variants: list[homes.Variant] = [
        (f"{label} 0.9", "drop", "parts", {"parts": part, "final": 0.9}, {"target": 0.9})
        for part, label in (("away", "away only"), ("back", "back only"), ("both", "both"))
    ]
    for rule, back, predicted in (("fraction", 0.1, 0.6), ("target", 0.1, 0.75), ("target", 0.2, 0.64)):
        settings = {"rule": rule, "order": "simultaneous", "back": back}
        variants.append((f"{rule} {back}", "drop", "equilibrium", settings, {"back": back, "predicted": predicted}))
    declared = homes.grid(home, variants, name="ablation", reconstructions=RECONSTRUCTION, figures=["equilibrium"])
    for i, (cell, said) in enumerate(declared["cells"].items()):
        for seed in homes.SEEDS:
            settled = said["facts"].get("predicted", 0.9)
            left = 1 - settled + 0.001 * (seed - 1001) + (0.05 if settled == 0.64 else 0)
            homes.final(home, declared, cell, seed, val=90.0, left=left, test=90.0 + i, rounds=1)
    return load(Folder(home), "ablation")


def test_equilibrium_by_hand(tmp_path: Path) -> None:
    table = equilibrium(ablation(tmp_path))
    settled = table[table["series"] == "sparsity"]
    assert settled["name"].tolist() == ["R1, a fixed fraction", *["R2, directed at the target"] * 2]
    assert settled["x"].tolist() == [0.1, 0.1, 0.2]
    assert settled["predicted"].tolist() == [0.6, 0.75, 0.64]
    assert settled["value"].tolist() == pytest.approx([0.6, 0.75, 0.59])
    assert (settled["high"] - settled["value"]).tolist() == pytest.approx([0.001 * HALF] * 3, abs=1e-8)
    parts = table[table["series"] == "accuracy"].set_index("name")
    assert parts["value"].to_dict() == {"": 95.0, "away only": 90.0, "back only": 91.0, "both": 92.0}
    assert parts.loc["both", "x"] == 0.9


def test_the_distance_from_the_prediction_is_said(tmp_path: Path) -> None:
    said = farthest(equilibrium(ablation(tmp_path)))
    assert said == (
        "Of 3 means the farthest from its prediction is 5.00 points of sparsity away (drop† target 0.2 on test_vit); "
        "2 of the 3 intervals hold the prediction."
    )


def test_the_line_of_theory_is_the_declared_one(tmp_path: Path) -> None:
    figure = special.SPECIAL["equilibrium"](ablation(tmp_path))
    canvas = drawn(figure)
    panel = next(axes for axes in canvas.axes if axes.get_title(loc="left").startswith("R2"))
    lines = [line for line in panel.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2]
    assert lines[0].get_ydata().tolist() == [75.0, 64.0]
    assert "theory" in figure.caption
    assert "No number here is from a paper" in figure.caption


def architectures(home: Path) -> Study:
    """Two architectures of which one fails."""
    variants: list[homes.Variant] = [("", "drop", "", {"final": 0.75}, {})]
    changes = {"models": ["net", "other"], "reconstructions": RECONSTRUCTION, "figures": ["prunable"]}
    declared = homes.grid(home, variants, name="architectures", **changes)
    for seed in homes.SEEDS:
        homes.final(home, declared, "drop/net", seed, val=90.0, left=0.25, test=90.0 + seed - 1001, rounds=1)
        lost = {"state": "failed", "run": "", "reason": f"the window must fit, but got 32 and {seed % 2}"}
        homes.write_entry(home, "architectures", "final", "drop/other", 0, seed, **lost)
    return load(Folder(home), "architectures")


def test_what_is_prunable_by_hand(tmp_path: Path) -> None:
    """5 layers of 576 weights and 24 other parameters, 3000 in all; the last layer is spared, 144 of 576 are left."""
    table = prunable.prunable(architectures(tmp_path))
    net, other = table.to_dict("records")
    assert (net["model"], net["label"], net["parameters"]) == ("net", "drop†", 3000)
    assert [net[part] * 3000 for part in prunable.PARTS] == pytest.approx([4 * 432, 4 * 144, 576, 120])
    assert (net["top1"], net["n"], net["dense"]) == (90.0, 3, 95.0)
    assert net["high"] == pytest.approx(90 + HALF, abs=1e-6)
    assert (other["model"], other["failed"], other["n"]) == ("other", 3, 0)
    assert other["reason"] == "the window must fit, but got 32 and 0; the window must fit, but got 32 and 1"
    assert math.isnan(other["pruned"])
    assert other["dense"] == 95.0


def test_failed_architectures_are_listed_with_their_reasons(tmp_path: Path) -> None:
    (make,) = special.tables(architectures(tmp_path))
    table = make(architectures(tmp_path))
    row = next(row for row in table.rows() if row["model"] == "other")
    shown = {column.head: column.text(row) for column in table.columns}
    assert shown["failed runs"] == "3"
    assert "the window must fit" in shown["why"]
    assert shown["pruned"] == "–"


def sap_phases(home: Path, variants: int = 3) -> Study:
    rows: list[homes.Variant] = [(f"eta={i}", "sap", "eta", {"eta": i}, {}) for i in range(variants)]
    declared = homes.grid(home, rows, name="sap_phases", figures=["sap-phases"])
    for cell in declared["cells"]:
        for seed in homes.SEEDS:
            homes.final(home, declared, cell, seed, val=90.0 + 0.1 * (seed - 1001), left=0.1, test=89.0)
    return load(Folder(home), "sap_phases")


def test_phases_of_each_variant(tmp_path: Path) -> None:
    study = sap_phases(tmp_path)
    found = rounds.phases(rounds.pq_rounds(study))
    assert found["label"].tolist() == ["sap eta=0", "sap eta=1", "sap eta=2"]
    assert found.loc[0, list(rounds.PHASES)].tolist() == ["round 2", "round 3", "round 4"]
    assert found["noise"].tolist() == pytest.approx([0.1 * HALF] * 3, abs=1e-6)
    (make,) = special.tables(study)
    assert [row["compression"] for row in make(study).rows()] == ["round 3"] * 3


def test_many_variants_are_counted_in_the_caption(tmp_path: Path) -> None:
    said = rounds.seen(rounds.pq_rounds(sap_phases(tmp_path, variants=10)))
    assert said == "Of 10 configurations, regularisation in 10, compression in 10, collapse in 10."


def test_the_same_rounds_are_not_drawn_twice(tmp_path: Path) -> None:
    study = sap_phases(tmp_path)
    again = next(f for f in (make(study) for make in catalog.makers(study)) if f.name == "pq-rounds")
    assert "the figure of the SAP phases shows the same rounds" in again.missing


@pytest.mark.parametrize("make", [two_roads, ablation, architectures, sap_phases])
def test_special_figures_are_legible_in_both_widths(make: object, tmp_path: Path) -> None:
    study = make(tmp_path)  # type: ignore[operator]
    (maker,) = special.makers(study)
    for wide in (True, False):
        assert_legible(drawn(maker(study), wide))


@pytest.mark.parametrize("name", sorted(special.SPECIAL))
def test_without_results_they_say_so(name: str, tmp_path: Path) -> None:
    homes.grid(tmp_path, [("a", "sap", "", {}, {})], figures=[name], controls=[])
    made = special.SPECIAL[name](load(Folder(tmp_path), "grid"))
    assert made.missing
    assert isinstance(made.table, pd.DataFrame)


@pytest.mark.slow
def test_the_whole_report_of_an_ablation(tmp_path: Path) -> None:
    architectures(tmp_path)
    page = build(tmp_path, tmp_path / "out")
    text, folder = page.read_text(), page.parent / "architectures"
    assert "study-1-prunable" in Page(text).ids
    assert "the window must fit" in (folder / "tables" / "architectures.md").read_text()
    assert r"drop\dag{}" in (folder / "tables" / "finals.tex").read_text()
    assert "<!-- † reconstruction -->" in (folder / "figures" / "prunable-column.svg").read_text()
    assert "† reconstruction" not in (folder / "figures" / "prunable.csv").read_text()
    assert "model,method,reconstruction" in (folder / "figures" / "prunable.csv").read_text()

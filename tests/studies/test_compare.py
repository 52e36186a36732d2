"""The fair comparison: what is paired, what is equal, what is frozen, and that nothing is computed twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

import studies.compare
import studies.headline
from bench import registry
from bench.cli import conducting
from bench.errors import BenchError
from bench.records.files import read_json, write_json
from bench.records.home import Home
from bench.records.run_record import Cost, LayerRow
from bench.records.study_record import Entry
from bench.run import new_run
from bench.scheduler.coordinator import Coordinator
from bench.scheduler.pool import Pool
from bench.study import controls, planned
from bench.study.study import Baseline, Study
from tests.bench.study.test_naming import named_before
from tests.records import run_record

TINY: dict[str, Any] = {"models": ("test_efficientnet",), "settings": ("epochs=1", "batch=256"), "targets": (0.8,)}


def compared(*methods: str, **changes: Any) -> Study:
    return studies.compare.study(methods, **changes)


def runs(study: Study) -> list[planned.PlannedRun]:
    return list(planned.finals(study, {}))


def test_the_default_is_large_enough_and_brings_its_baselines() -> None:
    study = compared()
    assert len(study.methods) >= 6
    assert len(study.models) >= 2
    assert len(study.targets) >= 3
    assert len(study.final_seeds) >= 3
    labels = {b.label for b in study.baselines}
    assert labels == {"dense_on", "random", "magnitude_uniform", "magnitude_global", "smaller_dense"}
    assert "random_ratios" in study.derived
    assert study.controls == ("dense",)


def test_a_repetition_is_the_same_for_every_method() -> None:
    """One dense model, one seed: of data order, augmentation and the rest. And the same steps, those of the start counted."""
    study = compared("gradual", "depgraph", "rigl")
    for model in study.models:
        own = [n for n in runs(study) if n.run.model == model]
        for seed in study.final_seeds:
            begun = study.dense_run(model, seed, test=True)
            alike = [n.run for n in own if n.seeds == (seed, seed)]
            assert {r.seed for r in alike} == {seed}
            assert {r.start for r in alike} == {f"run:{begun.id}", ""}
            assert {r.epochs + (begun.epochs if r.start else 0) for r in alike} == {16.0}
            assert {r.method.name for r in alike if not r.start} == {"rigl", "small_dense"}
            assert len({(r.recipe, r.image_size, r.test) for r in alike}) == 1


def test_tuning_starts_from_a_dense_model_that_never_saw_the_test_split() -> None:
    study = compared("gradual", trials=2)
    tuned = [n for n in planned.dense_runs(study, tuned=True) if n.kind == "start"]
    assert {n.run.seed for n in tuned} == {study.seed}
    assert not any(n.run.test for n in tuned)
    assert not any(n.kind == "start" for n in planned.dense_runs(study, tuned=False))
    (cell, *_) = study.cells()
    assert planned.start_of(study, cell, study.seed) in {f"run:{n.run.id}" for n in tuned}


def test_two_levels_of_seeds_are_crossed() -> None:
    study = compared("gradual", "rigl", dense_seeds=(7, 8), final_seeds=(1000, 1001))
    assert study.pairs == [(7, 1000), (7, 1001), (8, 1000), (8, 1001)]
    own = [n for n in runs(study) if n.cell == "gradual/test_resnet@0.8"]
    assert [(n.run.start == own[0].run.start, n.run.seed) for n in own] == [
        (True, 1000),
        (True, 1001),
        (False, 1000),
        (False, 1001),
    ]
    scratch = [n.run.id for n in runs(study) if n.cell == "rigl/test_resnet@0.8"]
    assert len(set(scratch)) == 4  # without a dense model, four initialisations
    assert len({n.entry(n.run, "running").name for n in own}) == 4
    with pytest.raises(BenchError, match="tuning and reporting seeds must differ"):
        compared(dense_seeds=(0, 1))


def test_a_frozen_study_is_another_one_with_anything_else() -> None:
    one = compared()
    assert compared().name == one.name
    others = [
        compared(trials=4),
        compared(final_seeds=(1000,)),
        compared(dense_seeds=(5,)),
        compared(targets=(0.5,)),
        compared(derived=controls.wanted(["reinit"])),
        compared(settings=("sap.rounds=3",)),
        compared(settings=("dense.epochs=20",)),
        replace(one, baselines=one.baselines[2:]),
    ]
    assert len({one.name, *(o.name for o in others)}) == 1 + len(others)


def test_settings_of_one_method_and_of_the_dense_training() -> None:
    study = compared("sap", "gradual", settings=("sap.rounds=3", "dense.epochs=20", "lr=0.1", "recipe.batch=32"))
    assert {c.run({}, 0).method.to_dict()["rounds"] for c in study.cells() if c.method == "sap"} == {3}
    assert study.dense_run("test_resnet", 0).epochs == 20
    assert {(n.run.recipe.lr, n.run.recipe.batch) for n in runs(study)} == {(0.1, 32)}
    with pytest.raises(BenchError, match="did you mean 'sap'"):
        compared("sap", settings=("sab.rounds=3",))


def test_another_task_has_a_dense_stage_too() -> None:
    study = compared("gradual", task="cifar10", models=("cifar_resnet20",))
    assert all(n.run.start for n in runs(study) if n.run.method.name == "gradual")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"baselines": (Baseline("gradual", "oneshot"),)}, "there twice"),
        ({"own": {"sap": ("rounds=3",)}}, "is none of"),
        ({"baseline": "magnitud_uniform"}, "did you mean 'magnitude_uniform'"),
        ({"dense": None, "dense_seeds": (4,)}, "dense seeds are those of a dense stage"),
        ({"controls": (), "derived": ()}, "a dense stage trains plainly"),
    ],
)
def test_a_comparison_without_sense_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BenchError, match=told):
        replace(compared("gradual"), **changes)


def test_checks_are_asked_for_by_name() -> None:
    assert controls.wanted(["shuffled"]) == ("random_ratios",)
    assert controls.wanted(["reinit", "scratch"]) == ("random_ratios", "reinit", "scratch_epochs", "scratch_macs")
    with pytest.raises(BenchError, match="did you mean 'reinit'"):
        controls.wanted(["reinti"])


def test_fresh_weights_are_others_than_the_dense_model_began_with() -> None:
    dense, run = registry.load(registry.METHODS, "dense").METHOD(), new_run("gradual", start="run:1", seed=3, epochs=2)
    layer = LayerRow("a", (2,), weights=2, nonzero=1, sparsity=0.5, macs=2, macs_left=1)
    sizes, cost = {"params/all": 2, "params/reference": 2}, Cost(steps=10, start_steps=20)
    record = run_record(run=run.to_dict(), metrics=sizes, layers=(layer,), cost=cost)
    made = controls.derive("reinit", run, record, dense, ())
    assert made is not None
    assert (made.start, made.shape, made.epochs) == ("", f"run:{run.id}", 6.0)
    assert made.seed == run.seed + controls.OTHER


@pytest.mark.filterwarnings("ignore")
def test_a_comparison_from_declaration_to_records() -> None:
    home = Home()
    study = replace(compared("gradual", **TINY, final_seeds=(1000,)), dense=("epochs=2",), derived=("random_ratios",))
    study = replace(study, baselines=tuple(b for b in study.baselines if b.label in ("dense_on", "magnitude_uniform")))
    assert study.name == named_before(study)
    result = Coordinator(study, home, Pool(home, 2)).run()
    found = {e.cell: e for e in home.records.entries(study.name)}
    assert Counter((e.kind, e.state) for e in found.values()) == {
        ("final", "finished"): 1,
        ("baseline", "finished"): 4,
    }
    assert result.computed == 5
    begun = found["dense/test_efficientnet"].run
    for cell in (
        "gradual/test_efficientnet@0.8",
        "dense_on/test_efficientnet",
        "magnitude_uniform/test_efficientnet@0.8",
    ):
        record = home.records.record(found[cell].run)
        assert record is not None
        assert record.identity["start"] == f"run:{begun}"
        assert record.cost.start_steps == 2 * record.cost.steps
        assert record.test_openings == 1
    shuffled = home.records.record(found["random_ratios/test_efficientnet:gradual@0.8"].run)
    assert shuffled is not None
    assert shuffled.run.shape == f"shuffled:{found['gradual/test_efficientnet@0.8'].run}"
    assert Coordinator(study, home, Pool(home, 2)).run().computed == 0
    path = home.path / "studies" / study.name / "study.json"
    write_json(path, {**read_json(path), "frozen": "0" * 12})
    with pytest.raises(BenchError, match="frozen when it starts"):
        Coordinator(study, home, Pool(home, 2)).run()


def test_recovery_is_an_axis_of_its_own() -> None:
    """Every method and every baseline with a target runs with each way to recover; what is derived trains plainly."""
    study = compared("gradual", recoveries=("none", "lr"))
    ways = Counter((n.cell.partition("/")[0], n.run.recovery) for n in runs(study))
    cells = len(study.models) * len(study.targets) * len(study.final_seeds)
    assert ways["gradual", "lr"] == ways["gradual", "none"] == ways["random", "lr"] == cells
    assert ways["dense_on", "lr"] == 0
    assert "gradual/test_resnet@0.5:recovery=lr" in {c.key for c in study.cells()}
    with pytest.raises(BenchError, match="use --recoveries"):
        compared("gradual", recoveries=("lr",), settings=("recovery=lr",))


def test_baselines_are_tuned_like_methods() -> None:
    """`oneshot` and `magnitude_uniform` are one method: a table in which only one is tuned compares the tuning."""
    study = compared("oneshot", trials=6)
    cells = study.tuned_cells()
    assert {c.key for c in cells} == {c.key for c in (*study.cells(), *study.baseline_cells())}
    assert {c.trials for c in cells} == {6}
    for cell in cells:
        assert "recipe.lr" in cell.space
        assert cell.run(cell.default, 0) == cell.run({}, 0)
        assert cell.run({"recipe.lr": 0.02}, 0).recipe.lr == 0.02
    uniform = next(c for c in cells if c.key.startswith("magnitude_uniform"))
    assert set(uniform.space) == {"recipe.lr"}  # what its name says is not tuned
    assert not compared("oneshot").tuned_cells()
    trial = Entry("trial", uniform.key, 4, 0, "", {"recipe.lr": 0.02})
    planned_runs = planned.finals(study, {c.key: [trial] if c == uniform else [] for c in cells})
    assert [(n.kind, n.number, n.run.recipe.lr) for n in planned_runs] == [("baseline", 4, 0.02)] * 3


def test_the_range_of_a_tuned_recipe_is_that_of_all_methods() -> None:
    study = compared(trials=2)
    assert len({str(c.space["recipe.lr"]) for c in study.tuned_cells()}) == 1
    with pytest.raises(BenchError, match="did you mean 'lr'"):
        _ = replace(study, tuned_recipe=("lrr",)).cells()[0].space


def test_one_size_in_each_cell() -> None:
    """Every run with a target counts it by the parameters of the whole model: methods and baselines, in both comparisons."""
    for study in (compared(), compared(smoke=True), studies.headline.study(()), studies.headline.study((), smoke=True)):
        cells = [c for c in (*study.cells(), *study.baseline_cells()) if c.target is not None]
        assert {c.run({}, 0).share_of for c in cells} == {"params"}


def test_a_size_that_a_method_cannot_reach_is_refused_before_anything_trains() -> None:
    """Of test_efficientnet 5.4 % of the parameters are the classifier's, norms and biases."""
    small = {"models": ("test_efficientnet",), "targets": (0.95,)}
    with pytest.raises(BenchError, match=r"those that it may prune are 91\.8%"):
        conducting.declare("compare", ("gradual",), small)

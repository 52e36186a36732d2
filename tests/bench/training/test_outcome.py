"""What a run's record says of its finished model: the damage, and what a recovery made of it."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from bench.records.files import read_json
from bench.records.home import Home
from bench.records.run_record import RunRecord
from bench.run import Run, new_run
from bench.training.execute import execute, load_model
from bench.training.outcome import best

TINY = ("model=test_resnet", "image_size=16", "epochs=0.5", "batch=256", "lr=0.05")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return replace(Home(), path=tmp_path_factory.mktemp("judge"))


def done(home: Home, method: str, *settings: str) -> tuple[Run, RunRecord]:
    run = new_run(method, (*TINY, *settings))
    return run, execute(run, home)


@pytest.fixture(scope="module")
def dense(home: Home) -> Run:
    return done(home, "dense", "epochs=1")[0]


def test_a_dense_model_that_hardly_moves_agrees_with_its_start(home: Home, dense: Run) -> None:
    metrics = done(home, "dense", f"start=run:{dense.id}", "lr=1e-9", "weight_decay=0", "test=true")[1].metrics
    first = home.records.record(dense.id)
    assert first is not None
    assert not first.metrics.measured("val_agreement")
    for agreement in (metrics.val_agreement, metrics.test_agreement):  # the statistics of its batch norms have moved
        assert 0 <= agreement <= 100
    for split in ("val", "test"):
        parts = ("class_drop", "worst_class", "worst_class_index", "ece", "loss")
        assert metrics.measured(*(f"{split}_{name}" for name in parts))
    assert not metrics.measured("val_top1_pruned")
    assert metrics.val_top1_bn > metrics.val_top1  # two steps are too few for them


def test_a_smaller_model_recovers_and_is_built_again(home: Home, dense: Run) -> None:
    run, record = done(home, "depgraph", f"start=run:{dense.id}", "recovery=weights", "epochs=1", "test=true")
    metrics, pruned = record.metrics, record.phases[-2]
    assert [phase.name for phase in record.phases][-1] == "recover"
    assert sum(phase.steps for phase in record.phases) == record.cost.steps
    assert metrics.macs_fraction == pytest.approx(0.5, abs=0.02)
    assert metrics.measured("val_top1_pruned", "val_top1_bn", "val_agreement", "test_agreement")
    after = pruned.val_top1 if math.isnan(pruned.after_val_top1) else pruned.after_val_top1
    assert metrics.val_top1_pruned == pytest.approx(after)
    assert (record.test_openings, record.label) == (1, "")
    folder = home.records.run(run.id)
    assert read_json(folder / "plan.json")["kept"]
    assert sum(p.numel() for p in load_model(folder)[0].parameters()) == metrics.params_all


def test_layers_that_have_collapsed_are_named(home: Home, dense: Run) -> None:
    record = done(
        home, "oneshot", f"start=run:{dense.id}", "final=0.999", "when=0", "allocation=global", "classifier=true"
    )[1]
    empty = {layer.name for layer in record.layers if not layer.nonzero}
    few = {layer.name for layer in record.layers if layer.nonzero < 0.01 * layer.weights}
    assert empty
    assert few <= {layer.name for layer in record.collapsed}
    assert {layer.name for layer in record.collapsed if layer.reason == "no weights left"} == empty
    assert record.metrics.layers_collapsed == len(record.collapsed)


@pytest.mark.slow
def test_zeros_of_a_given_shape_are_held_in_the_recovery_too(home: Home, dense: Run) -> None:
    masked, first = done(home, "oneshot", "final=0.8", "when=0", "allocation=global")
    again = done(home, "dense", f"shape=run:{masked.id}", "recovery=lr")[1]
    assert [layer.nonzero for layer in again.layers] == [layer.nonzero for layer in first.layers]
    from_pruned = done(home, "dense", f"start=run:{masked.id}")[1]
    assert not from_pruned.metrics.measured("val_agreement")  # what it began with was not dense


def test_the_best_epoch_is_one_of_the_pruned_model() -> None:
    rows = [{"val/top1": 98.0, "weights_left": 1.0}, {"val/top1": 90.0, "weights_left": 0.1}]
    rows += [{"val/top1": 88.0, "weights_left": 0.104}, {"val/top1": 87.0, "weights_left": 0.1}]
    assert best(rows, {"val/top1": 87.0, "weights_left": 0.1}) == 90
    assert best(rows[:1], {"val/top1": 87.0, "weights_left": 0.1}) == 87
    assert best(rows, {"val/top1": 87.0, "weights_left": 1.0}) == 98


def test_what_starts_from_trained_weights_is_labelled(home: Home, dense: Run) -> None:
    settings = ("final=0.5", "rate=0.5", "epochs=1")
    trained = done(home, "lottery", f"start=run:{dense.id}", *settings)[1]
    assert trained.label == "rewound to trained weights"
    assert done(home, "lottery", *settings)[1].label == ""
    assert done(home, "lottery", f"start=run:{dense.id}", "rewind=none", *settings)[1].label == ""


def test_a_sparsity_of_a_minority_of_the_weights_is_said_to_be_that(home: Home) -> None:
    record = done(home, "oneshot", "model=test_nfnet", "image_size=32", "epochs=0.1", "when=0", "classifier=true")[1]
    assert re.fullmatch(r"sparsity of [\d.]+ % of the weights", record.label)
    assert {row.kind for row in record.unreached} == {"ScaledStdConv2d"}
    assert record.metrics.weights_unreached == sum(row.weights for row in record.unreached) > 1e5
    assert record.metrics.sparsity_prunable == pytest.approx(0.8, abs=1e-3)
    assert record.metrics.speedup_theoretical < 1.3
    assert RunRecord.from_json(record.to_json()) == record

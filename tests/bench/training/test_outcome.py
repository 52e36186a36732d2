"""What a run's record says of its finished model: the damage, and what a recovery made of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.records.files import read_json
from bench.records.home import Home
from bench.run import Run, new_run
from bench.training.execute import execute, load_model
from bench.training.outcome import best

TINY = ("model=test_resnet", "epochs=0.5", "batch=256", "lr=0.05")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return replace(Home(), path=tmp_path_factory.mktemp("judge"))


def done(home: Home, method: str, *settings: str) -> tuple[Run, dict[str, Any]]:
    run = new_run(method, (*TINY, *settings))
    return run, execute(run, home)


@pytest.fixture(scope="module")
def dense(home: Home) -> Run:
    return done(home, "dense", "epochs=1")[0]


def test_a_dense_model_that_hardly_moves_agrees_with_its_start(home: Home, dense: Run) -> None:
    metrics = done(home, "dense", f"start=run:{dense.id}", "lr=1e-9", "weight_decay=0", "test=true")[1]["metrics"]
    assert "val/agreement" not in home.records.record(dense.id)["metrics"]  # type: ignore[index]
    for split in ("val", "test"):  # the statistics of its batch norms have moved
        assert 0 <= metrics[f"{split}/agreement"] <= 100
        assert {f"{split}/{key}" for key in ("class_drop", "worst_class", "worst_class_index", "ece", "loss")} <= set(
            metrics
        )
    assert "val/top1_pruned" not in metrics
    assert metrics["val/top1_bn"] > metrics["val/top1"]  # two steps are too few for them


def test_a_smaller_model_recovers_and_is_built_again(home: Home, dense: Run) -> None:
    run, record = done(home, "depgraph", f"start=run:{dense.id}", "recovery=weights", "epochs=1", "test=true")
    metrics = record["metrics"]
    assert [p["name"] for p in record["phases"]][-1] == "recover"
    assert sum(p["steps"] for p in record["phases"]) == record["cost"]["steps"]
    assert metrics["macs/fraction"] == pytest.approx(0.5, abs=0.02)
    assert {"val/top1_pruned", "val/top1_bn", "val/agreement", "test/agreement"} <= set(metrics)
    assert metrics["val/top1_pruned"] == pytest.approx(
        record["phases"][-2].get("after/val/top1", record["phases"][-2]["val/top1"])
    )
    assert (record["test_openings"], record["label"]) == (1, "")
    folder = home.records.run(run.id)
    assert read_json(folder / "plan.json")["kept"]
    assert sum(p.numel() for p in load_model(folder)[0].parameters()) == metrics["params/all"]


def test_layers_that_have_collapsed_are_named(home: Home, dense: Run) -> None:
    record = done(
        home, "oneshot", f"start=run:{dense.id}", "final=0.999", "when=0", "allocation=global", "classifier=true"
    )[1]
    empty = {row["name"] for row in record["layers"] if not row["nonzero"]}
    few = {row["name"] for row in record["layers"] if row["nonzero"] < 0.01 * row["weights"]}
    assert empty
    assert few <= {row["name"] for row in record["collapsed"]}
    assert {row["name"] for row in record["collapsed"] if row["reason"] == "no weights left"} == empty
    assert record["metrics"]["layers/collapsed"] == len(record["collapsed"])


@pytest.mark.slow
def test_zeros_of_a_given_shape_are_held_in_the_recovery_too(home: Home, dense: Run) -> None:
    masked, first = done(home, "oneshot", "final=0.8", "when=0", "allocation=global")
    again = done(home, "dense", f"shape=run:{masked.id}", "recovery=lr")[1]
    assert [row["nonzero"] for row in again["layers"]] == [row["nonzero"] for row in first["layers"]]
    from_pruned = done(home, "dense", f"start=run:{masked.id}")[1]
    assert "val/agreement" not in from_pruned["metrics"]  # what it began with was not dense


def test_the_best_epoch_is_one_of_the_pruned_model() -> None:
    rows = [{"val/top1": 98.0, "weights_left": 1.0}, {"val/top1": 90.0, "weights_left": 0.1}]
    rows += [{"val/top1": 88.0, "weights_left": 0.104}, {"val/top1": 87.0, "weights_left": 0.1}]
    assert best(rows, {"val/top1": 87.0, "weights_left": 0.1}) == 90
    assert best(rows[:1], {"val/top1": 87.0, "weights_left": 0.1}) == 87
    assert best(rows, {"val/top1": 87.0, "weights_left": 1.0}) == 98

"""The record of a run: named fields, and the same keys on disk as ever."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest

from bench.errors import Corrupt
from bench.records.run_record import FAILED, FINISHED, Cost, Metrics, RunRecord, RunSpec
from bench.run import Run, new_run


def record(**changes: object) -> RunRecord:
    spec = RunSpec(new_run("gradual", ("final=0.9",)).to_dict())
    made = RunRecord(1, "1", "0123456789ab", FINISHED, None, spec, {"class": "Run"}, spec.model)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_run_is_named_by_the_fields_of_the_run() -> None:
    run = new_run("gradual", ("final=0.9", "epochs=3", "seed=7", "model=test_vit", "start=timm"))
    spec = RunSpec(run.to_dict())
    assert (spec.method_name, spec.method["final"], spec.model, spec.task) == ("gradual", 0.9, "test_vit", "digits")
    assert (spec.epochs, spec.seed, spec.start, spec.shape, spec.recovery) == (3.0, 7, "timm", "", "none")
    assert spec.recipe["lr"] == run.recipe.lr
    assert type(run).from_dict(spec.to_json()) == run


def test_what_has_a_name_is_a_field_of_the_run() -> None:
    names = {name for name, value in vars(RunSpec).items() if isinstance(value, property)} - {"method_name"}
    assert names <= {one.name for one in fields(Run)}


def test_metrics_have_names_and_keys() -> None:
    metrics = Metrics.from_numbers({"val/top1": 90.0, "weights_left": 0.1, "plugin/own": 3.0})
    assert (metrics.val_top1, metrics.weights_left, metrics.more) == (90.0, 0.1, {"plugin/own": 3.0})
    assert metrics.numbers() == {"val/top1": 90.0, "weights_left": 0.1, "plugin/own": 3.0}
    assert metrics.measured("val_top1", "weights_left")
    assert not metrics.measured("val_top1", "test_top1")
    with pytest.raises(Corrupt, match="metrics must be finite numbers, but val/loss is nan"):
        Metrics.from_numbers({"val/loss": math.nan})


def test_each_metric_has_a_key_of_its_own() -> None:
    keys = [one.metadata.get("key") or one.name for one in fields(Metrics)]
    assert len(set(keys)) == len(keys)
    assert {key.replace("/", "_") for key in keys} == {one.name for one in fields(Metrics)}


def test_the_keys_on_disk_are_those_of_schema_1() -> None:
    written = record(metrics=Metrics(val_top1=90.0), cost=Cost(steps=10, seconds=1.0, train_seconds=1.0)).to_json()
    assert list(written) == [
        *("schema", "protocol", "id", "status", "reason", "run", "identity", "architecture", "label", "metrics"),
        *("layers", "collapsed", "phases", "cost", "provenance", "test_openings", "test_opened", "attempts"),
    ]
    assert written["metrics"] == {"val/top1": 90.0}
    assert list(written["cost"]) == [
        *("steps", "start_steps", "shape_steps", "samples", "seconds", "train_seconds", "images_per_second"),
        *("peak_memory_bytes", "runs_beside", "energy_joules"),
    ]
    assert "weights_sha256" not in written
    assert record(weights_sha256="ab").to_json()["weights_sha256"] == "ab"


def test_a_failed_run_has_no_numbers() -> None:
    failed = record(status=FAILED, reason="out of memory")
    assert not failed.finished
    assert failed.to_json()["metrics"] == {}
    assert failed.to_json()["cost"] == {}
    assert RunRecord.from_json(failed.to_json()) == failed

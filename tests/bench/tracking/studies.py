"""A small study on disk, and its view in MLflow."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from bench.records.files import write_json
from bench.records.home import Home
from bench.records.reading import write
from bench.records.run_record import Cost, LayerRow, Provenance
from bench.records.study_record import Entry
from bench.tracking import connect
from tests.records import run_record

STUDY = "pareto-toy"
T0 = 1_790_000_000_000


def row(step: int) -> dict[str, Any]:
    return {
        "step": step,
        "epoch": step / 10,
        "phase": "train",
        "time": T0 + step,
        "val/top1": 50.0 + step,
        "sparsity": 0.5,
    }


def make_run(home: Home, run_id: str, steps: list[int], *, ended: bool) -> None:
    folder = home.records.run(run_id)
    config = {"task": "digits", "seed": 0, "method": {"name": "sap", "p": 0.5}, "recipe": {"lr": 0.1}}
    write_json(folder / "run.json", {"run": config, "identity": {}})
    (folder / "curves.jsonl").write_text("".join(json.dumps(row(s)) + "\n" for s in steps))
    if ended:
        pd.DataFrame([row(s) for s in steps]).to_parquet(folder / "curves.parquet")
        record = run_record(
            run_id,
            run=config,
            metrics={"val/top1": 60.0},
            layers=(LayerRow("a", (3,), weights=3, nonzero=3, sparsity=0.0, macs=3, macs_left=3),),
            cost=Cost(steps=steps[-1], seconds=1.5),
            provenance=Provenance(finished=T0 / 1000, commit="abc"),
        )
        write(folder / "record.json", record)


def entry(number: int, run_id: str, state: str, kind: str = "trial") -> Entry:
    values = (60.0, 0.5) if state == "finished" else None
    return Entry(kind, "sap/toy", number, 0, run_id, {"p": 0.5}, values, state)


def view(home: Home) -> dict[str, Any]:
    """All runs of the study by entry, with status, parent, and how many points each metric has."""
    client = connect(home)
    found = {}
    experiment = client.get_experiment_by_name(STUDY)
    for run in client.search_runs([experiment.experiment_id]):
        points = {k: len(client.get_metric_history(run.info.run_id, k)) for k in run.data.metrics}
        name = run.data.tags.get("bench.entry", "parent")
        assert name not in found, "an entry has two runs"
        found[name] = (
            run.info.status,
            points,
            run.data.tags.get("mlflow.parentRunId"),
            run.data.params,
            run.info.run_id,
        )
    return found


class Counted:
    """A client whose calls are counted."""

    def __init__(self, client: Any) -> None:
        self.client, self.calls = client, list[str]()

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self.client, name)

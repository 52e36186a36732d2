"""The MLflow view against a real SQLite store."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.records.files import write_json
from bench.records.home import Home
from bench.records.reading import write
from bench.records.run_record import Cost, LayerRow, Provenance
from bench.records.speed_record import SpeedRecord, SpeedRow
from bench.records.study_record import Entry
from bench.tracking import Mirror, Tracker, Unavailable, connect, fetch, sync_study
from tests.records import run_record, study_record

pytestmark = pytest.mark.filterwarnings("ignore")  # of mlflow's own imports

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


@pytest.fixture
def home(own_place: Path, made_store: Path) -> Home:
    home = Home()
    home.path.mkdir()
    shutil.copy(made_store, home.path)
    home.records.write_study(study_record(STUDY))
    make_run(home, "aaa", [10, 20], ended=True)
    make_run(home, "bbb", [10], ended=False)
    home.records.write_entry(STUDY, entry(0, "aaa", "finished"))
    home.records.write_entry(STUDY, entry(1, "bbb", "running"))
    return home


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


@pytest.mark.slow
def test_a_study_is_mirrored_once_however_often_it_is_synced(home: Home) -> None:
    for _ in range(2):
        Tracker(home, STUDY, connect(home)).sync()
    found = view(home)
    parent = found["parent"]
    done, running = found["trial-sap-toy-0000-s0"], found["trial-sap-toy-0001-s0"]
    assert (parent[0], done[0], running[0]) == ("RUNNING", "FINISHED", "RUNNING")
    assert done[2] == running[2] == parent[4]
    assert done[1]["curve/val_top1"] == 2
    assert done[1]["result/val/top1"] == 1
    assert running[1]["curve/val_top1"] == 1
    assert done[3]["method.p"] == "0.5"


@pytest.mark.slow
def test_what_a_record_is_labelled_with_is_a_tag(home: Home) -> None:
    record = home.records.record("aaa")
    assert record is not None
    write(home.records.run("aaa") / "record.json", replace(record, label="masked channels"))
    tracker = Tracker(home, STUDY, connect(home))
    tracker.sync()
    tags = {r.data.tags["bench.entry"]: r.data.tags for r in tracker.runs() if "bench.entry" in r.data.tags}
    assert tags["trial-sap-toy-0000-s0"]["bench.label"] == "masked channels"
    assert "bench.label" not in tags["trial-sap-toy-0001-s0"]


def test_a_run_goes_on_and_a_dead_one_is_not_left_running(home: Home) -> None:
    tracker = Tracker(home, STUDY, connect(home))
    tracker.sync()
    tracker.sync(over=True)  # nothing computes it any more
    assert view(home)["trial-sap-toy-0001-s0"][0] == "KILLED"
    assert view(home)["parent"][0] == "KILLED"
    make_run(home, "bbb", [10, 20, 30], ended=True)
    home.records.write_entry(STUDY, entry(1, "bbb", "finished"))
    sync_study(home, STUDY)
    status, points, *_ = view(home)["trial-sap-toy-0001-s0"]
    assert status == "FINISHED"
    assert points["curve/val_top1"] == 3


@pytest.mark.slow
def test_a_replay_after_a_cut_between_curves_and_tag_doubles_nothing(home: Home) -> None:
    sync_study(home, STUDY)
    client = connect(home)
    run_id = view(home)["trial-sap-toy-0000-s0"][4]
    client.set_tag(run_id, "bench.synced", "-1")
    client.set_tag(run_id, "bench.state", "")
    sync_study(home, STUDY)
    assert view(home)["trial-sap-toy-0000-s0"][1]["curve/val_top1"] == 2


@pytest.mark.slow
def test_speed_that_is_measured_later_is_added_once(home: Home, tmp_path: Path) -> None:
    sync_study(home, STUDY)
    how = {"batch": 64, "wanted": "auto", "precision": "fp32", "mode": "eager", "device": "Some CPU"}
    row = SpeedRow("pruned", **how, when=T0 / 1000, median_ms=2.0, ratio=1.5)  # type: ignore[arg-type]
    speed = SpeedRecord(1, "aaa", "net", 8, smaller=True, rows=(row,))
    write(home.records.run("aaa") / "speed.json", speed)
    assert [sync_study(home, STUDY) for _ in range(2)] == [2, 1]  # the unfinished one is looked at each time
    name = "speed/fp32_eager_batch_auto_ratio"
    assert view(home)["trial-sap-toy-0000-s0"][1][name] == 1
    assert view(home)["trial-sap-toy-0000-s0"][0] == "FINISHED"
    fetch(home, tmp_path / "fetched")
    assert Home(path=tmp_path / "fetched").records.speed("aaa") == speed


@pytest.mark.slow
def test_a_store_whose_making_was_cut_off_is_made_anew(home: Home) -> None:
    (home.path / "mlflow.db").unlink()
    (home.path / ".mlflow.db.tmp").write_bytes(b"half a database")
    sync_study(home, STUDY)
    assert view(home)["parent"][0] == "KILLED"
    assert (home.path / "mlflow.db").exists()
    assert not (home.path / ".mlflow.db.tmp").exists()


def test_records_come_back_from_the_store(home: Home, tmp_path: Path) -> None:
    sync_study(home, STUDY)
    assert fetch(home, tmp_path / "fetched") == [STUDY]
    back = Home(path=tmp_path / "fetched").records
    assert back.study(STUDY) == home.records.study(STUDY)
    assert list(back.entries(STUDY)) == [entry(0, "aaa", "finished")]
    assert back.record("aaa") == home.records.record("aaa")
    assert len(back.curves("aaa")) == 2


class Counted:
    """A client whose calls are counted."""

    def __init__(self, client: Any) -> None:
        self.client, self.calls = client, list[str]()

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self.client, name)


def test_what_has_not_changed_costs_no_request(home: Home) -> None:
    client = Counted(connect(home))
    tracker = Tracker(home, STUDY, client)
    tracker.sync()
    assert client.calls.count("log_batch") == 3  # the study, the finished trial, the other's curves
    client.calls.clear()
    for _ in range(3):
        tracker.sync()
    assert not client.calls
    make_run(home, "bbb", [10, 20], ended=False)
    tracker.sync()
    assert client.calls == ["log_batch"]


def test_a_run_whose_end_was_cut_off_is_ended_later(home: Home) -> None:
    """The tag that says that all is there is written last."""
    sync_study(home, STUDY)
    client = connect(home)
    run_id = view(home)["trial-sap-toy-0000-s0"][4]
    client.update_run(run_id, status="RUNNING")
    sync_study(home, STUDY)
    assert view(home)["trial-sap-toy-0000-s0"][0] == "FINISHED"


def test_another_machines_folder_syncs_into_this_store(
    home: Home, made_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_study(home, STUDY)
    here = Home(path=tmp_path / "here")
    here.path.mkdir()
    shutil.copy(made_store, here.path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", here.tracking_uri)
    assert sync_study(home, STUDY) == 2
    assert sync_study(home, STUDY) == 1  # only the unfinished one is looked at again


def test_a_server_that_is_down_costs_one_warning(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1")
    with pytest.raises(Unavailable) as caught:
        connect(home)
    assert "secret" not in str(caught.value)
    warnings = list[str]()
    with Mirror(home, STUDY, warnings.append, every=0.05) as mirror:
        mirror._thread.join(1.0)
    assert 1 <= len(warnings) <= 2
    assert all("bench sync" in w and "secret" not in w for w in warnings)

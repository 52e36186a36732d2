"""A study in MLflow, synced any number of times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.records.home import Home
from bench.records.reading import write
from bench.records.speed_record import SpeedRecord, SpeedRow
from bench.tracking import Tracker, connect, fetch, sync_study
from tests.bench.tracking.studies import STUDY, T0, Counted, entry, make_run, view

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of mlflow's own imports


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

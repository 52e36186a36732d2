"""A study of 200 short trials on five workers and two servers, with real faults of processes, servers, disk and network.

Run by `make test-faults`, which prints the faults and the results.
"""

from __future__ import annotations

import collections
import json
import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from bench import tracking
from bench.records.folder import Folder
from bench.records.home import Home
from bench.scheduler.storages import open_storage
from tests.bench.scheduler.servers import running
from tests.faults import site
from tests.faults.site import Disk, Network, Watched

TRIALS, EPOCHS, SEED = int(os.environ.get("FAULTS_TRIALS", "200")), 2, 7
STUDY = [
    "study",
    "gradual",
    "--models",
    "test_resnet",
    "--sampler",
    "qmc",
    "--finals",
    "2",
    "--final-seeds",
    "1000,1001",
]
STUDY += ["--device", "cpu", "--no-report", f"epochs={EPOCHS}", "batch=512", "threads=1"]

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(5400),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(bool(running.missing()), reason=running.missing()),
    pytest.mark.skipif(bool(site.missing()), reason=site.missing()),
]


class Faults:
    """Faults of every kind at random moments, while ended workers are started again."""

    def __init__(
        self, lab: running.Running, disk: Disk, network: Network, coordinator: Watched, workers: list[Watched]
    ) -> None:
        self.lab, self.disk, self.network, self.coordinator, self.workers = lab, disk, network, coordinator, workers
        self.random, self.done, self.began = random.Random(SEED), collections.Counter[str](), time.monotonic()
        self.mlflow_back = 0.0

    def tend(self) -> bool:
        """Start again what has ended; returns whether the study is complete."""
        for worker in self.workers:
            worker.tend()
        if self.mlflow_back and time.monotonic() > self.mlflow_back and self.lab.lab.postgres.running():
            self.lab.start_mlflow()
            self.mlflow_back = 0.0
        return self.coordinator.tend()

    def wait(self, low: float, high: float) -> bool:
        """Tend everything for a random time; returns whether the study is complete."""
        until = time.monotonic() + self.random.uniform(low, high)
        while time.monotonic() < until:
            if self.tend():
                return True
            time.sleep(0.5)
        return False

    def run(self) -> None:
        """Cause all faults, in an order that depends on the seed."""
        faults = (
            ["kill"] * 10 + ["coordinator"] * 2 + ["postgres fast", "postgres immediate", "disk", "network", "network"]
        )
        self.random.shuffle(faults)
        self.lab.stop_mlflow()
        self.mlflow_back = time.monotonic() + 150
        self.done["MLflow server stopped for 150 s"] += 1
        for fault in faults:
            if self.wait(4, 12):
                break
            self.strike(fault)
        while not self.wait(1, 2):
            pass

    def strike(self, fault: str) -> None:
        """Cause one fault, for the time that it lasts."""
        if fault in ("kill", "coordinator"):
            family = self.random.random() < 0.5
            role, victim = "coordinator", self.coordinator
            if fault == "kill":
                role, victim = "worker", self.random.choice(self.workers)
            victim.kill(family=family)
            self.done[f"{role} killed with -9"] += 1
        elif fault.startswith("postgres"):
            self.lab.stop_postgres(fault.split()[1])
            self.wait(8, 25)
            self.lab.start_postgres()
            self.done["PostgreSQL stopped and started"] += 1
        elif fault == "disk":
            self.disk.fill()
            self.wait(6, 10)
            self.disk.free()
            self.done["disk full"] += 1
        else:
            self.network.cut()
            self.wait(10, 40)
            self.network.mend()
            self.done["network cut"] += 1


@pytest.fixture
def lab() -> Iterator[running.Running]:
    with running.running() as one:
        yield one


def test_a_study_with_faults_has_the_results_of_one_without(
    lab: running.Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*STUDY, "--trials", str(TRIALS))
    ports = lab.lab.postgres.port, lab.lab.mlflow_port
    with site.disk(tmp_path / "disk", 400) as disk, site.network(*ports) as network:
        home = disk.folder / "results"
        environment = {**lab.environment, "BENCH_HOME": str(home), "BENCH_LEASE": "12"}
        afar = {key: value.replace("127.0.0.1", site.HERE) for key, value in environment.items()}
        coordinator = Watched(
            "coordinator",
            (*words, "--jobs", "1", "--checkpoint-every", "0.5"),
            tmp_path / "coordinator.log",
            environment,
        )
        began = time.monotonic()
        name = start(coordinator, home)
        helpers = {
            "near": ((), environment),
            "near too": ((), environment),
            "an hour off": ((), {**environment, **site.an_hour_off(tmp_path)}),
            "afar": (("ip", "netns", "exec", site.SPACE), afar),
        }
        work = ("work", name, "--jobs", "1", "--device", "cpu", "--checkpoint-every", "0.5")
        workers = [
            Watched(who, work, tmp_path / f"{who}.log", surroundings, before)
            for who, (before, surroundings) in helpers.items()
        ]
        faults = Faults(lab, disk, network, coordinator, workers)
        try:
            faults.run()
        finally:
            for each in (coordinator, *workers):
                each.end()
        seconds = time.monotonic() - began
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        records = Folder(home)
        figures = judge(records, name, [coordinator, *workers])
        agree(Home(path=home), name, tmp_path / "fetched")
        calm = undisturbed(words, tmp_path)
        best = records.path / "studies" / name / "best.json"
        assert configurations(best) == configurations(calm / "studies" / name / "best.json")
    report(faults, figures, seconds)


def start(coordinator: Watched, home: Path) -> str:
    """Start the coordinator, and return the name of its study once it is declared."""
    coordinator.tend()
    for _ in range(600):
        found = list((home / "studies").glob("*/study.json"))
        if found:
            time.sleep(3)
            return found[0].parent.name
        time.sleep(0.2)
    raise AssertionError(coordinator.log.read_text())


def judge(records: Folder, name: str, workers: list[Watched]) -> dict[str, Any]:
    """Check that every trial ended exactly once, no measurement is lost, and no run was computed to the end twice."""
    storage = open_storage(Home(path=records.path).storage, records.path / "unused")
    study = next(s for s in storage.get_all_studies() if s.study_name == f"{name}/gradual/test_resnet")
    trials = [t for t in storage.get_all_trials(study._study_id) if t.number < TRIALS]
    states = collections.Counter(t.state for t in trials)
    assert [t.number for t in trials] == list(range(TRIALS))
    assert set(states) <= {optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL}, states
    entries = list(records.entries(name))
    of_trials = {e.number: e for e in entries if e.kind == "trial"}
    assert sorted(of_trials) == list(range(TRIALS))
    for trial in trials:
        entry = of_trials[trial.number]
        assert entry.state == ("finished" if trial.values else "failed"), entry
        assert entry.values == (tuple(trial.values) if trial.values else None)
        assert trial.values or entry.reason, entry
    for entry in entries:
        assert entry.ended, entry
        if entry.finished:
            curves = records.curves(entry.run)
            assert list(curves["epoch"]) == list(range(1, EPOCHS + 1)), curves
    twice = computed_twice(workers)
    assert not twice, twice
    attempts = [a for e in entries if (record := records.record(e.run)) is not None for a in record.attempts]
    return {"entries": len(entries), "failed": sum(e.state == "failed" for e in entries), "attempts": len(attempts)}


def computed_twice(workers: list[Watched]) -> dict[str, int]:
    """Runs that were computed to the end more than once, from what coordinator and workers print when one ends."""
    ended = collections.Counter[str]()
    for worker in workers:
        text = worker.log.read_text(errors="replace")
        ended.update(re.findall(r"(?:: finished|sparsity [0-9.]+) \(([0-9a-f]{12})\)", text))
    return {run: count for run, count in ended.items() if count > 1}


def agree(home: Home, name: str, fetched: Path) -> None:
    """Check that MLflow has no run that still runs, and returns every record and entry as it is here."""
    tracking.sync_study(home, name)
    client = tracking.connect(home)
    experiment = client.get_experiment_by_name(name)
    statuses = collections.Counter(
        r.info.status for r in client.search_runs([experiment.experiment_id], max_results=5000)
    )
    assert "RUNNING" not in statuses, statuses
    tracking.fetch(home, fetched, (name,))
    ours, theirs = ({e.name: e for e in Folder(home).entries(name)} for home in (home.path, fetched))
    assert ours == theirs
    for entry in ours.values():
        assert Folder(fetched).record(entry.run) == home.records.record(entry.run)
        pd.testing.assert_frame_equal(Folder(fetched).curves(entry.run), home.records.curves(entry.run))


def undisturbed(words: tuple[str, ...], tmp_path: Path) -> Path:
    """Compute the same study on one worker, without faults and servers; returns its home."""
    home = tmp_path / "calm"
    environment = {"BENCH_HOME": str(home), "BENCH_OPTUNA": "", "MLFLOW_TRACKING_URI": ""}
    one = Watched("calm", (*words, "--jobs", "2", "--no-track"), tmp_path / "calm.log", environment)
    while not one.tend():
        assert one.starts == 1, one.log.read_text()
        time.sleep(0.5)
    return home


def configurations(best: Path) -> dict[str, list[Any]]:
    """Numbers and parameters of the chosen trials, by cell."""
    return {cell: [(e["number"], e["params"]) for e in chosen] for cell, chosen in json.loads(best.read_text()).items()}


def report(faults: Faults, figures: dict[str, Any], seconds: float) -> None:
    """Print the figures of `make test-faults`."""
    others = figures["entries"] - TRIALS
    print(f"\n{TRIALS} trials and {others} finals and controls in {seconds:.0f} s, by a coordinator and four workers")
    for what, count in sorted(faults.done.items()):
        print(f"  {count:3d} x {what}")
    for each in (faults.coordinator, *faults.workers):
        print(f"  {each.name}: started {each.starts} times, exit codes {each.codes}")
    print(f"  {figures['failed']} entries failed; {figures['attempts']} attempts that failed and were repeated")
    print("  every trial reported once, no run computed twice, no epoch lost; MLflow has the same entries")
    print("  the same trials are chosen as without faults")

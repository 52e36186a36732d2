"""A coordinator holds the study, repeats what failed, and writes the result; with a pool that computes nothing."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable

import pytest
from optuna.storages import BaseStorage

from bench.errors import BenchError
from bench.records.home import Home
from bench.records.run_folder import RunFolder
from bench.run import Run
from bench.scheduler import coordinator, shared_study
from bench.scheduler.coordinator import Coordinator
from bench.scheduler.failures import DIVERGED
from bench.scheduler.pool import Outcome, Pool
from bench.scheduler.stages import Stages
from bench.scheduler.storages import open_storage
from bench.scheduler.worker import Worker, journal
from bench.scheduler.worker_config import WorkerConfig
from bench.study.study import Study
from tests.bench.scheduler.jobs import pareto, record_run


def finished(run: Run) -> Outcome:
    return Outcome(run, "finished")


def diverged(run: Run) -> Outcome:
    return Outcome(run, "failed", DIVERGED, "the loss must stay finite")


class Instant(Pool):
    """A pool whose runs end at once: with a record, if they finish."""

    end: Callable[[Run], Outcome] = staticmethod(finished)

    def start(self, label: str, run: Run, *, keep_weights: bool = False) -> Outcome | None:
        outcome = self._cached(run, keep_weights) or self.end(run)
        if outcome.state == "finished" and not outcome.cached:
            record_run(run)
            (RunFolder(self.home.records.run(run.id)).path / "model.safetensors").touch()
        return self._ended(label, outcome)

    def poll(self) -> dict[str, Outcome]:
        return {}


def run(study: Study, end: Callable[[Run], Outcome] = finished) -> coordinator.Result:
    pool = Instant(Home())
    pool.end = end
    return Coordinator(study, Home(), pool).run()


def test_a_study_is_computed_once_and_its_result_written() -> None:
    study = pareto()
    result = run(study)
    assert result.computed == 4
    folder = Home().path / "studies" / study.name
    best = json.loads((folder / "best.json").read_text())
    assert [entry["number"] for entry in best["gradual/test_resnet"]] == [0]
    assert Home().records.study(study.name).finished
    again = run(study)
    assert again.computed == 0
    assert again.chosen == result.chosen


def test_finals_that_failed_are_tried_again_in_a_new_round() -> None:
    study = pareto()
    failed = run(study, lambda run: diverged(run) if run.test else finished(run))
    assert failed.failures == {"the loss must stay finite": 2}
    mended = run(study)
    assert mended.computed == 2
    assert not mended.failures


def test_finals_of_configurations_that_are_no_longer_chosen_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    run(pareto())
    study = pareto(trials=3)
    chosen = {"gradual/test_resnet": [2]}
    monkeypatch.setattr(type(study.kind), "choose", lambda self, *rest: chosen["gradual/test_resnet"])
    run(study)
    finals = [e.number for e in Home().records.entries(study.name) if e.kind == "final"]
    assert finals == [2]


def test_a_study_has_one_coordinator() -> None:
    study = pareto()
    folder = Home().path / "studies" / study.name
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BenchError, match=f"one coordinator.*`bench work {study.name}`"):
            run(study)


def test_a_study_whose_every_trial_fails_raises_the_reason() -> None:
    with pytest.raises(
        BenchError, match="one finished trial at least, but all 2 failed: 2 x the loss must stay finite"
    ):
        run(pareto(), diverged)


class Inline:
    """An engine whose one worker works when it is tended."""

    def __init__(self) -> None:
        self.stopped = False

    def start(self, config: WorkerConfig) -> None:
        self.config = config

    def tend(self) -> list[str]:
        home, name = Home(path=self.config.home), self.config.study
        shared = storage(home, name)
        stages = Stages(shared_study.find(shared, name), home, shared)
        return [f"{Worker(stages, Instant(home)).work()} jobs reported"]

    def alive(self) -> int:
        return 0

    def stop(self) -> None:
        self.stopped = True


def storage(home: Home, study: str) -> BaseStorage:
    return open_storage(home.storage, journal(home.records, study))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "LOOK_EVERY", 0.01)


def test_an_engine_s_workers_compute_the_study(quick: None) -> None:
    study, engine, said, seen = pareto(), Inline(), list[str](), list[str]()
    pool = Pool(Home(), watch=lambda label, kind, value: seen.append(label))
    result = Coordinator(study, Home(), pool, say=said.append, engine=engine).run()
    assert said == ["4 jobs reported"]
    assert result.computed == 4
    assert len(set(seen)) == 4
    assert engine.stopped
    assert engine.config.study == study.name

"""A worker's turns, with a pool that computes nothing: states of its jobs, storages that go away, leases that are lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from optuna.storages import InMemoryStorage

from bench.records.home import Home
from bench.records.run_folder import RunFolder
from bench.run import Run
from bench.scheduler import worker
from bench.scheduler.failures import DIVERGED, ELSEWHERE
from bench.scheduler.held_jobs import JobState
from bench.scheduler.job_queue import JobQueue
from bench.scheduler.pool import Outcome, Pool
from bench.scheduler.stages import Stages
from bench.scheduler.worker import Worker
from tests.bench.scheduler.jobs import compare, leased, pareto, record, stages_of


class Idle(Pool):
    """A pool whose runs end when the test says so."""

    def __post_init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.ends: dict[str, Outcome] = {}

    @property
    def free(self) -> int:
        return self.jobs - len(self.runs)

    @property
    def busy(self) -> set[str]:
        return {run.id for run in self.runs.values()}

    def start(self, label: str, run: Run, *, keep_weights: bool = False) -> Outcome | None:
        self.runs[label] = run
        return None

    def poll(self) -> dict[str, Outcome]:
        ended, self.ends = self.ends, {}
        for label in ended:
            self.cancel(label)
        return ended

    def cancel(self, label: str) -> None:
        self.runs.pop(label, None)

    def stop(self) -> None:
        self.runs.clear()


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker._STOP, "wait", lambda seconds: None)


def working(stages: Stages | None = None, slots: int = 1, **more: Any) -> tuple[Worker, Idle, list[str]]:
    said = list[str]()
    pool = Idle(Home(), jobs=slots)
    return Worker(stages or stages_of(pareto()), pool, said.append, name="me", **more), pool, said


def end(one: Worker, outcome: Callable[[Run], Outcome]) -> None:
    """Let the run of the first running job end in the next turn."""
    (held, *_) = one.held.in_state(JobState.RUNNING)
    assert isinstance(one.pool, Idle)
    one.pool.ends[held.label] = outcome(held.leased.planned.run)


def finished(run: Run) -> Outcome:
    return Outcome(run, "finished")


def states(one: Worker) -> list[JobState]:
    return [held.state for held in one.held._jobs]


def test_a_worker_fills_its_slots_and_reports_what_ends() -> None:
    one, pool, _ = working(slots=2)
    one._turn()
    assert states(one) == [JobState.RUNNING] * 2
    assert list(pool.runs) == ["gradual/test_resnet trial 0", "gradual/test_resnet trial 1"]
    record(one.held.active()[0].leased)
    end(one, finished)
    one._turn()
    assert states(one) == [JobState.ENDED, JobState.RUNNING]
    one._turn()
    assert states(one) == [JobState.RUNNING]  # no job is free until the other trial has ended
    assert (one.reported, one.computed) == (1, 1)
    entries = {e.number: e for e in Home().records.entries(one.stages.study.name)}
    assert [(n, e.state, e.values) for n, e in sorted(entries.items())] == [
        (0, "finished", (50.0, 0.5)),
        (1, "running", None),
    ]


def test_a_failed_run_is_reported_with_its_reason() -> None:
    one, _, _ = working()
    one._turn()
    end(one, lambda run: Outcome(run, "failed", DIVERGED, "the loss must stay finite"))
    one._turn()
    one._turn()
    (ended,) = one.stages.ended()
    assert (ended.finished, ended.reason) == (False, "the loss must stay finite")
    assert one.reported == 1


def test_a_refused_configuration_is_reported_without_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = stages_of(pareto())
    whole = stages.trials.planned
    monkeypatch.setattr(stages.trials, "planned", lambda *given: (whole(*given)[0], "refused"))
    one, pool, _ = working(stages)
    one.fill()
    assert states(one) == [JobState.ENDED]
    assert not pool.runs
    one.report()
    assert [job.reason for job in stages.ended()] == ["refused"]


def test_a_run_that_another_process_computes_is_parked_and_tried_again() -> None:
    one, pool, _ = working()
    one._turn()
    end(one, lambda run: Outcome(run, "failed", ELSEWHERE, "another process computes it"))
    one._turn()
    assert states(one) == [JobState.ENDED]
    run = one.held.active()[0].leased.planned.run
    folder = RunFolder(Home().records.run(run.id))
    with folder.lock():
        one._turn()
        assert states(one) == [JobState.PARKED]
        assert one.reported == 0
        one._turn()
        assert states(one) == [JobState.PARKED]
        assert not pool.runs
    one._turn()
    assert states(one) == [JobState.RUNNING]


def test_while_the_storage_is_away_outcomes_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    one, _, said = working()
    one._turn()
    record(one.held.active()[0].leased)
    end(one, finished)
    one._turn()

    def away(*given: object) -> bool:
        raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(JobQueue, "tell", away)
        for _ in range(2):
            one._turn()
    assert states(one) == [JobState.ENDED]
    one._turn()
    assert one.reported == 1
    assert [line.partition(" (")[0] for line in said] == ["the study's storage is away", "the study's storage is back"]


def test_a_job_that_another_worker_has_taken_over_is_dropped() -> None:
    stages = stages_of(pareto())
    one, pool, said = working(stages)
    one._turn()
    (held,) = one.held.active()
    held.leased.queue.release(held.leased.lease)
    assert leased(stages, "another").lease.number == 0
    one.heartbeat.beat(1)
    one.drop_lost()
    assert not one.held
    assert not pool.runs
    assert said == ["gradual/test_resnet trial 0: another worker has taken it over"]


def test_after_a_lease_without_heartbeats_runs_stop_and_their_jobs_are_released_and_leased_again() -> None:
    one, pool, said = working()
    one._turn()
    one.heartbeat.expired = True
    one._turn()
    assert states(one) == [JobState.LATE]
    assert not pool.runs
    assert not one.heartbeat.expired
    assert not one._is_done()  # it still has a lease to release
    one._turn()
    assert states(one) == [JobState.RUNNING]
    assert list(pool.runs) == ["gradual/test_resnet trial 0"]
    assert said[0].startswith("no heartbeat reached the storage during a whole lease")


def test_a_worker_that_ends_releases_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = stages_of(pareto())
    one, _, _ = working(stages)

    def interrupted() -> None:
        one.fill()
        raise KeyboardInterrupt

    monkeypatch.setattr(one, "_turn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one.work()
    assert leased(stages, "another").lease.number == 0


def test_a_whole_study_is_worked_through_by_two_workers() -> None:
    study, storage = compare(), InMemoryStorage()
    both = [working(stages_of(study, storage), slots=2)[0] for _ in range(2)]
    for number, one in enumerate(both):
        one.name = f"worker {number}"
    for _ in range(100):
        for one in both:
            if one._is_done():
                continue
            one._turn()
            for held in one.held.in_state(JobState.RUNNING):
                record(held.leased)
                one.pool.ends[held.label] = finished(held.leased.planned.run)  # type: ignore[attr-defined]
        if all(one._is_done() for one in both):
            break
    assert sum(one.reported for one in both) == 2 + 12 + 6 + 1
    kinds = [job.planned.kind for job in both[0].stages.ended() if job.finished]
    assert len(kinds) == 21
    assert both[0].reported
    assert both[1].reported

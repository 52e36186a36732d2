from __future__ import annotations

import time

import pytest

from bench.scheduler.heartbeat import Heartbeat
from bench.scheduler.stage_kinds import LeasedJob
from tests.bench.scheduler.jobs import leased, pareto, stages_of


@pytest.fixture(autouse=True)
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_LEASE", "1")


def beating(*jobs: LeasedJob) -> tuple[Heartbeat, list[str]]:
    """A heartbeat without threads, and what it halted."""
    halted = list[str]()
    return Heartbeat(lambda: list(jobs), lambda: halted.append("halted")), halted


def test_a_job_that_another_worker_has_is_lost_and_the_others_are_kept() -> None:
    stages = stages_of(pareto())
    lost, kept = leased(stages), leased(stages)
    lost.queue.release(lost.lease)
    assert leased(stages, "another").lease.number == lost.lease.number
    heartbeat, _ = beating(lost, kept)
    heartbeat.beat(1)
    assert heartbeat.take_lost() == [lost]
    assert heartbeat.take_lost() == []


def test_runs_are_halted_once_when_no_heartbeat_came_through_for_a_lease() -> None:
    heartbeat, halted = beating(leased(stages_of(pareto())))
    heartbeat.check()
    assert not heartbeat.expired
    time.sleep(1.1)
    heartbeat.check()
    heartbeat.check()
    assert heartbeat.expired
    assert halted == ["halted"]
    heartbeat.restart()
    heartbeat.check()
    assert not heartbeat.expired


def test_a_heartbeat_that_came_through_keeps_the_runs() -> None:
    heartbeat, halted = beating(leased(stages_of(pareto())))
    for count in range(3):
        time.sleep(0.5)
        heartbeat.beat(count)
        heartbeat.check()
    assert not halted


def test_without_jobs_nothing_is_halted() -> None:
    heartbeat, halted = beating()
    time.sleep(1.1)
    heartbeat.check()
    assert not halted


def test_a_storage_that_is_away_does_not_end_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    job = leased(stages_of(pareto()))
    calls = list[int]()

    def away(lease: object, count: int) -> bool:
        calls.append(count)
        raise ConnectionError

    monkeypatch.setattr(job.queue, "beat", away)
    heartbeat, halted = beating(job)
    heartbeat.start()
    until = time.monotonic() + 20
    while not (halted and len(calls) > 1) and time.monotonic() < until:
        time.sleep(0.1)
    heartbeat.stop()
    assert halted == ["halted"]
    assert len(calls) > 1

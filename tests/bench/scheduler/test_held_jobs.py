from __future__ import annotations

import pytest

from bench.scheduler.held_jobs import HeldJobs, JobState
from bench.scheduler.pool import Outcome
from tests.bench.scheduler.jobs import leased, pareto, stages_of


def test_a_job_goes_from_state_to_state_and_takes_a_slot_until_it_is_late() -> None:
    held, job = HeldJobs(), leased(stages_of(pareto()))
    one = held.add(job)
    assert held.in_state(JobState.PARKED) == [one]
    one.run()
    assert held.running("gradual/test_resnet trial 0") is one
    one.end(Outcome(job.planned.run, "finished"))
    assert held.in_state(JobState.ENDED) == [one]
    assert held.active() == [one]
    one.park()
    assert one.outcome is None
    one.miss()
    assert held.in_state(JobState.LATE) == [one]
    assert held.active() == []
    assert held.leased() == []  # no heartbeat for it any more
    assert len(held) == 1
    held.remove(one)
    assert not held


def test_only_running_jobs_are_found_by_their_label() -> None:
    held = HeldJobs()
    held.add(leased(stages_of(pareto())))
    with pytest.raises(StopIteration):
        held.running("gradual/test_resnet trial 0")

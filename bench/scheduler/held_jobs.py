"""The jobs that a worker has leased, each in one of four states.

PARKED -> RUNNING -> ENDED -> reported to the storage, and held no more
   ^--------------------'     (another process computes the run after all)
any    -> LATE             -> released, and held no more
any    -> lost to another worker: held no more at once
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bench.scheduler.pool import Outcome
from bench.scheduler.stage_kinds import LeasedJob


class JobState(Enum):
    """The state of a held job."""

    PARKED = "parked"
    """It waits, as another process computes the same run: two jobs may stand for one run, and a former owner may still run."""
    RUNNING = "running"
    """A trial process of this worker computes it."""
    ENDED = "ended"
    """It has an outcome, which the storage does not know yet."""
    LATE = "late"
    """Its run was stopped, as no heartbeat reached the storage for as long as a lease lasts; its lease is to be released."""


@dataclass(eq=False)
class HeldJob:
    """A leased job and its state; ``outcome`` is there when it is ENDED."""

    leased: LeasedJob
    state: JobState = JobState.PARKED
    outcome: Outcome | None = None

    @property
    def label(self) -> str:
        """The label of its run in the pool."""
        return self.leased.planned.label

    def run(self) -> None:
        """A trial process was started."""
        self.state = JobState.RUNNING

    def park(self) -> None:
        """Another process computes the run."""
        self.state, self.outcome = JobState.PARKED, None

    def end(self, outcome: Outcome) -> None:
        """The run has ended, or needs no process."""
        self.state, self.outcome = JobState.ENDED, outcome

    def miss(self) -> None:
        """The lease may have expired."""
        self.state, self.outcome = JobState.LATE, None


class HeldJobs:
    """All jobs that a worker holds. One thread changes it; others may call `leased`."""

    def __init__(self) -> None:
        self._jobs: list[HeldJob] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, leased: LeasedJob) -> HeldJob:
        """Hold a job that was just leased."""
        held = HeldJob(leased)
        self._jobs = [*self._jobs, held]
        return held

    def remove(self, held: HeldJob) -> None:
        """Hold a job no more."""
        self._jobs = [other for other in self._jobs if other is not held]

    def in_state(self, state: JobState) -> list[HeldJob]:
        """The jobs in one state, the longest held first."""
        return [held for held in self._jobs if held.state is state]

    def active(self) -> list[HeldJob]:
        """The jobs that take a slot: all but the late ones."""
        return [held for held in self._jobs if held.state is not JobState.LATE]

    def running(self, label: str) -> HeldJob:
        """The running job of a label."""
        return next(held for held in self.in_state(JobState.RUNNING) if held.label == label)

    def leased(self) -> list[LeasedJob]:
        """The leases to keep alive."""
        return [held.leased for held in self.active()]

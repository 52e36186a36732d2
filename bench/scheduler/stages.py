"""The stages of a study, in their order:

    dense models -> trials, cell by cell -> finals, baselines and controls -> controls that depend on finals

A stage opens when all jobs of the stage before it have ended. Any worker can open it, and all plan the same jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from optuna.storages import BaseStorage

from bench.records.home import Home
from bench.records.run_record import Metrics
from bench.scheduler import shared_study
from bench.scheduler.job_queue import JobQueue
from bench.scheduler.stage_kinds import (
    Context,
    ControlStage,
    DenseStage,
    EndedJob,
    FinalStage,
    LeasedJob,
    Stage,
    TrialStage,
)
from bench.study.planned import PlannedRun
from bench.study.study import Study


class Stages:
    """The stages of a study, of which one is open until all are over.

    ``expect`` is called with the number of jobs of a stage when it opens, except for the trials, whose number is known before.
    """

    def __init__(
        self, study: Study, home: Home, storage: BaseStorage, expect: Callable[[int], None] = lambda jobs: None
    ) -> None:
        """Open the first stage that has jobs."""
        context = Context(study, home, storage, shared_study.current_round(storage, study.name))
        self.study, self.home, self._expect = study, home, expect
        self.dense = DenseStage(context)
        self.trials = TrialStage(context)
        self.finals = FinalStage(context, self.dense, self.trials)
        self.controls = ControlStage(context, self.finals)
        self._following: list[Stage] = [self.dense, self.trials, self.finals, self.controls]
        self.open: Stage | None = None
        self._open_next()

    def advance(self) -> bool:
        """Open the next stages that have jobs, as long as all jobs of the open one have ended; returns whether one is open.

        Raises:
            BenchError: every trial failed, so that nothing can be chosen.
        """
        while self.open is not None and self.open.is_over():
            self._open_next()
        return self.open is not None

    def _open_next(self) -> None:
        while self._following:
            stage = self._following[0]
            jobs = stage.open()  # if this raises, the next call tries it again
            self._following.pop(0)
            if jobs:
                self.open = stage
                if stage is not self.trials:
                    self._expect(jobs)
                return
        self.open = None

    def queues(self) -> list[JobQueue]:
        """The queues of the open stage."""
        if self.open is None:
            return []
        return list(self.open.queues())

    def lease(self, owner: str) -> LeasedJob | None:
        """Lease the next free job of the open stage; returns None if no job is free now."""
        if self.open is None:
            return None
        return self.open.lease(owner)

    def ended(self) -> Iterator[EndedJob]:
        """The jobs that have ended, of the trials and of every other stage that was opened."""
        return chain.from_iterable(stage.ended() for stage in (self.trials, self.dense, self.finals, self.controls))

    def values(self, planned: PlannedRun, metrics: Metrics) -> list[float]:
        """The values that a finished job is reported with: of a trial, the study's objectives."""
        if planned.kind != "trial":
            return [metrics.val_top1]
        return self.study.kind.values(metrics, self.study.cost)

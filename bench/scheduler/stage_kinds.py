"""The four stages of a study: dense models, trials, finals, and the controls that depend on finals.

A stage plans its jobs when it opens. The plan depends on the study's declaration, on the results of the stages before it and on
the records only, so all workers plan the same jobs. A planned stage has one queue, whose name holds a digest of its jobs:
workers that plan other jobs (another version of the code, another number of trials) use another queue.
"""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from bench import registry, tasks
from bench.config import digest
from bench.errors import BenchError
from bench.method import Method
from bench.records.home import Home
from bench.records.study_record import Entry
from bench.scheduler.job_queue import JobQueue, Lease
from bench.scheduler.tuner import Tuner
from bench.study.cell import Cell
from bench.study.controls import derive
from bench.study.planned import PlannedRun, dense_runs, finals, start_of
from bench.study.study import Study


@dataclass(frozen=True)
class LeasedJob:
    """A run that this worker has leased. ``refusal``: why its configuration cannot run; it has failed without running."""

    planned: PlannedRun
    queue: JobQueue
    lease: Lease
    keep_weights: bool = True
    refusal: str = ""


@dataclass(frozen=True)
class EndedJob:
    """A job that was reported, with the reason if it failed."""

    planned: PlannedRun
    finished: bool
    reason: str


@dataclass(frozen=True)
class Context:
    """What all stages of a study share. ``round`` counts how often its failed or lost runs were tried again."""

    study: Study
    home: Home
    storage: BaseStorage
    round: int = 0


class Stage(Protocol):
    """One stage of a study. All its methods may raise the storage's errors."""

    def open(self) -> int:
        """Plan the jobs and create their queues; returns the number of jobs. May be called again after an error."""

    def queues(self) -> Sequence[JobQueue]:
        """The queues of the stage's jobs."""

    def is_over(self) -> bool:
        """Whether all jobs have ended."""

    def lease(self, owner: str) -> LeasedJob | None:
        """Lease the next free job; returns None if no job is free now."""

    def ended(self) -> Iterator[EndedJob]:
        """The jobs that have ended."""


class PlannedStage(abc.ABC):
    """A stage whose jobs are all known when it opens; they share one queue."""

    number: ClassVar[int]  # part of the queue's name

    def __init__(self, context: Context) -> None:
        self.context = context
        self.planned: list[PlannedRun] = []
        self.queue: JobQueue | None = None

    @abc.abstractmethod
    def plan(self) -> list[PlannedRun]:
        """The jobs of this stage."""

    def open(self) -> int:
        """See `Stage.open`."""
        planned = self.plan()
        if planned:
            name = f"{self.context.study.name}/stage-{self.number}-{self.context.round}-{_digest(planned)}"
            self.queue = JobQueue(self.context.storage, name, len(planned))
        self.planned = planned
        return len(planned)

    def queues(self) -> list[JobQueue]:
        """See `Stage.queues`."""
        return [] if self.queue is None else [self.queue]

    def is_over(self) -> bool:
        """See `Stage.is_over`."""
        return all(queue.is_over() for queue in self.queues())

    def lease(self, owner: str) -> LeasedJob | None:
        """See `Stage.lease`."""
        if self.queue is None:
            return None
        lease = self.queue.lease(owner)
        if lease is None:
            return None
        return LeasedJob(self.planned[lease.number], self.queue, lease)

    def ended(self) -> Iterator[EndedJob]:
        """See `Stage.ended`."""
        for queue in self.queues():
            for number, trial in sorted(queue.ended().items()):
                yield _ended(self.planned[number], trial)


class DenseStage(PlannedStage):
    """The dense models that all other runs start from; none where the study trains no dense models."""

    number = 0

    def plan(self) -> list[PlannedRun]:
        """The dense models of all seeds."""
        study = self.context.study
        if study.dense is None:
            return []
        return list(dense_runs(study, tuned=study.tuned))


class TrialStage:
    """The trials of each cell, with one queue per cell; none where the study tunes nothing."""

    def __init__(self, context: Context) -> None:
        self.context = context
        study = context.study
        self.cells = {cell.key: cell for cell in (*study.cells(), *study.baseline_cells())}
        self.tuners: dict[str, Tuner] = {}
        if study.tuned:
            self.tuners = {key: _tuner(context, cell) for key, cell in self.cells.items()}

    def open(self) -> int:
        """See `Stage.open`."""
        return sum(tuner.trials for tuner in self.tuners.values())

    def queues(self) -> list[JobQueue]:
        """See `Stage.queues`."""
        return [tuner.queue for tuner in self.tuners.values()]

    def is_over(self) -> bool:
        """See `Stage.is_over`."""
        return all(queue.is_over() for queue in self.queues())

    def lease(self, owner: str) -> LeasedJob | None:
        """See `Stage.lease`."""
        for key, tuner in self.tuners.items():
            if tuner.queue.is_over():
                continue
            leased = tuner.lease(owner)
            if leased is not None:
                lease, params = leased
                planned, refusal = self.planned(self.cells[key], lease.number, params)
                return LeasedJob(planned, tuner.queue, lease, keep_weights=False, refusal=refusal)
        return None

    def ended(self) -> Iterator[EndedJob]:
        """See `Stage.ended`."""
        for key, tuner in self.tuners.items():
            for number, trial in sorted(tuner.queue.ended().items()):
                planned, _ = self.planned(self.cells[key], number, dict(trial.params))
                yield _ended(planned, trial)

    def planned(self, cell: Cell, number: int, params: Mapping[str, Any]) -> tuple[PlannedRun, str]:
        """The run of a trial, and the reason if the method refuses this configuration."""
        study, refusal = self.context.study, ""
        try:
            run = cell.run(params, study.seed, start=start_of(study, cell, study.seed))
        except BenchError as error:
            run, refusal = cell.template.run(cell.base, cell.model, 0), str(error)
        return PlannedRun("trial", cell.key, number, run, params, (study.seed, study.seed)), refusal

    def choose(self) -> dict[str, list[Entry]]:
        """The entries of the trials that are chosen for the finals, by cell; depends on validation numbers only."""
        return {key: self._chosen(self.cells[key], tuner) for key, tuner in self.tuners.items()}

    def _chosen(self, cell: Cell, tuner: Tuner) -> list[Entry]:
        study, results = self.context.study, tuner.results()
        picked = study.kind.choose([values for *_, values in results], study.finals, self._chance)
        found = []
        for number, params, values in (results[i] for i in picked):
            planned, _ = self.planned(cell, number, params)
            found.append(planned.entry(planned.run, "finished", values))
        return found

    def _chance(self) -> float:
        """The accuracy of guessing, in per cent."""
        return 100 / tasks.info(self.context.study.task, self.context.home.data).classes


class FinalStage(PlannedStage):
    """The chosen configurations with the final seeds, the baselines and the controls."""

    number = 2

    def __init__(self, context: Context, dense: DenseStage, trials: TrialStage) -> None:
        super().__init__(context)
        self.dense, self.trials = dense, trials
        self.chosen: dict[str, list[Entry]] = {}  # entries of the chosen trials, by cell

    def plan(self) -> list[PlannedRun]:
        """Choose the configurations and plan their finals.

        Raises:
            BenchError: every trial failed, so that nothing can be chosen.
        """
        tuners = self.trials.tuners.values()
        if tuners and not any(tuner.results() for tuner in tuners):
            ended = (*self.trials.ended(), *self.dense.ended())
            raise all_failed("trial", [job.reason for job in ended if job.reason])
        self.chosen = self.trials.choose()
        return list(finals(self.context.study, self.chosen))


class ControlStage(PlannedStage):
    """The controls that depend on the finished finals: they train in the shape or with the zeros of a final."""

    number = 3

    def __init__(self, context: Context, finals: FinalStage) -> None:
        super().__init__(context)
        self.finals = finals

    def plan(self) -> list[PlannedRun]:
        """The controls of every finished final for which they make sense."""
        study, found = self.context.study, list[PlannedRun]()
        if not study.derived:
            return found
        plain: Method[Any] = registry.load(registry.METHODS, study.controls[0]).METHOD()
        finished = [job.planned for job in self.finals.ended() if job.finished and job.planned.kind == "final"]
        for name in study.derived:
            for final in finished:
                found += self._controls(name, plain, final)
        return found

    def _controls(self, name: str, plain: Method[Any], final: PlannedRun) -> list[PlannedRun]:
        home, run = self.context.home, final.run
        if home.remote is not None:
            home.remote.pull_run(home.path, run.id)
        record = home.records.record(run.id)
        if record is None or not record.finished:
            return []
        control = derive(name, run, record, plain, self.context.study.scratch)
        if control is None:
            return []
        method = run.method.name
        of = method + final.cell.removeprefix(f"{method}/{run.model}").replace(":", " ")
        cell = f"{name}/{run.model}:{of}"
        return [PlannedRun("baseline", cell, final.number, control, {"of": run.id}, final.seeds, final.cell)]


def all_failed(kind: str, reasons: Sequence[str]) -> BenchError:
    """The error of a study whose runs of a kind have all failed, with the most frequent reasons."""
    shown = "; ".join(f"{count} x {reason}" for reason, count in Counter(reasons).most_common(3))
    return BenchError(f"a study needs one finished {kind} at least, but all {len(reasons)} failed: {shown}")


def _tuner(context: Context, cell: Cell) -> Tuner:
    study = context.study
    return Tuner(
        context.storage,
        f"{study.name}/{cell.key}",
        cell.space,
        study.directions,
        default=cell.default,
        sampler=study.sampler,
        seed=study.seed,
        trials=cell.trials,
        size=study.generation,
    )


def _ended(planned: PlannedRun, trial: FrozenTrial) -> EndedJob:
    return EndedJob(planned, trial.values is not None, str(trial.user_attrs.get("reason") or ""))


def _digest(planned: Sequence[PlannedRun]) -> str:
    return digest({"": repr([(n.kind, n.cell, n.number, n.seeds, n.run.id) for n in planned])})[:8]

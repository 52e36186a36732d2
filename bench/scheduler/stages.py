"""What a study has to compute, in stages, each a list of tasks on the storage that its workers share.

    dense models to start from -> trials, cell by cell -> finals, baselines and controls -> controls that follow from finals

A stage begins when all tasks of the one before it have ended, and its tasks follow from the declaration, from what was told
and from the records; so any worker can say what comes next, and all say the same. A stage's list is named by a digest of its
tasks: whoever sees other tasks (another version of the code, more trials) works on another list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.storages import BaseStorage

from bench import registry, tasks
from bench.config import digest
from bench.errors import BenchError, MissingData
from bench.method import Method
from bench.protocol import PROTOCOL
from bench.records.home import Home
from bench.records.run_record import Metrics
from bench.records.study_record import Entry
from bench.scheduler.job_queue import JobQueue, Lease
from bench.scheduler.tuner import Tuner
from bench.study.cell import Cell
from bench.study.controls import derive
from bench.study.planned import PlannedRun, dense_runs, finals, start_of
from bench.study.study import Study

DECLARED, ROUND, VERSION = "study", "round", "protocol"


@dataclass(frozen=True)
class Job:
    """A task that this worker has claimed. ``error``: its configuration is refused, so it has failed before it ran."""

    planned: PlannedRun
    queue: JobQueue
    claim: Lease
    keep: bool = True
    error: str = ""


@dataclass
class Stages:
    """The stages of a study. ``expect`` is told how many tasks a stage has besides the trials, when it begins."""

    study: Study
    home: Home
    storage: BaseStorage
    expect: Callable[[int], None] = lambda more: None
    chosen: dict[str, list[Entry]] = field(default_factory=dict)
    _planned: list[tuple[JobQueue, list[PlannedRun]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.round = int(_root(self.storage, self.study.name).user_attrs.get(ROUND, 0))
        self.cells = {cell.key: cell for cell in self.study.cells()}
        self.tuners = self._tuners()
        openers = (self._begun, None, self._finals, self._following)
        self._openers: list[Callable[[], list[PlannedRun]] | None] = list(openers)
        self._stage = -1
        self._next()

    def _tuners(self) -> dict[str, Tuner]:
        study = self.study
        if not study.tuned:
            return {}
        return {
            cell.key: Tuner(
                self.storage,
                f"{study.name}/{cell.key}",
                cell.space,
                study.directions,
                default=cell.base.to_dict(),
                sampler=study.sampler,
                seed=study.seed,
                trials=cell.trials,
                size=study.generation,
            )
            for cell in self.cells.values()
        }

    def _next(self) -> None:
        """Go to the next stage that has tasks."""
        while self._stage < len(self._openers):
            self._stage += 1
            if self._stage == len(self._openers):
                return
            opener = self._openers[self._stage]
            if opener is None and self.tuners:
                return
            planned_runs = opener() if opener is not None else []
            if planned_runs:
                name = f"{self.study.name}/stage-{self._stage}-{self.round}-{_digest(planned_runs)}"
                self._planned.append((JobQueue(self.storage, name, len(planned_runs)), planned_runs))
                self.expect(len(planned_runs))
                return

    @property
    def over(self) -> bool:
        """Whether nothing is left; where a stage has ended, the next one begins.

        Raises:
            BenchError: every trial failed, so that nothing can be chosen.
        """
        while self._stage < len(self._openers):
            trials = self._openers[self._stage] is None
            queues = [t.queue for t in self.tuners.values()] if trials else [self._planned[-1][0]]
            if not all(queue.over for queue in queues):
                return False
            self._next()
        return True

    def queues(self) -> list[JobQueue]:
        """The lists of the stage that goes on."""
        if self._stage >= len(self._openers):
            return []
        if self._openers[self._stage] is None:
            return [tuner.queue for tuner in self.tuners.values()]
        return [self._planned[-1][0]]

    def claim(self, owner: str) -> Job | None:
        """A task that no worker has; None where there is none now (ask `over` whether there will be)."""
        if self._stage >= len(self._openers):
            return None
        if self._openers[self._stage] is not None:
            queue, planned_runs = self._planned[-1]
            claim = queue.claim(owner)
            return None if claim is None else Job(planned_runs[claim.number], queue, claim)
        for key, tuner in self.tuners.items():
            found = None if tuner.queue.over else tuner.claim(owner)
            if found is not None:
                planned, error = self._trial(self.cells[key], found[0].number, found[1])
                return Job(planned, tuner.queue, found[0], keep=False, error=error)
        return None

    def told(self) -> Iterator[tuple[PlannedRun, bool, str, str]]:
        """All tasks that have ended so far: what they are, whether they went well, the id of their run and the reason."""
        for key, tuner in self.tuners.items():
            for number, trial in sorted(tuner.queue.ended().items()):
                planned, _ = self._trial(self.cells[key], number, {k: trial.params[k] for k in trial.params})
                yield planned, trial.values is not None, *_run_and_reason(trial, planned)
        for queue, planned_runs in self._planned:
            for number, trial in sorted(queue.ended().items()):
                yield planned_runs[number], trial.values is not None, *_run_and_reason(trial, planned_runs[number])

    def values(self, planned: PlannedRun, metrics: Metrics) -> list[float]:
        """What a task that is finished is told with."""
        if planned.kind != "trial":
            return [metrics.val_top1]
        return self.study.kind.values(metrics, self.study.cost)

    def _trial(self, cell: Cell, number: int, params: Mapping[str, Any]) -> tuple[PlannedRun, str]:
        """A trial, and why its method refuses this combination, if it does."""
        seed = self.study.seed
        try:
            run, error = cell.run(params, seed, start=start_of(self.study, cell, seed)), ""
        except BenchError as refusal:
            run, error = cell.template.run(cell.base, cell.model, 0), str(refusal)
        return PlannedRun("trial", cell.key, number, run, params, (seed, seed)), error

    def _begun(self) -> list[PlannedRun]:
        return list(dense_runs(self.study, tuned=bool(self.tuners))) if self.study.dense is not None else []

    def _finals(self) -> list[PlannedRun]:
        if self.tuners and not any(tuner.results() for tuner in self.tuners.values()):
            raise all_failed("trial", [reason for *_, reason in self.told() if reason])
        self.chosen = {key: self._choose(self.cells[key], tuner) for key, tuner in self.tuners.items()}
        return list(finals(self.study, self.chosen))

    def _choose(self, cell: Cell, tuner: Tuner) -> list[Entry]:
        """The configurations that go to the finals: a function of validation numbers only."""
        results = tuner.results()
        picked = self.study.kind.choose([values for *_, values in results], self.study.finals, self._chance)
        found = []
        for number, params, values in (results[i] for i in picked):
            planned, _ = self._trial(cell, number, params)
            found.append(planned.entry(planned.run, "finished", values))
        return found

    def _chance(self) -> float:
        """The accuracy of guessing, in per cent."""
        return 100 / tasks.info(self.study.task, self.home.data).classes

    def _following(self) -> list[PlannedRun]:
        """The controls that follow from the finals that are finished."""
        made = list[PlannedRun]()
        for name in self.study.derived:
            plain: Method[Any] = registry.load(registry.METHODS, self.study.controls[0]).METHOD()
            queue, planned_runs = self._planned[-1]
            for number in sorted(n for n, trial in queue.ended().items() if trial.values is not None):
                if planned_runs[number].kind == "final":
                    made += self._derived(name, plain, planned_runs[number])
        return made

    def _derived(self, name: str, plain: Method[Any], n: PlannedRun) -> list[PlannedRun]:
        remote = self.home.remote
        if remote is not None:
            remote.pull_run(self.home.path, n.run.id)
        record = self.home.records.record(n.run.id)
        if record is None or not record.finished:
            return []
        run = derive(name, n.run, record, plain, self.study.scratch)
        if run is None:
            return []
        whose = n.run.method.name + n.cell.removeprefix(f"{n.run.method.name}/{n.run.model}").replace(":", " ")
        return [
            PlannedRun("baseline", f"{name}/{n.run.model}:{whose}", n.number, run, {"of": n.run.id}, n.seeds, n.cell)
        ]


def all_failed(kind: str, reasons: Sequence[str]) -> BenchError:
    """The error of a study of which nothing came."""
    counted = sorted({r: reasons.count(r) for r in reasons}.items(), key=lambda item: -item[1])
    shown = "; ".join(f"{n} x {reason}" for reason, n in counted[:3])
    return BenchError(f"a study needs one finished {kind} at least, but all {len(reasons)} failed: {shown}")


def _run_and_reason(trial: optuna.trial.FrozenTrial, planned: PlannedRun) -> tuple[str, str]:
    return str(trial.user_attrs.get("run", planned.run.id)), str(trial.user_attrs.get("reason") or "")


def _digest(planned_runs: Sequence[PlannedRun]) -> str:
    return digest({"": repr([(n.kind, n.cell, n.number, n.seeds, n.run.id) for n in planned_runs])})[:8]


def _root(storage: BaseStorage, name: str) -> optuna.Study:
    return optuna.create_study(storage=storage, study_name=name, load_if_exists=True)


def declare(storage: BaseStorage, study: Study, *, again: bool = False) -> None:
    """Write a study where its workers find it. ``again``: a new round, in which what failed or was lost is tried again."""
    root = _root(storage, study.name)
    before = root.user_attrs
    for key, value in ((DECLARED, study.to_dict()), (VERSION, PROTOCOL)):
        if before.get(key) != value:
            root.set_user_attr(key, value)
    if again:
        root.set_user_attr(ROUND, int(before.get(ROUND, 0)) + 1)


def declared(storage: BaseStorage, name: str) -> Study:
    """The study of a name, from the storage that its workers share.

    Raises:
        MissingData: nobody has declared it there.
        BenchError: it was declared by another version of the protocol.
    """
    found = sorted(s.study_name for s in storage.get_all_studies() if DECLARED in s.user_attrs)
    if name not in found:
        shown = ", ".join(found) or "none"
        raise MissingData(
            f"a worker needs a study that was begun, but the storage has no {name!r}; begin it with `bench study`, or with the "
            f"same BENCH_HOME and BENCH_OPTUNA as there; begun here: {shown}"
        )
    attributes = _root(storage, name).user_attrs
    if attributes.get(VERSION) != PROTOCOL:
        raise BenchError(
            f"workers of a study have one protocol, but {name} was begun with {attributes.get(VERSION)}, and this is "
            f"{PROTOCOL}; install the same version of the suite"
        )
    return Study.from_dict(attributes[DECLARED])

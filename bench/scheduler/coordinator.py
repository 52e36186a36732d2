"""How a study is answered: it is declared, workers work until nothing is left, and its end is written down.

What there is to compute, and in which order, is `bench.scheduler.stages`'s; `bench.scheduler.worker` is a worker.
Here is what one process does: it
holds the study, and is its first worker or starts others (`bench.scheduler.engines`). Whatever was computed is found
again by its run's id, so the same command goes on where it stopped and computes nothing twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench.errors import BenchError, Corrupt
from bench.records.files import write_json
from bench.records.home import Home
from bench.records.run_record import FAILED
from bench.records.study_record import FINAL, TRIAL, Entry
from bench.scheduler import stages
from bench.scheduler.pool import Outcome, Pool
from bench.scheduler.stages import Stages, all_failed
from bench.scheduler.storages import open_storage, transient
from bench.scheduler.worker import Worker, WorkerConfig, journal
from bench.study.declaration import declaration
from bench.study.study import Study

if TYPE_CHECKING:
    from bench.scheduler.engines.base import Engine

LOOK_EVERY = 1.0  # seconds between two looks at what other workers have done
GATHER_EVERY, GATHER_SHARE = (
    15.0,
    20.0,
)  # seconds between two times that their records are fetched, or 20 times what that takes


@dataclass
class Result:
    """What a study came to."""

    name: str
    chosen: dict[str, list[Entry]] = field(default_factory=dict)  # by cell: entries of the chosen trials
    failures: Counter[str] = field(default_factory=Counter)  # reasons of the entries that failed
    computed: int = 0  # runs that were not on record before


@dataclass
class Coordinator:
    """Carries a study out, by itself or with an engine's workers. ``expect`` is told how many more runs than the trials there
    will be; ``say`` what a person should know meanwhile."""

    study: Study
    home: Home
    pool: Pool
    expect: Callable[[int], None] = lambda more: None
    say: Callable[[str], None] = lambda text: None
    engine: Engine | None = None
    _gather_at: float = 0.0

    def conduct(self) -> Result:
        """All trials, the choice, all finals.

        Raises:
            BenchError: every trial failed, or every run of a grid (with the reasons), the study is held by another process,
                the disk is full, or no worker can be started.
            KeyboardInterrupt: after Ctrl-C; everything finished is kept.
        """
        with self._hold():
            storage = open_storage(self.home.storage, journal(self.home.records, self.study.name))
            again = self._again()
            self._declare(None)
            stages.declare(storage, self.study, again=again)
            work = Stages(self.study, self.home, storage, self.expect)
            worker = Worker(work, self.pool, self.say)
            computed = self._lead(work, self.engine) if self.engine is not None else worker.work() and worker.computed
            self._gather()
            self._forget_former(work)
            result = Result(self.study.name, work.chosen, self._failures(), computed)
            if not work.tuners:
                self._require_final()
            self._declare(work)
            if work.tuners:
                best = {cell: [entry.to_json() for entry in entries] for cell, entries in result.chosen.items()}
                write_json(self.home.path / "studies" / self.study.name / "best.json", best)
            return result

    def _lead(self, work: Stages, engine: Engine) -> int:
        """Start workers and look after them until nothing is left; returns how many tasks they told."""
        config = WorkerConfig(self.study.name, self.home.path, self.home.data, 1)
        config = replace(config, hang_seconds=self.pool.hang_seconds, checkpoint_seconds=self.pool.checkpoint_seconds)
        before = {planned.label for planned, *_ in work.told()}
        known = set(before)
        engine.start(replace(config, device=self.pool.device))
        try:
            while not self._look(work, known):
                for line in engine.tend():
                    self.say(line)
                if self._due():
                    self._gather(last=False)
                time.sleep(LOOK_EVERY)
        finally:
            engine.stop()
        return len(known - before)

    def _look(self, work: Stages, known: set[str]) -> bool:
        """Tell what has ended since the last look; whether nothing is left."""
        try:
            over = work.over
            for planned, well, run, reason in work.told():
                if planned.label not in known:
                    known.add(planned.label)
                    outcome = Outcome(planned.run, "finished" if well else "failed", "", reason)
                    self.pool.watch(planned.label, "ended", replace(outcome, run=planned.run) if run else outcome)
        except Exception as error:
            if not transient(error):
                raise
            return False
        return over

    def _due(self) -> bool:
        """Whether it is time to fetch what workers have sent."""
        return time.monotonic() > self._gather_at

    def _gather(self, *, last: bool = True) -> None:
        """Fetch the entries and records of workers that have homes of their own; weights only when nothing is left."""
        if (remote := self.home.remote) is None:
            return
        began = time.monotonic()
        try:
            remote.push_study(self.home.path, self.study.name)
            remote.pull(self.home.path, (self.study.name,), weights=last)
        except BenchError as error:
            self.say(f"{error}; it is fetched later, or by `bench pull`")
        took = time.monotonic() - began
        self._gather_at = time.monotonic() + max(GATHER_EVERY, GATHER_SHARE * took)

    @contextlib.contextmanager
    def _hold(self) -> Iterator[None]:
        folder = self.home.path / "studies" / self.study.name
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BenchError(
                    f"one process conducts a study, but another holds {self.study.name!r}; wait for it, stop it, or help "
                    f"it with `bench work {self.study.name}`"
                ) from None
            yield

    def _again(self) -> bool:
        """Whether the study came to its end before, but with runs besides the trials that failed, or that are lost."""
        with contextlib.suppress(Corrupt):
            if not self._begun() or not self.home.records.study(self.study.name).finished:
                return False
        entries = [e for e in self.home.records.entries(self.study.name) if e.kind != TRIAL]
        return any(e.state == FAILED or not self._kept(e.run) for e in entries)

    def _begun(self) -> bool:
        return self.study.name in self.home.records.studies()

    def _kept(self, run: str) -> bool:
        folder = self.home.records.run(run)
        return (folder / "record.json").exists() and (folder / "model.safetensors").exists()

    def _require_final(self) -> None:
        found = [e for e in self.home.records.entries(self.study.name) if e.kind == FINAL]
        if not any(e.finished for e in found):
            raise all_failed("final", [str(e.reason) for e in found])

    def _failures(self) -> Counter[str]:
        entries = self.home.records.entries(self.study.name)
        return Counter(str(e.reason) for e in entries if e.state == FAILED)

    def _forget_former(self, work: Stages) -> None:
        """Finals of configurations that more trials have replaced are no part of the study's answer any more."""
        chosen = {(planned.cell, planned.number) for planned, *_ in work.told() if planned.kind == "final"}
        for entry in list(self.home.records.entries(self.study.name)):
            if entry.kind == FINAL and (entry.cell, entry.number) not in chosen:
                self.home.records.drop_entry(self.study.name, entry)

    def _declare(self, done: Stages | None) -> None:
        """Write study.json; that of a frozen study is what it was when it started, or it is refused."""
        study, tuners = self.study, done.tuners if done is not None else {}
        importances = {key: tuner.importances(study.objectives) for key, tuner in tuners.items()}
        told = declaration(study, importances, state="running" if done is None else "finished")
        before = self.home.records.study(study.name).frozen if study.frozen and self._begun() else told.frozen
        if before != told.frozen:
            raise BenchError(
                f"a study is frozen when it starts, but {study.name} was started with another declaration ({before}, now "
                f"{told.frozen}): defaults or spaces have changed since; go back to that version, or rename its folder"
            )
        self.home.records.write_study(told)

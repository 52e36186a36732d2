"""The coordinator of a study: the process that declares it, has its runs computed, and writes down its result.

`bench.scheduler.stages` says which runs, and in which order; the coordinator is the first worker (`bench.scheduler.worker`), or
starts workers elsewhere (`bench.scheduler.engines`). Finished runs are found by their ids, so the same command continues where
it stopped, and computes nothing twice.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError, Corrupt
from bench.records.files import locked, write_json
from bench.records.home import Home
from bench.records.run_record import FAILED
from bench.records.study_record import FINAL, TRIAL, Entry
from bench.scheduler import shared_study
from bench.scheduler.engines.base import Engine
from bench.scheduler.pool import Outcome, Pool
from bench.scheduler.stage_kinds import EndedJob, all_failed
from bench.scheduler.stages import Stages
from bench.scheduler.storage_errors import transient
from bench.scheduler.storages import open_storage
from bench.scheduler.worker import Worker, journal
from bench.scheduler.worker_config import WorkerConfig
from bench.study.declaration import declaration
from bench.study.study import Study

LOOK_EVERY = 1.0  # seconds between two looks at what other workers have reported
FETCH_EVERY, FETCH_SHARE = 15.0, 20.0  # records are fetched every 15 s at most, and for 1/20 of the time at most


@dataclass
class Result:
    """The result of a study."""

    name: str
    chosen: dict[str, list[Entry]] = field(default_factory=dict)  # by cell: entries of the chosen trials
    failures: Counter[str] = field(default_factory=Counter)  # reasons of the entries that failed
    computed: int = 0  # runs that were not on record before


@dataclass
class Coordinator:
    """Carries out a study in this process, or with the workers of an engine.

    ``expect`` is called with the number of further runs when it becomes known, and ``say`` with lines for the user.
    """

    study: Study
    home: Home
    pool: Pool
    expect: Callable[[int], None] = lambda more: None
    say: Callable[[str], None] = lambda text: None
    engine: Engine | None = None
    _fetch_at: float = 0.0

    @property
    def folder(self) -> Path:
        """The study's folder in the home."""
        return self.home.path / "studies" / self.study.name

    def run(self) -> Result:
        """Compute all trials, choose, and compute all finals and controls.

        Raises:
            BenchError: every trial failed, or every final of a study without trials (with the reasons), another process holds
                the study, the disk is full, or no worker can be started.
            KeyboardInterrupt: after Ctrl-C; everything finished is kept.
        """
        with self._hold():
            storage = open_storage(self.home.storage, journal(self.home.records, self.study.name))
            again = self._is_to_repeat()
            self._write_declaration(None)
            shared_study.publish(storage, self.study, again=again)
            stages = Stages(self.study, self.home, storage, self.expect)
            computed = self._compute(stages)
            self._fetch()
            self._drop_replaced_finals(stages)
            result = Result(self.study.name, stages.finals.chosen, self._failures(), computed)
            tuned = bool(stages.trials.tuners)
            if not tuned:
                self._require_final()
            self._write_declaration(stages)
            if tuned:
                best = {cell: [entry.to_json() for entry in entries] for cell, entries in result.chosen.items()}
                write_json(self.folder / "best.json", best)
            return result

    def _compute(self, stages: Stages) -> int:
        """Have all runs computed; returns how many were not on record before."""
        if self.engine is not None:
            return self._lead(stages, self.engine)
        worker = Worker(stages, self.pool, self.say)
        worker.work()
        return worker.computed

    def _lead(self, stages: Stages, engine: Engine) -> int:
        """Start an engine's workers and tend them until no job is left; returns the number of jobs that they reported."""
        config = WorkerConfig(
            self.study.name,
            self.home.path,
            self.home.data,
            device=self.pool.device,
            hang_seconds=self.pool.hang_seconds,
            checkpoint_seconds=self.pool.checkpoint_seconds,
        )
        before = {job.planned.label for job in stages.ended()}
        known = set(before)
        engine.start(config)
        try:
            while self._look(stages, known):
                for line in engine.tend():
                    self.say(line)
                if time.monotonic() > self._fetch_at:
                    self._fetch(weights=False)
                time.sleep(LOOK_EVERY)
        finally:
            engine.stop()
        return len(known - before)

    def _look(self, stages: Stages, known: set[str]) -> bool:
        """Show the jobs that have ended since the last look; returns whether jobs are left."""
        try:
            left = stages.advance()
            for job in stages.ended():
                if job.planned.label not in known:
                    known.add(job.planned.label)
                    self.pool.watch(job.planned.label, "ended", _outcome(job))
        except Exception as error:
            if not transient(error):
                raise
            return True
        return left

    def _fetch(self, *, weights: bool = True) -> None:
        """Fetch entries and records of workers with homes of their own; weights are large, and wait until no job is left."""
        remote = self.home.remote
        if remote is None:
            return
        began = time.monotonic()
        try:
            remote.push_study(self.home.path, self.study.name)
            remote.pull(self.home.path, (self.study.name,), weights=weights)
        except BenchError as error:
            self.say(f"{error}; it is fetched later, or by `bench pull`")
        ended = time.monotonic()
        self._fetch_at = ended + max(FETCH_EVERY, FETCH_SHARE * (ended - began))

    def _hold(self) -> contextlib.AbstractContextManager[None]:
        """Keep other coordinators from the study."""
        refusal = BenchError(
            f"a study has one coordinator, but another process holds {self.study.name!r}; wait for it, stop it, or "
            f"start a worker for it with `bench work {self.study.name}`"
        )
        return locked(self.folder / ".lock", refusal)

    def _is_to_repeat(self) -> bool:
        """Whether the study was finished before, but runs other than trials had failed, or were lost since."""
        with contextlib.suppress(Corrupt):
            if not self._is_declared() or not self.home.records.study(self.study.name).finished:
                return False
        entries = [e for e in self.home.records.entries(self.study.name) if e.kind != TRIAL]
        return any(e.state == FAILED or not self._is_kept(e.run) for e in entries)

    def _is_declared(self) -> bool:
        return self.study.name in self.home.records.studies()

    def _is_kept(self, run: str) -> bool:
        folder = self.home.records.run(run)
        return (folder / "record.json").exists() and (folder / "model.safetensors").exists()

    def _require_final(self) -> None:
        found = [e for e in self.home.records.entries(self.study.name) if e.kind == FINAL]
        if not any(e.finished for e in found):
            raise all_failed(FINAL, [str(e.reason) for e in found])

    def _failures(self) -> Counter[str]:
        entries = self.home.records.entries(self.study.name)
        return Counter(str(e.reason) for e in entries if e.state == FAILED)

    def _drop_replaced_finals(self, stages: Stages) -> None:
        """Drop the entries of finals whose configuration is no longer chosen, as there are more trials now."""
        chosen = {(job.planned.cell, job.planned.number) for job in stages.ended() if job.planned.kind == FINAL}
        for entry in list(self.home.records.entries(self.study.name)):
            if entry.kind == FINAL and (entry.cell, entry.number) not in chosen:
                self.home.records.drop_entry(self.study.name, entry)

    def _write_declaration(self, done: Stages | None) -> None:
        """Write study.json; refuses a frozen study whose declaration differs from the one that it was started with."""
        study = self.study
        importances = dict[str, dict[str, dict[str, float]]]()
        if done is not None:
            importances = {key: tuner.importances(study.objectives) for key, tuner in done.trials.tuners.items()}
        declared = declaration(study, importances, state="running" if done is None else "finished")
        if study.frozen and self._is_declared():
            before = self.home.records.study(study.name).frozen
            if before != declared.frozen:
                raise BenchError(
                    f"a study is frozen when it starts, but {study.name} was started with another declaration ({before}, now "
                    f"{declared.frozen}): defaults or spaces have changed since; go back to that version, or rename its "
                    "folder"
                )
        self.home.records.write_study(declared)


def _outcome(job: EndedJob) -> Outcome:
    return Outcome(job.planned.run, "finished" if job.finished else "failed", "", job.reason)

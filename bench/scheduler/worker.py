"""A worker: it leases jobs of a study, computes a few runs in parallel, each in a trial process, and reports their results.

    lease -> run (`bench.scheduler.pool`) -> record, entry -> report; heartbeats meanwhile (`bench.scheduler.heartbeat`)

A worker may join and leave at any time, and may be killed. While the storage is away its runs continue; if no heartbeat reached
the storage for as long as a lease lasts, it stops its runs at a checkpoint, as another worker may take them over soon.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.records.folder import Folder
from bench.records.home import Home
from bench.records.run_folder import RunFolder
from bench.scheduler import shared_study
from bench.scheduler.failures import ELSEWHERE
from bench.scheduler.heartbeat import Heartbeat
from bench.scheduler.held_jobs import HeldJob, HeldJobs, JobState
from bench.scheduler.job_queue import worker_name
from bench.scheduler.outbox import Outbox
from bench.scheduler.pool import Outcome, Pool
from bench.scheduler.stages import Stages
from bench.scheduler.storage_errors import TransientErrors
from bench.scheduler.storages import lease_times, open_storage
from bench.scheduler.worker_config import WorkerConfig

IDLE = 0.5, 5.0  # seconds between two looks at a storage without a free job: at first, and at most
_STOP = threading.Event()


def ask_to_stop() -> None:
    """Ask the worker of this process to stop: its runs write checkpoints, from which other workers can continue."""
    _STOP.set()


class Worker:
    """A worker with as many runs at a time as its pool has slots.

    ``reported`` counts the jobs that it has reported, and ``computed`` those of them that were not on record before.
    """

    def __init__(
        self, stages: Stages, pool: Pool, say: Callable[[str], None] = lambda text: None, name: str | None = None
    ) -> None:
        self.stages, self.pool, self.say = stages, pool, say
        self.name = name or worker_name()
        self.reported = self.computed = 0
        self.held = HeldJobs()
        self.heartbeat = Heartbeat(self.held.leased, pool.halt)
        self._outbox = Outbox(stages.home, stages.study.name)
        self._errors = TransientErrors(say, _STOP.wait)
        self._idle = IDLE[0]
        self._expired_at = 0.0  # when this worker last looked for dead workers

    def work(self) -> int:
        """Work until no job is left, or until `ask_to_stop`; returns the number of jobs that it has reported.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once every run has written its checkpoint.
            BenchError: the disk is full, or every trial of the study failed.
        """
        self.heartbeat.start()
        try:
            while not _STOP.is_set() and not self._is_done():
                self._turn()
        finally:
            self.heartbeat.stop()
            self.pool.stop()
            self._release_all()
            self._outbox.send()
        return self.reported

    def _is_done(self) -> bool:
        if self.held:
            return False
        done = False
        with self._errors.retried_later():
            done = not self.stages.advance()
        return done

    def _turn(self) -> None:
        """One turn of the loop: report, lease, and wait for messages of the runs."""
        with self._errors.retried_later():
            self.report()
            self.drop_lost()
            self.release_late()
            self._expire()
            self.fill()
        self._outbox.send()
        if self.heartbeat.expired:
            self.stop_late()
        for label, outcome in self.pool.poll().items():
            self.held.running(label).end(outcome)
        if not self.held.active():
            _STOP.wait(self._idle)
            self._idle = min(1.5 * self._idle, IDLE[1])

    def report(self) -> None:
        """Report the outcomes of all jobs that have ended; park those that another process computes."""
        for held in self.held.in_state(JobState.ENDED):
            assert held.outcome is not None
            if held.outcome.kind == ELSEWHERE:
                held.park()
            else:
                self._report(held, held.outcome)
                self.held.remove(held)

    def _report(self, held: HeldJob, outcome: Outcome) -> None:
        planned, values, shown, state = held.leased.planned, None, None, "failed"
        if outcome.state == "finished":
            record = self.stages.home.records.record(outcome.run.id)
            assert record is not None  # as the run is finished
            values, state = self.stages.values(planned, record.metrics), "finished"
            if planned.kind == "trial":
                shown = values
        self._outbox.write(planned.entry(outcome.run, state, shown, outcome.reason))
        attributes = {"run": outcome.run.id, "reason": outcome.reason}
        if held.leased.queue.tell(held.leased.lease, values, attributes):
            self.reported += 1
            self.computed += not outcome.cached

    def drop_lost(self) -> None:
        """Cancel the runs of jobs that another worker has taken over."""
        lost = self.heartbeat.take_lost()
        for held in self.held.active():
            if any(held.leased is job for job in lost):
                self.say(f"{held.label}: another worker has taken it over")
                self.pool.cancel(held.label)
                self.held.remove(held)

    def stop_late(self) -> None:
        """Stop all runs, as their leases may have expired; when the storage is back, their jobs are leased again."""
        self.say("no heartbeat reached the storage during a whole lease: runs stop at a checkpoint until it is back")
        for held in self.held.active():
            self.pool.cancel(held.label)
            held.miss()
        self.heartbeat.restart()

    def release_late(self) -> None:
        """Release the leases of stopped runs, the latest first."""
        for held in reversed(self.held.in_state(JobState.LATE)):
            held.leased.queue.release(held.leased.lease)
            self.held.remove(held)

    def _expire(self) -> None:
        """Free the jobs of dead workers, once per heartbeat."""
        if self._expired_at and time.monotonic() - self._expired_at < lease_times().heartbeat:
            return
        self._expired_at = time.monotonic()
        for queue in self.stages.queues():
            for number in queue.expire(self.name):
                self.say(f"{queue.name} {number}: its worker is gone; another worker continues it")

    def fill(self) -> None:
        """Start runs in all free slots: parked jobs that can run now, then newly leased ones."""
        for held in self.held.in_state(JobState.PARKED):
            if self.pool.free and not self._is_computed(held):
                self._start(held)
        while len(self.held.active()) < self.pool.jobs:
            if not self.stages.advance():
                return
            leased = self.stages.lease(self.name)
            if leased is None:
                return
            self._idle = IDLE[0]
            held = self.held.add(leased)
            if leased.refusal:
                refused = Outcome(leased.planned.run, "failed", "", leased.refusal)
                self.pool.watch(held.label, "ended", refused)
                held.end(refused)
            elif not self._is_computed(held):
                self._start(held)

    def _is_computed(self, held: HeldJob) -> bool:
        """Whether a process computes the same run now."""
        run = held.leased.planned.run.id
        return run in self.pool.busy or RunFolder(self.stages.home.records.run(run)).busy

    def _start(self, held: HeldJob) -> None:
        planned = held.leased.planned
        self._outbox.write(planned.entry(planned.run, "running"))
        cached = self.pool.start(held.label, planned.run, keep_weights=held.leased.keep_weights)
        if cached is None:
            held.run()
        else:
            held.end(cached)

    def _release_all(self) -> None:
        for held in self.held.active():
            with contextlib.suppress(Exception):  # then the lease expires
                held.leased.queue.release(held.leased.lease)


def serve(config: WorkerConfig, say: Callable[[str], None] = print) -> int:
    """Be a worker in this process until no job is left or `ask_to_stop`; returns the number of jobs that it has reported.

    Raises:
        MissingData: this study was not begun on this storage.
        BenchError: the storage does not answer, or the disk is full.
    """
    home = Home(path=config.home, data=config.data)
    storage = open_storage(home.storage, journal(home.records, config.study))
    stages = Stages(shared_study.find(storage, config.study), home, storage)
    pool = Pool(
        home,
        config.slots,
        config.gpus,
        config.hang_seconds,
        config.checkpoint_seconds,
        watch=lambda label, kind, value: _print(say, label, kind, value),
        device=config.device,
        threads=config.threads,
    )
    try:
        return Worker(stages, pool, say).work()
    finally:
        _STOP.clear()  # another worker may follow in this process; what was asked before this one counts


def journal(records: Folder, study: str) -> Path:
    """The file that is a study's storage where there is no server."""
    return records.path / "studies" / study / "optuna.journal"


def _print(say: Callable[[str], None], label: str, kind: str, value: object) -> None:
    if isinstance(value, Outcome):
        what = "was computed before" if value.cached else value.state
        say(f"{label}: {what} ({value.run.id}) {value.reason}".rstrip())
    elif kind in ("started", "retry"):
        say(f"{label}: {kind} {value}")

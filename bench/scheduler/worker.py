"""A worker: it claims tasks of a study, computes a few at a time, each in a process of its own, and tells what they came to.

    claim -> run (`bench.scheduler.pool`) -> record, entry -> tell; meanwhile signs of life

It may join and leave at any time, and die in any way. While the storage is away it goes on with what it has; when it could
not give a sign of life for as long as a lease lasts, it stops its runs at a checkpoint: another may take them over soon.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError
from bench.records.folder import Folder
from bench.records.home import Home
from bench.records.run_folder import RunFolder
from bench.records.study_record import Entry
from bench.scheduler.job_queue import token
from bench.scheduler.pool import Outcome, Pool
from bench.scheduler.stages import Job, Stages, declared
from bench.scheduler.storages import lease, open_storage, transient
from bench.scheduler.trial_process import ELSEWHERE

IDLE = 0.5, 5.0  # seconds between two looks at a storage that has no task for us: at first, and at most
_STOP = threading.Event()


def ask_to_stop() -> None:
    """Ask the worker of this process to stop: its runs write checkpoints, and others can go on with them."""
    _STOP.set()


@dataclass
class Worker:
    """A worker with as many runs at a time as its pool has slots."""

    stages: Stages
    pool: Pool
    say: Callable[[str], None] = lambda text: None
    name: str = field(default_factory=token)
    told: int = 0  # tasks that this worker has told
    computed: int = 0  # of these, what was not on record before
    _held: dict[str, Job] = field(default_factory=dict)
    _parked: list[Job] = field(default_factory=list)
    _untold: dict[str, Outcome] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)  # labels of what was taken over, by the thread that beats
    _late: list[Job] = field(default_factory=list)  # what was held for too long without a sign of life
    _unsent: list[Entry] = field(default_factory=list)  # entries that the remote home has not got yet
    _alive: float = field(default_factory=time.monotonic)
    _expired: float = 0.0
    _away: bool = False
    _idle: float = IDLE[0]
    _done: threading.Event = field(default_factory=threading.Event)
    _halted: bool = False

    def work(self) -> int:
        """Work until nothing is left, or until it is asked to stop; returns how many tasks it told.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once every run has written its checkpoint.
            BenchError: the disk is full, or no trial of the study came to anything.
        """
        self._remote = self.stages.home.remote
        for thread in (self._beat, self._guard):
            threading.Thread(target=thread, daemon=True).start()
        try:
            while not _STOP.is_set() and not self._over():
                self._turn()
        finally:
            self._done.set()
            self.pool.stop()
            self._give_back()
            self._send()
        return self.told

    def _over(self) -> bool:
        if self._held or self._late:
            return False
        over = False
        with self._patience():
            over = self.stages.over
        return over

    def _turn(self) -> None:
        with self._patience():
            self._tell()
            self._lose()
            self._expire()
            self._fill()
        self._send()
        if self._halted:
            self._let_go()
        self._untold |= self.pool.poll()
        if not self._held:
            _STOP.wait(self._idle)
            self._idle = min(1.5 * self._idle, IDLE[1])

    def _beat(self) -> None:
        """A thread: signs of life for all that is held."""
        every, count = lease()[0], 0
        while not self._done.wait(every):
            count, began = count + 1, time.monotonic()
            with contextlib.suppress(Exception):  # whatever is wrong with the storage, the others meet it too
                for label, job in list(self._held.items()):
                    if not job.queue.beat(job.claim, count) and self._held.get(label) is job:
                        self._lost.add(label)
                self._alive = began

    def _guard(self) -> None:
        """A thread, as any call to a storage behind a cut network may take long: whoever reaches the storage will have our
        tasks soon, so our runs stop before."""
        while not self._done.wait(0.5):
            if self._held and not self._halted and time.monotonic() - self._alive > lease()[1]:
                self._halted = True
                self.pool.halt()

    @contextlib.contextmanager
    def _patience(self) -> Iterator[None]:
        """Whatever needs the storage: what waiting mends is tried again in the next turn."""
        try:
            yield
        except Exception as error:
            if not transient(error):
                raise
            if not self._away:
                self.say(f"the study's storage is away ({type(error).__name__}); runs go on, and it is tried again")
            self._away = True
            _STOP.wait(1.0)
            return
        if self._away:
            self.say("the study's storage is back")
        self._away = False

    def _tell(self) -> None:
        for label in list(self._untold):
            job, outcome = self._held[label], self._untold[label]
            if outcome.kind == ELSEWHERE:
                self._parked.append(job)
            else:
                self._told(job, outcome)
                del self._held[label]
            del self._untold[label]

    def _told(self, job: Job, outcome: Outcome) -> None:
        records, values = self.stages.home.records, None
        if outcome.state == "finished":
            record = records.record(outcome.run.id)
            assert record is not None  # the outcome says so
            values = self.stages.values(job.planned, record.metrics)
        state, shown = "finished" if values else "failed", values if job.planned.kind == "trial" else None
        self._note(job.planned.entry(outcome.run, state, shown, outcome.reason))
        if job.queue.tell(job.claim, values, {"run": outcome.run.id, "reason": outcome.reason}):
            self.told += 1
            self.computed += not outcome.cached

    def _lose(self) -> None:
        """Let go what was taken over, and give back what we were late with."""
        for label in self._lost & set(self._held):
            self.say(f"{label}: another worker has taken it over")
            self._drop(label)
        self._lost.clear()
        while self._late:
            self._late[-1].queue.release(self._late[-1].claim)
            self._late.pop()

    def _expire(self) -> None:
        if self._expired and time.monotonic() - self._expired < lease()[0]:
            return
        self._expired = time.monotonic()
        for queue in self.stages.queues():
            for number in queue.expire(self.name):
                self.say(f"{queue.name} {number}: its worker is gone; another goes on with it")

    def _fill(self) -> None:
        """Start runs in all free slots."""
        for job in list(self._parked):
            if self.pool.free and not self._occupied(job):
                self._parked.remove(job)
                self._start(job)
        while len(self._held) < self.pool.jobs:
            found = self.stages.claim(self.name) if not self.stages.over else None
            if found is None:
                return
            self._idle = IDLE[0]
            self._held[found.planned.label] = found
            if found.error:
                refused = Outcome(found.planned.run, "failed", "", found.error)
                self.pool.watch(found.planned.label, "ended", refused)
                self._untold[found.planned.label] = refused
            elif self._occupied(found):
                self._parked.append(found)
            else:
                self._start(found)

    def _occupied(self, job: Job) -> bool:
        """Whether some process computes the same run: two tasks may stand for one, and a former owner may not be done."""
        run = job.planned.run.id
        return run in self.pool.busy or RunFolder(self.stages.home.records.run(run)).busy

    def _start(self, job: Job) -> None:
        self._note(job.planned.entry(job.planned.run, "running"))
        cached = self.pool.start(job.planned.label, job.planned.run, keep_weights=job.keep)
        if cached is not None:
            self._untold[job.planned.label] = cached

    def _note(self, entry: Entry) -> None:
        self.stages.home.records.write_entry(self.stages.study.name, entry)
        self._unsent.append(entry)

    def _send(self) -> None:
        """Entries to the remote home, where there is one; what it does not take now it gets later."""
        while self._remote is not None and self._unsent:
            try:
                self._remote.push_entry(self.stages.study.name, self._unsent[0])
            except BenchError:
                return
            self._unsent.pop(0)
        self._unsent.clear()

    def _drop(self, label: str) -> None:
        job = self._held.pop(label)
        self._parked = [other for other in self._parked if other is not job]
        self._untold.pop(label, None)
        self.pool.cancel(label)

    def _let_go(self) -> None:
        """Stop what is held; when the storage is back it is claimed again like any other task."""
        self.say("no sign of life for as long as a lease lasts: runs stop at a checkpoint until the storage is back")
        self._late += self._held.values()
        for label in list(self._held):
            self._drop(label)
        self._halted, self._alive = False, time.monotonic()

    def _give_back(self) -> None:
        for job in self._held.values():
            with contextlib.suppress(Exception):  # then its lease runs out
                job.queue.release(job.claim)


@dataclass(frozen=True)
class WorkerConfig:
    """What a worker is told when it is started: which study, where its files are, and how it runs."""

    study: str
    home: Path
    data: Path
    slots: int = 1
    gpus: tuple[str, ...] = ()
    device: str = ""
    hang_seconds: float = 900.0
    checkpoint_seconds: float = 30.0
    threads: int = 0


def serve(config: WorkerConfig, say: Callable[[str], None] = print) -> int:
    """Be a worker of a study in this process, until nothing is left or `ask_to_stop`; returns how many tasks it told.

    Raises:
        MissingData: nobody has begun this study on this storage.
        BenchError: the storage does not answer, or the disk is full.
    """
    home = Home(path=config.home, data=config.data)
    storage = open_storage(home.storage, journal(home.records, config.study))
    stages = Stages(declared(storage, config.study), home, storage)
    pool = Pool(home, config.slots, config.gpus, config.hang_seconds, config.checkpoint_seconds)
    pool.device, pool.threads = config.device, config.threads
    pool.watch = lambda label, kind, value: _report(say, label, kind, value)
    try:
        return Worker(stages, pool, say).work()
    finally:
        _STOP.clear()  # another order may follow in this process; what was asked before this one counts


def journal(records: Folder, study: str) -> Path:
    """The file that stands for a storage where there is no server."""
    return records.home / "studies" / study / "optuna.journal"


def _report(say: Callable[[str], None], label: str, kind: str, value: object) -> None:
    if isinstance(value, Outcome):
        what = "was computed before" if value.cached else value.state
        say(f"{label}: {what} ({value.run.id}) {value.reason}".rstrip())
    elif kind in ("started", "retry"):
        say(f"{label}: {kind} {value}")

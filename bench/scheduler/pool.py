"""Several runs in parallel, each in a trial process of its own, which frees its memory and whose crash fails only its run.

Processes are forked from a server that has imported torch and timm, so each starts in milliseconds.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

from bench.errors import BenchError
from bench.records.home import Home
from bench.records.protocol import PROTOCOL
from bench.records.run_folder import RunFolder
from bench.records.run_record import Attempt
from bench.run import Run
from bench.scheduler.failures import CRASHED, DISK_FULL, ELSEWHERE, HUNG, REFUSED, describe_exit, retry
from bench.scheduler.trial_process import Options, work
from bench.training.data import require_same_data
from bench.training.recording import failed

LISTEN = 0.5  # seconds that `Pool.poll` waits for messages
STOPPING = 20.0  # seconds for a process to write its checkpoint before it is killed


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``run`` is the one that was computed last: after running out of memory it has more micro-batches."""

    run: Run
    state: str  # "finished" or "failed"
    kind: str = ""  # of failure, see `bench.scheduler.failures`
    reason: str = ""
    cached: bool = False  # it was on record before


Watcher = Callable[[str, str, Any], None]
"""Called with (label, kind, value): ("started", run id), ("progress", dict), ("decoding", (done, total)), ("retry", reason),
("ended", Outcome)."""


@dataclass
class _Child:
    label: str
    run: Run
    slot: int
    keep_weights: bool
    process: ForkServerProcess
    pipe: Connection
    heard: float = field(default_factory=time.monotonic)  # when the last message came
    verdict: tuple[Any, ...] | None = None
    halted: bool = False


@dataclass
class Pool:
    """``jobs`` runs at a time; ``gpus`` are assigned to the slots in turn, and several slots may share one."""

    home: Home
    jobs: int = 1
    gpus: tuple[str, ...] = ()
    hang_seconds: float = 900.0
    checkpoint_seconds: float = 30.0
    watch: Watcher = lambda *_: None
    device: str = ""
    threads: int = 0  # of each run; 0: its share of the cores
    digest: str = ""  # of the data, which the records of runs on it have; "" is not compared

    def __post_init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["bench.scheduler.trial_process"])
        self._children: list[_Child] = []

    @property
    def free(self) -> int:
        """The number of free slots."""
        return self.jobs - len(self._children)

    @property
    def busy(self) -> set[str]:
        """The ids of the runs that are being computed."""
        return {child.run.id for child in self._children}

    def run(self, work_list: Sequence[tuple[str, Run]], *, keep_weights: bool = False) -> dict[str, Outcome]:
        """Compute labelled runs and return their outcomes by label; finished runs are read from their records.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once every process has written its checkpoint.
            BenchError: the disk is full, or another process computes one of these runs.
        """
        waiting, outcomes = list(reversed(work_list)), dict[str, Outcome]()
        try:
            while waiting or self._children:
                self._fill(waiting, outcomes, keep_weights)
                ended = self.poll()
                for outcome in ended.values():
                    if outcome.kind == ELSEWHERE:
                        raise BenchError(outcome.reason)
                outcomes |= ended
        finally:
            self.stop()
        return outcomes

    def _fill(self, waiting: list[tuple[str, Run]], outcomes: dict[str, Outcome], keep_weights: bool) -> None:
        """Start waiting runs in all free slots."""
        while self.free:
            item = _take_next(waiting, self.busy)
            if item is None:
                return
            label, run = item
            cached = self.start(label, run, keep_weights=keep_weights)
            if cached is not None:
                outcomes[label] = cached

    def start(self, label: str, run: Run, *, keep_weights: bool = False) -> Outcome | None:
        """Start a run in a free slot; if it is on record, start nothing and return its outcome."""
        cached = self._cached(run, keep_weights)
        if cached is not None:
            return self._ended(label, cached)
        slot = min(set(range(self.jobs)) - {child.slot for child in self._children})
        self._children.append(self._begin(label, run, slot, keep_weights))
        return None

    def poll(self) -> dict[str, Outcome]:
        """Receive messages for half a second at most; return the outcomes of the runs that ended meanwhile, by label.

        Raises:
            KeyboardInterrupt: a process was asked to stop, but not by `halt`.
            BenchError: the disk is full.
        """
        outcomes = dict[str, Outcome]()
        if not self._children:
            time.sleep(0.1)
        for child in self._listen(self._children):
            self._children.remove(child)
            again = self._judge(child, outcomes)
            if again is not None:
                self._children.append(self._begin(child.label, again, child.slot, child.keep_weights))
        return outcomes

    def cancel(self, label: str) -> None:
        """End the run of a label after a checkpoint, without an outcome."""
        ended = [child for child in self._children if child.label == label]
        self._children = [child for child in self._children if child.label != label]
        _end(ended)

    def halt(self) -> None:
        """Ask all runs to write a checkpoint and end, without waiting and without outcomes. Another thread may call it."""
        for child in list(self._children):
            child.halted = True
            with contextlib.suppress(OSError):
                child.pipe.send("stop")

    def stop(self) -> None:
        """End all runs after a checkpoint."""
        ended, self._children = self._children, []
        _end(ended)

    def _cached(self, run: Run, keep_weights: bool) -> Outcome | None:
        folder = RunFolder(self.home.records.run(run.id))
        record = folder.record()
        if record is None or not record.finished:
            return None
        if record.protocol != PROTOCOL:
            raise BenchError(
                f"results of different versions of the protocol are not mixed, but run {run.id} was computed by version "
                f"{record.protocol} and this is {PROTOCOL}; set BENCH_HOME to a new folder"
            )
        if keep_weights and not (folder.path / "model.safetensors").exists():
            return None
        require_same_data(record, run, self.digest)
        return Outcome(run, "finished", cached=True)

    def _begin(self, label: str, run: Run, slot: int, keep_weights: bool) -> _Child:
        ours, theirs = self._context.Pipe()
        cores = len(os.sched_getaffinity(0))
        options = Options(
            checkpoint_seconds=self.checkpoint_seconds,
            keep_weights=keep_weights,
            beside=self.jobs,
            gpu=self.gpus[slot % len(self.gpus)] if self.gpus else None,
            threads=self.threads or max(1, cores // self.jobs),
        )
        placed = replace(run, device=self.device) if self.device else run
        process = self._context.Process(target=work, args=(placed.to_dict(), self.home, options, theirs))
        process.start()
        theirs.close()
        self.watch(label, "started", run.id)
        return _Child(label, run, slot, keep_weights, process, ours)

    def _listen(self, children: list[_Child]) -> list[_Child]:
        """Receive messages for a moment, kill what hangs, and return the children that have ended."""
        by_pipe = {c.pipe: c for c in children if c.verdict is None}
        handles: list[Any] = [*by_pipe, *(c.process.sentinel for c in children)]
        for handle in connection.wait(handles, timeout=LISTEN):
            if isinstance(handle, Connection):
                self._receive(by_pipe[handle])
        now = time.monotonic()
        for child in children:
            if child.verdict is None and child.process.is_alive() and now - child.heard > self.hang_seconds:
                child.process.kill()
                child.verdict = ("failed", HUNG, f"no step for {self.hang_seconds:.0f} s; the process was ended")
        ended = [c for c in children if not c.process.is_alive()]
        for child in ended:
            while child.verdict is None and child.pipe.poll():
                if not self._receive(child):
                    break
            child.process.join()
            child.pipe.close()
        return ended

    def _receive(self, child: _Child) -> bool:
        try:
            message = child.pipe.recv()
        except (EOFError, OSError):
            return False
        child.heard = time.monotonic()
        if message[0] in ("done", "stopped", "failed"):
            child.verdict = message
        else:
            kind, *rest = message
            self.watch(child.label, kind, rest[0] if kind == "progress" else tuple(rest))
        return True

    def _judge(self, child: _Child, outcomes: dict[str, Outcome]) -> Run | None:
        """Add the outcome of a child that has ended; returns the run to try again, or None."""
        verdict = child.verdict or ("failed", CRASHED, describe_exit(child.process.exitcode))
        if verdict[0] == "done":
            outcomes[child.label] = self._ended(child.label, Outcome(child.run, "finished"))
            return None
        if verdict[0] == "stopped":
            if child.halted:
                return None
            raise KeyboardInterrupt
        _, kind, reason = verdict
        if kind == ELSEWHERE:
            outcomes[child.label] = Outcome(child.run, "failed", kind, reason)
            return None
        if kind == DISK_FULL:
            raise BenchError(reason)
        if kind == REFUSED and self._cached(child.run, child.keep_weights) is not None:
            # it finished, and only sending it to the remote home failed
            outcomes[child.label] = self._ended(child.label, Outcome(child.run, "finished", reason=reason))
            return None
        return self._fail(child, kind, reason, outcomes)

    def _fail(self, child: _Child, kind: str, reason: str, outcomes: dict[str, Outcome]) -> Run | None:
        """Record a failed attempt; returns the run to try again, or None after adding the outcome."""
        folder = RunFolder(self.home.records.run(child.run.id))
        folder.fail(Attempt(kind, reason, time.time()))
        again = retry(child.run, kind, len(folder.attempts()))
        if again is not None:
            self.watch(child.label, "retry", reason)
            return again
        if kind != REFUSED:
            failed(child.run, self.home, f"{kind}: {reason}")
        outcomes[child.label] = self._ended(child.label, Outcome(child.run, "failed", kind, reason))
        return None

    def _ended(self, label: str, outcome: Outcome) -> Outcome:
        self.watch(label, "ended", outcome)
        return outcome


def _end(children: Sequence[_Child]) -> None:
    """Ask children to write a checkpoint and end; kills those that do not within `STOPPING` seconds."""
    for child in children:
        try:
            child.pipe.send("stop")
        except OSError:
            continue
    until = time.monotonic() + STOPPING
    for child in children:
        child.process.join(max(0.0, until - time.monotonic()))
        if child.process.is_alive():
            child.process.kill()
            child.process.join()


def _take_next(waiting: list[tuple[str, Run]], busy: set[str]) -> tuple[str, Run] | None:
    """Remove and return the last run that no child computes already: two labels may stand for one run."""
    for position in reversed(range(len(waiting))):
        if waiting[position][1].id not in busy:
            return waiting.pop(position)
    return None

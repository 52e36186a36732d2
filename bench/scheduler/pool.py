"""Runs side by side, each in a process of its own: memory goes with it, and a crash is a result and not the end.

A fork server that has torch and timm imported already starts a process in milliseconds.
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
from bench.records.run_folder import RunFolder
from bench.records.run_record import Attempt
from bench.run import Run
from bench.scheduler.trial_process import CRASHED, DISK_FULL, ELSEWHERE, HUNG, OUT_OF_MEMORY, REFUSED, Options, work

CRASH_RETRIES = 2
MOST_MICRO_BATCHES = 16


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``run`` is the one that was computed last: after running out of memory it has more micro-batches."""

    run: Run
    state: str  # "finished" or "failed"
    kind: str = ""
    reason: str = ""
    cached: bool = False


Watcher = Callable[[str, str, Any], None]
"""Told (label, kind, value): ("started", run id), ("progress", dict), ("decoding", (done, total)), ("retry", reason),
("ended", Outcome)."""


@dataclass
class _Child:
    label: str
    run: Run
    slot: int
    keep: bool
    process: ForkServerProcess
    pipe: Connection
    heard: float = field(default_factory=time.monotonic)
    verdict: tuple[Any, ...] | None = None


@dataclass
class Pool:
    """``jobs`` runs at a time; ``gpus`` are dealt out to the slots in turn, and several may share one."""

    home: Home
    jobs: int = 1
    gpus: tuple[str, ...] = ()
    hang_seconds: float = 900.0
    checkpoint_seconds: float = 30.0
    watch: Watcher = lambda *_: None
    device: str = ""
    threads: int = 0  # of each run; 0: its share of the cores

    def __post_init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["bench.scheduler.trial_process"])
        self._children: list[_Child] = []

    @property
    def free(self) -> int:
        """How many more runs can start."""
        return self.jobs - len(self._children)

    @property
    def busy(self) -> set[str]:
        """The ids of the runs that are being computed."""
        return {child.run.id for child in self._children}

    def run(self, work_list: Sequence[tuple[str, Run]], *, keep_weights: bool = False) -> dict[str, Outcome]:
        """Compute labelled runs and return how each ended; finished ones are read, not computed again.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once every child has written its checkpoint.
            BenchError: the disk is full, or another process computes one of these runs.
        """
        waiting, outcomes = list(reversed(work_list)), dict[str, Outcome]()
        try:
            while waiting or self._children:
                while self.free and (item := _next(waiting, self.busy)) is not None:
                    if (cached := self.start(*item, keep_weights=keep_weights)) is not None:
                        outcomes[item[0]] = cached
                ended = self.poll()
                for outcome in ended.values():
                    if outcome.kind == ELSEWHERE:
                        raise BenchError(outcome.reason)
                outcomes |= ended
        finally:
            self.stop()
        return outcomes

    def start(self, label: str, run: Run, *, keep_weights: bool = False) -> Outcome | None:
        """Start one run in a free slot; if it is on record, return how it ended instead."""
        if (cached := self._cached(run, keep_weights)) is not None:
            return self._ended(label, cached)
        slot = min(set(range(self.jobs)) - {child.slot for child in self._children})
        self._children.append(self._begin(label, run, slot, keep_weights))
        return None

    def poll(self) -> dict[str, Outcome]:
        """Take in messages for half a second at most; return how runs ended meanwhile, by label."""
        outcomes = dict[str, Outcome]()
        if not self._children:
            time.sleep(0.1)
        for child in self._listen(self._children):
            self._children.remove(child)
            again = self._judge(child, outcomes)
            if again is not None:
                self._children.append(self._begin(child.label, again, child.slot, child.keep))
        return outcomes

    def cancel(self, label: str) -> None:
        """End the run of a label, with a checkpoint; nothing is told of it."""
        ended = [child for child in self._children if child.label == label]
        self._children = [child for child in self._children if child.label != label]
        _end(ended)

    def halt(self) -> None:
        """Ask all runs to write a checkpoint and end, without waiting; `cancel` them before the next `poll`."""
        for child in list(self._children):
            with contextlib.suppress(OSError):
                child.pipe.send("stop")

    def stop(self) -> None:
        """End all runs, each with a checkpoint."""
        ended, self._children = self._children, []
        _end(ended)

    def _cached(self, run: Run, keep_weights: bool) -> Outcome | None:
        folder = RunFolder(self.home.records.run(run.id))
        record = folder.record()
        if record is None or not record.finished:
            return None
        if keep_weights and not (folder.path / "model.safetensors").exists():
            return None
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
        """Take in messages for a moment; return the children that have ended (or hang, and were killed)."""
        by_pipe = {c.pipe: c for c in children if c.verdict is None}
        handles: list[Any] = [*by_pipe, *(c.process.sentinel for c in children)]
        for handle in connection.wait(handles, timeout=0.5):
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
            self.watch(child.label, message[0], message[1] if message[0] == "progress" else message[1:])
        return True

    def _judge(self, child: _Child, outcomes: dict[str, Outcome]) -> Run | None:
        """Note how a child ended; return a run to try again, or None."""
        verdict = child.verdict or ("failed", CRASHED, _death(child.process.exitcode))
        if verdict[0] == "done":
            outcomes[child.label] = self._ended(child.label, Outcome(child.run, "finished"))
            return None
        if verdict[0] == "stopped":
            raise KeyboardInterrupt
        _, kind, reason = verdict
        if kind == ELSEWHERE:
            outcomes[child.label] = Outcome(child.run, "failed", kind, reason)
            return None
        if kind == DISK_FULL:
            raise BenchError(reason)
        if (
            kind == REFUSED and self._cached(child.run, child.keep) is not None
        ):  # only its sending to the remote home failed
            outcomes[child.label] = self._ended(child.label, Outcome(child.run, "finished", reason=reason))
            return None
        folder = RunFolder(self.home.records.run(child.run.id))
        folder.fail(Attempt(kind, reason, time.time()))
        again = _retry(child.run, kind, len(folder.attempts()))
        if again is not None:
            self.watch(child.label, "retry", reason)
            return again
        if kind != REFUSED:
            from bench.training.execute import failed

            failed(child.run, self.home, f"{kind}: {reason}")
        outcomes[child.label] = self._ended(child.label, Outcome(child.run, "failed", kind, reason))
        return None

    def _ended(self, label: str, outcome: Outcome) -> Outcome:
        self.watch(label, "ended", outcome)
        return outcome


def _end(children: Sequence[_Child]) -> None:
    """Ask children to write a checkpoint and end; those that do not within 20 s are killed."""
    for child in children:
        try:
            child.pipe.send("stop")
        except OSError:
            continue
    until = time.monotonic() + 20
    for child in children:
        child.process.join(max(0.0, until - time.monotonic()))
        if child.process.is_alive():
            child.process.kill()
            child.process.join()


def _next(waiting: list[tuple[str, Run]], busy: set[str]) -> tuple[str, Run] | None:
    """The next run that no child is computing already (two labels may stand for one run)."""
    for position in reversed(range(len(waiting))):
        if waiting[position][1].id not in busy:
            return waiting.pop(position)
    return None


def _retry(run: Run, kind: str, attempts: int) -> Run | None:
    if kind == OUT_OF_MEMORY:
        parts = 2 * run.recipe.micro_batches
        if parts <= min(MOST_MICRO_BATCHES, run.recipe.batch):
            return replace(run, recipe=replace(run.recipe, micro_batches=parts))
    if kind in (CRASHED, HUNG) and attempts <= CRASH_RETRIES:
        return run
    return None


def _death(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        hint = " (often the system, when memory runs out)" if exitcode == -9 else ""
        return f"the process was ended by signal {-exitcode}{hint}"
    return f"the process ended with exit code {exitcode} and without a word"

"""The trial process: computes one run, sends its progress to the parent, and frees its memory by ending.

The parent (`bench.scheduler.pool`) and the child communicate over a pipe. The child sends ("progress", {...}), and at last one
of ("done",), ("stopped",) or ("failed", kind, reason). The parent sends "stop". If the parent has ended, the child ends too.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import torch

from bench.environment import mask_secrets
from bench.errors import BenchError, Diverged, Held, Ineffective
from bench.records.home import Home
from bench.run import Run
from bench.scheduler.failures import CRASHED, DISK_FULL, DIVERGED, ELSEWHERE, INEFFECTIVE, OUT_OF_MEMORY, REFUSED
from bench.training.execute import execute
from bench.training.loop import Event, Stopped

PROGRESS_EVERY = 0.25  # seconds between two progress messages


@dataclass(frozen=True)
class Options:
    """How a trial process works; nothing here can change a result."""

    checkpoint_seconds: float = 30.0
    keep_weights: bool = True
    beside: int = 1
    gpu: str | None = None
    threads: int = 0


def work(run: dict[str, Any], home: Home, options: Options, pipe: Connection) -> None:
    """The main function of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group: the parent decides
    if options.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = options.gpu
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_listen, args=(pipe, stop), daemon=True).start()
    try:
        _send(pipe, _compute(run, home, options, pipe, stop))
    except BaseException as error:
        _send(pipe, ("failed", *map(mask_secrets, explain(error, home, run))))
    sys.stdout.flush()


def _compute(
    values: dict[str, Any], home: Home, options: Options, pipe: Connection, stop: threading.Event
) -> tuple[str, ...]:
    run = Run.from_dict(values)
    run = replace(run, threads=run.threads or options.threads)
    try:
        execute(
            run,
            home,
            observers=[_Reporter(pipe)],
            stop=stop.is_set,
            checkpoint_seconds=options.checkpoint_seconds,
            keep_weights=options.keep_weights,
            beside=options.beside,
            decoding=lambda done, total: _send(pipe, ("decoding", done, total)),
        )
    except Stopped:
        return ("stopped",)
    return ("done",)


class _Reporter:
    """An observer that sends progress at most every `PROGRESS_EVERY` seconds, and every row of the curves."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.last = pipe, 0.0

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        if event.kind == "step" and now - self.last < PROGRESS_EVERY:
            return
        self.last = now
        row = event.row if event.kind == "epoch" else {}
        progress = {"step": event.step, "steps": event.steps, "phase": event.phase, "row": dict(row)}
        _send(self.pipe, ("progress", progress))


def _send(pipe: Connection, message: tuple[Any, ...]) -> None:
    try:
        pipe.send(message)
    except OSError:
        os._exit(1)  # the parent has ended; the next command continues from the checkpoint


def _listen(pipe: Connection, stop: threading.Event) -> None:
    try:
        while pipe.recv() != "stop":
            pass
        stop.set()
    except (EOFError, OSError):
        os._exit(1)


def explain(error: BaseException, home: Home, run: dict[str, Any]) -> tuple[str, str]:
    """The kind of a failure (`bench.scheduler.failures`) and one line about it. The traceback of an unexpected error goes to a
    file in the home."""
    for expected, kind in EXPECTED:
        if isinstance(error, expected):
            return kind, str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = f"files must fit on the disk, but {home.path} is full; free some space and run the same command"
        return DISK_FULL, reason
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error):
        return OUT_OF_MEMORY, f"the run must fit in memory, but: {_line(error)}; lower `batch` or raise `micro_batches`"
    where = home.path / "errors" / f"{os.getpid()}.txt"
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(mask_secrets(f"{run}\n{traceback.format_exc()}"))
    except OSError:
        return CRASHED, _line(error)
    return CRASHED, f"{_line(error)} (details in {where})"


EXPECTED: tuple[tuple[type[BenchError], str], ...] = (
    (Diverged, DIVERGED),
    (Ineffective, INEFFECTIVE),
    (Held, ELSEWHERE),
    (BenchError, REFUSED),  # last: the others are BenchErrors, too
)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__

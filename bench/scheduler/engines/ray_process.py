"""Ray in a process of its own, so that its threads, its signal handlers, its words and its end are not the study's.

Ray's library ends the process that it is in when its cluster goes away, and prints what it likes. This process tells the
study's, over a pipe, every second: (workers alive, lines for the user), or at last the error. When the study's process is gone,
the workers are asked to write their checkpoints and end.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from bench.environment import mask_secrets
from bench.errors import BenchError
from bench.scheduler.engines.base import Resources

if TYPE_CHECKING:
    from bench.scheduler.worker import WorkerConfig

STOPPING = 120.0  # seconds: longer than what runs are given to write a checkpoint


class Aside:
    """The Ray engine, seen from the study's process."""

    def __init__(self, resources: Resources) -> None:
        self.resources, self._alive = resources, 0

    def start(self, config: WorkerConfig) -> None:
        """See `bench.scheduler.engines.Engine`."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.log = config.home / "studies" / config.study / "ray.log"
        self._process = context.Process(target=drive, args=(self.resources, config, theirs, self.log), name="ray")
        self._process.start()
        theirs.close()
        self._alive = self.resources.workers

    def tend(self) -> list[str]:
        """See `bench.scheduler.engines.Engine`."""
        lines = list[str]()
        try:
            while self._pipe.poll():
                self._alive, told, error = self._pipe.recv()
                lines += told
                if error:
                    raise BenchError(error)
        except (EOFError, OSError):
            self._alive = 0
            raise BenchError(
                f"workers need Ray's cluster, but the process that speaks with it has ended (see {self.log}); the same command "
                "goes on from here"
            ) from None
        return lines

    def alive(self) -> int:
        """See `bench.scheduler.engines.Engine`."""
        return self._alive

    def stop(self) -> None:
        """See `bench.scheduler.engines.Engine`."""
        with contextlib.suppress(OSError):
            self._pipe.send("stop")
        self._process.join(STOPPING)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()
        self._alive = 0


def drive(resources: Resources, config: WorkerConfig, pipe: Connection, log: Path) -> None:
    """The main function of the process aside."""
    from bench.scheduler.engines.ray import Ray

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the study decides
    _redirect(log)
    engine = Ray(resources)
    try:
        engine.start(config)
        until = time.monotonic()
        while not pipe.poll(max(0.0, until - time.monotonic())):
            until = time.monotonic() + 1
            _tell(pipe, engine.alive(), engine.tend())
    except BenchError as error:
        _tell(pipe, 0, [], mask_secrets(str(error)))
    finally:
        engine.stop()


def _tell(pipe: Connection, alive: int, lines: list[str], error: str = "") -> None:
    with contextlib.suppress(OSError):  # when nobody listens any more, the next poll says so
        pipe.send((alive, lines, error))


def _redirect(log: Path) -> None:
    """What Ray prints goes to a file that only its owner can read."""
    log.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)

"""The Ray engine, with Ray's library in a process of its own.

Ray's library ends its process when its cluster goes away, starts threads, sets signal handlers and prints. The process sends
(workers alive, lines for the user, error) over a pipe every second. When the study's process has ended, it asks the workers to
write their checkpoints and end.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

from bench.environment import mask_secrets
from bench.errors import BenchError
from bench.scheduler.engines.base import Resources
from bench.scheduler.engines.ray import Ray, require
from bench.scheduler.worker_config import WorkerConfig

STOPPING = 120.0  # seconds: longer than runs may take to write a checkpoint


class RayEngine:
    """The engine in the study's process.

    Raises:
        BenchError: Ray is not installed.
    """

    def __init__(self, resources: Resources) -> None:
        require()
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
                self._alive, more, error = self._pipe.recv()
                lines += more
                if error:
                    raise BenchError(error)
        except (EOFError, OSError):
            self._alive = 0
            raise BenchError(
                f"workers need Ray's cluster, but the process that is connected to it has ended (see {self.log}); run the same "
                "command to continue"
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
    """The main function of Ray's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group: the study decides
    _redirect(log)
    engine = Ray(resources)
    try:
        engine.start(config)
        until = time.monotonic()
        while not pipe.poll(max(0.0, until - time.monotonic())):
            until = time.monotonic() + 1
            _send(pipe, engine.alive(), engine.tend())
    except BenchError as error:
        _send(pipe, 0, [], mask_secrets(str(error)))
    finally:
        engine.stop()


def _send(pipe: Connection, alive: int, lines: list[str], error: str = "") -> None:
    with contextlib.suppress(OSError):  # if the study's process has ended, the next poll ends this one
        pipe.send((alive, lines, error))


def _redirect(log: Path) -> None:
    """Send what Ray prints to a file that only its owner can read."""
    log.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)

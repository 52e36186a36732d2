"""Programs in the background that a later command finds again by a file with the process's number and start time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.environment import mask_secrets
from bench.errors import BenchError

WAIT = (
    300.0  # seconds for a server to answer: on a busy machine MLflow takes minutes to import and to create its tables
)
_started: dict[int, subprocess.Popen[bytes]] = {}  # children of this process, which must wait for them
GRACE = 15.0  # seconds to end before the process is killed


def private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, atomically."""
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.unlink(missing_ok=True)
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    unfinished.replace(path)


def require_free(port: int, name: str, option: str, host: str = "127.0.0.1") -> None:
    """Raise a BenchError if another program listens on a port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BenchError(
                f"{name} needs its port free, but {host}:{port} is not ({error.strerror}); give another with {option}"
            ) from None


def last_line(log: Path) -> str:
    """The last line of a log that is not empty, without secrets."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return mask_secrets(next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty"))


@dataclass
class Daemon:
    """One program. ``folder`` holds its log and its process file; ``answers`` returns whether it is ready.

    The command must hold no secret, as every account of the machine can read it; the environment may.
    """

    name: str
    folder: Path
    command: Sequence[str]
    answers: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """The file with its output."""
        return self.folder / f"{self.name}.log"

    @property
    def _process_file(self) -> Path:
        return self.folder / f"{self.name}.pid"

    def start(self) -> None:
        """Start it, unless it is running, and wait until it answers."""
        if self.running():
            if self._read().get("command") != list(self.command):
                raise BenchError(
                    f"{self.name} must run with these settings, but runs with others; `bench servers --stop` first"
                )
        else:
            self._spawn()
        until = time.monotonic() + WAIT
        while not self.answers():
            if not self.running() or time.monotonic() > until:
                said = last_line(self.log)
                self.stop()
                raise BenchError(f"{self.name} must start, but did not: {said}; more is in {self.log}")
            time.sleep(0.2)

    def _spawn(self) -> None:
        with open(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            child = subprocess.Popen(
                self.command,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _started[child.pid] = child
        with contextlib.suppress(psutil.NoSuchProcess):
            born = psutil.Process(child.pid).create_time()
            private(self._process_file, json.dumps({"pid": child.pid, "born": born, "command": list(self.command)}))

    def running(self) -> bool:
        """Whether the process of the process file is alive."""
        return self._process() is not None

    def _process(self) -> psutil.Process | None:
        written = self._read()
        try:
            process = psutil.Process(written["pid"])
            same = abs(process.create_time() - written["born"]) < 1  # the system reuses process numbers
            alive = process.status() != psutil.STATUS_ZOMBIE
        except (KeyError, psutil.NoSuchProcess):
            return None
        if same and alive:
            return process
        return None

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._process_file.read_text())
        except (OSError, ValueError):
            return {}
        return found

    def stop(self) -> None:
        """End it and its children; kills those that do not end within `GRACE` seconds."""
        process = self._process()
        if process is not None:
            family = [process, *process.children(recursive=True)]
            for sign in (signal.SIGTERM, signal.SIGKILL):
                for member in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        member.send_signal(sign)
                _, family = psutil.wait_procs(family, timeout=GRACE)
                if not family:
                    break
            child = _started.pop(process.pid, None)
            if child is not None:
                child.wait()
        self._process_file.unlink(missing_ok=True)

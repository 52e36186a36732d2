"""Programs in the background that a later command finds again: by a file with the process's number and its birth."""

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

WAIT = 300.0  # seconds for a server to answer: importing MLflow and making its tables on a busy machine takes a while
_started: dict[int, subprocess.Popen[bytes]] = {}  # by this process, which has to take note of their end
GRACE = 15.0  # seconds to end in, before the process is killed


def private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, at once whole."""
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.unlink(missing_ok=True)
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    unfinished.replace(path)


def require_free(port: int, name: str, option: str, host: str = "127.0.0.1") -> None:
    """Refuse a port that another program listens on."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BenchError(
                f"{name} needs its port free, but {host}:{port} is not ({error.strerror}); give another with {option}"
            ) from None


def last_line(log: Path) -> str:
    """The last line of a log that says something, without secrets."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return mask_secrets(next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty"))


@dataclass
class Daemon:
    """One program: ``folder`` holds its log and the file that finds it again; ``answers`` says whether it is at work.

    The command must hold no secret, since every account of the machine can read it; the environment may.
    """

    name: str
    folder: Path
    command: Sequence[str]
    answers: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder / f"{self.name}.log"

    @property
    def _note(self) -> Path:
        return self.folder / f"{self.name}.pid"

    def start(self) -> None:
        """Start it, unless it is running, and wait until it answers."""
        if self.running():
            if self._noted().get("command") != list(self.command):
                raise BenchError(f"{self.name} runs already, with other settings; `bench servers --stop` first")
        else:
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
                private(self._note, json.dumps({"pid": child.pid, "born": born, "command": list(self.command)}))
        until = time.monotonic() + WAIT
        while not self.answers():
            if not self.running() or time.monotonic() > until:
                said = last_line(self.log)
                self.stop()
                raise BenchError(f"{self.name} must start, but did not: {said}; more is in {self.log}")
            time.sleep(0.2)

    def running(self) -> bool:
        """Whether the process that the note names lives."""
        return self._process() is not None

    def _process(self) -> psutil.Process | None:
        note = self._noted()
        try:
            process = psutil.Process(note["pid"])
            same = abs(process.create_time() - note["born"]) < 1  # numbers of processes are used again
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (KeyError, psutil.NoSuchProcess):
            return None

    def _noted(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._note.read_text())
        except (OSError, ValueError):
            return {}
        return found

    def stop(self) -> None:
        """End it with all that it started; kill what does not go."""
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
            if (child := _started.pop(process.pid, None)) is not None:
                child.wait()
        self._note.unlink(missing_ok=True)

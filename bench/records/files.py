"""Files: written atomically (to a temporary file, flushed to disk, then renamed), and locked."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.errors import BenchError, Corrupt, MissingData


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: to a temporary name beside it, flushed to disk, then renamed."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically. If it fails (a full disk), the old content stays and no incomplete file is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, with the keys in the given order; numbers must be finite."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        MissingData: there is no such file.
        Corrupt: it is not valid JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise MissingData(f"no file {path}") from None
    except ValueError as error:
        raise Corrupt(f"{path} is not valid JSON ({error}); delete it to have it made again") from None


@contextlib.contextmanager
def locked(path: Path, refusal: BenchError) -> Iterator[None]:
    """Hold the lock of a file, which is made where it is not there; the system releases it when the process ends.

    Raises:
        BenchError: ``refusal``, where another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise refusal from None
        yield

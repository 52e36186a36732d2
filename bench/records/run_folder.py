"""The folder of one run: its lock, its curves, its checkpoints, its failed attempts and its record."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import Corrupt, Held
from bench.records import reading
from bench.records.files import locked, read_json, write_bytes, write_json
from bench.records.folder import read_rows
from bench.records.run_record import Attempt, RunRecord

_MAGIC = b"bench-checkpoint-1 "
KEPT = 2  # checkpoints of a run
RECORD, ATTEMPTS = "record.json", "attempts.json"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run; every file in it is written so that a kill at any moment leaves it readable."""

    path: Path

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Lock the run, so that one process computes it. The system releases the lock when the process ends."""
        refusal = Held(
            f"a run is computed by one process at a time, but {self.path.name} is held by another; "
            "wait for it, or stop that one"
        )
        return locked(self.path / ".lock", refusal)

    @property
    def busy(self) -> bool:
        """Whether a process holds the lock."""
        try:
            with (self.path / ".lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def record(self) -> RunRecord | None:
        """The record, if the run has ended."""
        return reading.read_if_there(RunRecord, self.path / RECORD)

    def append_row(self, row: Mapping[str, Any]) -> None:
        """Add a row to the curves; it is on disk when this returns. An incomplete last line, left by a kill, is ended first."""
        path = self.path / "curves.jsonl"
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
                file.write(b"\n" if torn else b"")
            file.write(json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> list[dict[str, Any]]:
        """The curves so far."""
        return read_rows(self.path / "curves.jsonl")

    def save_checkpoint(self, step: int, state: Mapping[str, Any]) -> None:
        """Write a checkpoint with its checksum, atomically, and remove all but the last `KEPT`."""
        import torch  # here, as in `_plain`, because who only reads records needs no torch

        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        payload = buffer.getvalue()
        head = _MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n"
        write_bytes(self.path / f"checkpoint-{step:09d}.pt", head + payload)
        for old in self.checkpoints()[:-KEPT]:
            old.unlink(missing_ok=True)

    def checkpoints(self) -> list[Path]:
        """Checkpoint files, oldest first."""
        return sorted(self.path.glob("checkpoint-*.pt"))

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The newest checkpoint whose checksum holds, on the CPU; None if there is none. Broken ones are removed.

        Raises:
            Corrupt: it holds other objects than tensors and plain values, which are never loaded: others may have written it.
        """
        for path in reversed(self.checkpoints()):
            if (payload := checked(path.read_bytes())) is not None:
                return _plain(payload, path)
            path.unlink()
        return None

    def fail(self, attempt: Attempt) -> None:
        """Write down an attempt that failed."""
        write_json(self.path / ATTEMPTS, [one.to_json() for one in (*self.attempts(), attempt)])

    def attempts(self) -> tuple[Attempt, ...]:
        """Earlier attempts that failed, oldest first."""
        path = self.path / ATTEMPTS
        found = read_json(path) if path.exists() else []
        return tuple(reading.from_json(Attempt, one, str(path)) for one in found)

    def close(self, record: RunRecord) -> None:
        """End the run: write the curves as parquet, then the record; then remove the files that only a resume needs."""
        import pandas as pd  # here, because who only reads records needs no pandas

        rows = self.rows()
        if rows:
            table = io.BytesIO()
            pd.DataFrame(rows).to_parquet(table, index=False)
            write_bytes(self.path / "curves.parquet", table.getvalue())
        reading.write(self.path / RECORD, record)
        for path in self.checkpoints():
            path.unlink(missing_ok=True)
        (self.path / "curves.jsonl").unlink(missing_ok=True)


def checked(data: bytes) -> bytes | None:
    """The serialised state in a checkpoint file; None if its checksum does not hold."""
    head, _, payload = data.partition(b"\n")
    return payload if head == _MAGIC + hashlib.sha256(payload).hexdigest().encode() else None


def _plain(payload: bytes, path: Path) -> dict[str, Any]:
    import torch

    try:
        state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError):
        raise Corrupt(
            f"a checkpoint holds tensors and plain values, but {path} holds something else and was not loaded; find out who "
            "wrote it, and remove it here and in the remote"
        ) from None
    return state

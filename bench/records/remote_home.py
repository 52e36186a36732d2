"""The remote home: records and checkpoints at a URL of fsspec, shared by workers whose homes are their own.

`$BENCH_REMOTE` is its URL (s3://bucket/prefix, gs://bucket, sftp://host/folder, file:///mnt/lab). Credentials come from where
fsspec's implementation for the protocol takes them. It has the layout of a home (`bench.records.folder`):

    runs/<id>/   of an unfinished run, what it is resumed from: run.json, attempts.json, curves.jsonl, the last two checkpoints;
                 of a finished run: curves.parquet, plan.json, model.safetensors, speed.json and, written last, record.json
    studies/<study>/   study.json, entries/<entry>.json

A finished record is never replaced, neither in the home nor in the remote. Files from the remote are JSON, parquet, safetensors
or checkpoints. The checksum of a checkpoint is verified, and only tensors and plain values are loaded from it
(`bench.records.run_folder`): nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.errors import Corrupt
from bench.records import reading
from bench.records.files import write_bytes
from bench.records.folder import Folder
from bench.records.remote import Remote
from bench.records.run_folder import ATTEMPTS, KEPT, RECORD, RunFolder, checked
from bench.records.run_record import RunRecord
from bench.records.study_record import ENDED, Entry

WEIGHTS, CURVES = "model.safetensors", "curves.jsonl"
BEFORE = ("run.json", ATTEMPTS, CURVES)  # files of an unfinished run
AFTER = ("curves.parquet", "plan.json", "speed.json")  # files of a run that has ended, besides its weights
SAME_SIZE = (RECORD, WEIGHTS, "speed.json")  # files whose content may change while their size stays
AT_ONCE = 16  # simultaneous requests to an object store


class RemoteHome(Remote):
    """The records in a remote. Its methods raise what those of `Remote` raise."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._sent: dict[Path, tuple[int, int]] = {}

    def push_run(self, folder: Path) -> bool:
        """Send the new files of a run, its record last; returns whether there were any.

        Nothing is sent if the run has ended in the remote, or has a later checkpoint there. Once the run has ended, the files
        that only a resume needs are removed from the remote.
        """
        where, run = f"runs/{folder.name}", RunFolder(folder)
        there, ended, newest = self.sizes(where), finished(folder), [p.name for p in run.checkpoints()[-1:]]
        if not (newest or (folder / RECORD).exists()):
            return False
        if self._stands(folder, there):
            names = ["speed.json"]
        elif ended:
            names = ["run.json", ATTEMPTS, *AFTER, WEIGHTS, RECORD]
        else:
            names = [*BEFORE, *newest, RECORD] if newest >= _checkpoints(there)[-1:] else []
        sent = [name for name in names if self._send(folder / name, f"{where}/{name}", there.get(name))]
        old = _checkpoints({*there, *sent})[: None if ended else -KEPT]
        for name in [*old, *(n for n in there if ended and (n == CURVES or n.endswith(".tmp")))]:
            self.remove(f"{where}/{name}")
        return bool(sent)

    def push_runs(self, folders: Sequence[Path]) -> int:
        """Send the new files of some runs; returns the number of runs that had any."""
        return self._each(self.push_run, folders)

    def pull_run(self, home: Path, run_id: str, *, weights: bool = False) -> bool:
        """Fetch the files of a run that are missing or older in a home; returns whether there were any.

        Of a finished run the record is fetched, with its weights if ``weights``; of an unfinished one the newest checkpoint
        whose checksum holds.
        """
        return self._pull_run(Folder(home).run(run_id), weights=weights, resume=True)

    def has_record(self, run_id: str) -> bool:
        """Whether the run has ended, finished or failed."""
        return RECORD in self.sizes(f"runs/{run_id}")

    def push_entry(self, study: str, entry: Entry) -> None:
        """Write or replace one entry of a study."""
        self.write(f"studies/{study}/entries/{entry.name}.json", reading.to_text(entry).encode())

    def drop_entry(self, study: str, entry: Entry) -> None:
        """Remove an entry of a study."""
        self.remove(f"studies/{study}/entries/{entry.name}.json")

    def push_study(self, home: Path, study: str) -> int:
        """Send the declaration of a study and its entries; returns the number of files sent. A file that says "running" here
        and "finished" or "failed" there is not sent."""
        folder, there = home / "studies" / study, self.sizes(f"studies/{study}/entries")
        entries = sorted((folder / "entries").glob("*.json"))
        new = [path for path in entries if there.get(path.name) != path.stat().st_size]
        return self._each(lambda path: self._offer(path, str(path.relative_to(home))), [folder / "study.json", *new])

    def pull(self, home: Path, studies: Sequence[str] = (), *, weights: bool = False) -> int:
        """Fetch what a report needs of some studies, or of all studies and all other runs; returns the number of runs that
        were new or newer."""
        known, records = self.folders("studies"), Folder(home)
        for study in known:
            if not studies or study in studies:
                below = f"studies/{study}/entries"
                files = [
                    f"studies/{study}/study.json",
                    *(f"{below}/{n}" for n in self.sizes(below) if n.endswith(".json")),
                ]
                self._each(lambda where: self._take(home / where, where), files)
        named = {entry.run for study in studies for entry in records.entries(study) if entry.run}
        runs = sorted(run for run in named if Path(run).name == run) if studies else self.folders("runs")
        return self._each(lambda run: self._pull_run(records.run(run), weights=weights, resume=False), runs)

    def _pull_run(self, folder: Path, *, weights: bool, resume: bool) -> bool:
        if finished(folder) and (not weights or (folder / WEIGHTS).exists()):
            return False
        where = f"runs/{folder.name}"
        there = self.sizes(where)
        if self._status(where, there) == "finished":
            return (WEIGHTS in there or not finished(folder)) and self._pull_record(folder, there, weights)
        larger = [name for name in (*BEFORE, RECORD) if there.get(name, -1) > _size(folder / name)]
        for name in larger:
            _keep(folder / name, self.read(f"{where}/{name}"))
        return (resume and self._pull_checkpoint(folder, there)) or bool(larger)

    def _pull_record(self, folder: Path, there: Iterable[str], weights: bool) -> bool:
        """Fetch a finished run, its record last, and remove the files here that only a resume needs."""
        where, wanted = f"runs/{folder.name}", ["run.json", *AFTER, *([WEIGHTS] if weights else []), RECORD]
        files = {name: self.read(f"{where}/{name}") for name in wanted if name in there}
        digest = self._record(where, files[RECORD]).weights_sha256
        if digest and (data := files.get(WEIGHTS)) and hashlib.sha256(data).hexdigest() != digest:
            raise Corrupt(
                f"weights must be those of their record, but in {self.name}/{where} they are not; remove both there"
            )
        for name, data in files.items():
            _keep(folder / name, data)
        for useless in (*RunFolder(folder).checkpoints(), folder / CURVES):
            useless.unlink(missing_ok=True)
        return True

    def _pull_checkpoint(self, folder: Path, there: Iterable[str]) -> bool:
        """Fetch the newest checkpoint whose checksum holds, if it is newer than those here; returns whether there was one."""
        here = [path.name for path in RunFolder(folder).checkpoints()[-1:]]
        for name in reversed(_checkpoints(there)):
            if [name] > here and (data := self.read(f"runs/{folder.name}/{name}")) and checked(data) is not None:
                _keep(folder / name, data)
                return True
        return False

    def _stands(self, folder: Path, there: Mapping[str, int]) -> bool:
        """Whether the remote has the finished record, and the weights if they are here."""
        if RECORD not in there or (WEIGHTS not in there and (folder / WEIGHTS).exists()):
            return False
        same = finished(folder) and there[RECORD] == _size(folder / RECORD)
        return same or self._status(f"runs/{folder.name}", there) == "finished"

    def _status(self, where: str, there: Iterable[str]) -> str:
        data = self.read(f"{where}/{RECORD}") if RECORD in there else None
        return self._record(where, data).status if data is not None else ""

    def _record(self, where: str, data: bytes | None) -> RunRecord:
        return reading.parse(RunRecord, data or b"", f"{self.name}/{where}/{RECORD}")

    def _send(self, path: Path, where: str, size: int | None) -> bool:
        """Send a file if the remote does not have the same; returns whether it was sent. A missing file is skipped."""
        try:
            stat = path.stat()
            stamp = stat.st_size, stat.st_mtime_ns
            known = self._sent.get(path, None if path.name in SAME_SIZE else (size, stamp[1]))
            if size is not None and known == stamp:
                return False
            data = path.read_bytes()
        except FileNotFoundError:
            return False
        self.write(where, data)
        self._sent[path] = stamp
        return True

    def _offer(self, path: Path, where: str) -> bool:
        data, there = path.read_bytes(), self.read(where)
        if there == data or (there is not None and _over(there) and not _over(data)):
            return False
        self.write(where, data)
        return True

    def _take(self, path: Path, where: str) -> bool:
        if path.exists() and _over(path.read_bytes()):
            return False
        _keep(path, self.read(where))
        return True

    def _each(self, act: Callable[[Any], bool], items: Sequence[Any]) -> int:
        """Apply an action to each item and count those that return true; in parallel on an object store."""
        with self._open():
            pass
        with ThreadPoolExecutor(AT_ONCE if self.whole else 1) as threads:
            return sum(threads.map(act, items))


def finished(folder: Path) -> bool:
    """Whether a run has a finished record in its folder."""
    record = RunFolder(folder).record()
    return record is not None and record.finished


def _checkpoints(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith("checkpoint-") and name.endswith(".pt"))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def _keep(path: Path, data: bytes | None) -> None:
    if data is not None:
        write_bytes(path, data)


def _over(data: bytes) -> bool:
    """Whether the state in a study.json or in an entry is final."""
    return _parsed("a study", data).get("state") in ENDED


def _parsed(where: str, data: bytes | None) -> dict[str, Any]:
    try:
        value = json.loads(data or b"")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Corrupt(f"records and entries must be JSON, but {where} holds one that is not; remove it there")
    return value

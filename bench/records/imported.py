"""Reads another lab's records from a file of `bench export-data` (`bench.records.exchange`).

They become records of this home, with ``imported_from`` in the provenance of runs and in declarations. The whole file is
checked before anything is written. Existing records are never overwritten; identical ones are left as they are.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.config import digest
from bench.errors import BenchError, Corrupt, MissingData
from bench.records.exchange import LISTS, TEXTS, VERSION, clean
from bench.records.files import write_bytes
from bench.records.folder import Folder
from bench.records.reading import from_json, write
from bench.records.run_record import SCHEMA, RunRecord
from bench.records.speed_record import SpeedRecord
from bench.records.study_record import Entry, StudyRecord

NEEDED = ("study", "run", *TEXTS)


@dataclass(frozen=True)
class Imported:
    """The numbers of new runs, of new studies, and of runs that existed already."""

    runs: int
    studies: int
    known: int


def bring(folder: Folder, path: Path) -> Imported:
    """Read a file of `export` into a folder of records; the whole file is checked before anything is written.

    Raises:
        MissingData: there is no such file.
        Corrupt: it is broken.
        BenchError: it has another schema, an id is not that of its identity, or other records with these names exist.
    """
    table, declared = _read(path)
    mark = f"{path.name} (sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]})"
    runs, entries = dict[str, _Run](), dict[str, list[Entry]]()
    for row in table.select(list(NEEDED)).to_pylist():
        try:
            _take(row, runs, entries)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise Corrupt(f"{path} does not hold what its schema says ({error!r}); have it exported again") from None
    _check_names(path, declared, entries)
    new = [run for run, found in runs.items() if _is_new(folder, run, found.record)]
    fresh = [name for name in declared if _is_new_study(folder, name, declared[name], entries.get(name, []))]
    for run in new:
        _write_run(folder, run, runs[run], mark)
    for name in fresh:
        for entry in entries.get(name, []):
            folder.write_entry(name, entry)
        folder.write_study(replace(declared[name], imported_from=mark))
    return Imported(len(new), len(fresh), len(runs) - len(new))


@dataclass(frozen=True)
class _Run:
    """What a file holds of one run; the curves by column."""

    record: RunRecord
    curves: Mapping[str, Any] | None
    speed: SpeedRecord | None


def _read(path: Path) -> tuple[pa.Table, dict[str, StudyRecord]]:
    """The table of a file, and the declarations of its studies by name."""
    if not path.is_file():
        raise MissingData(f"no file {path}")
    try:
        table = pq.read_table(path)
    except (OSError, pa.lib.ArrowException) as error:
        raise Corrupt(f"{path} must be a parquet file, but cannot be read ({str(error).splitlines()[0]})") from None
    said = {
        key.decode(): value.decode()
        for key, value in (table.schema.metadata or {}).items()
        if key.startswith(b"prunebench.")
    }
    if not said:
        raise BenchError(f"{path} must be a file of `bench export-data`, but does not say that it is one")
    for key, known in (("schema", VERSION), ("records", SCHEMA)):
        if said.get(f"prunebench.{key}") != str(known):
            raise BenchError(
                f"files of {key} {known} can be read, but {path.name} has {said.get(f'prunebench.{key}')}; update this "
                "package, or have it exported by this version"
            )
    lacking = [name for name in NEEDED if name not in table.column_names]
    if lacking:
        raise Corrupt(f"{path} must have the column {lacking[0]!r}, but does not; have it exported again")
    try:
        declared: dict[str, Any] = json.loads(said["prunebench.studies"])
    except (KeyError, ValueError):
        raise Corrupt(f"{path} must declare its studies, but does not; have it exported again") from None
    return table, {name: from_json(StudyRecord, value, str(path)) for name, value in declared.items()}


def _take(row: Mapping[str, Any], runs: dict[str, _Run], entries: dict[str, list[Entry]]) -> None:
    """Read one row into ``runs`` and ``entries``; the id of a run must be the digest of its identity."""
    if row["study"]:
        entry = from_json(Entry, json.loads(row["entry"]), "an entry")
        if not entry.kind.isidentifier() or Path(entry.name).name != entry.name:
            raise ValueError(f"no kind {entry.kind!r}")  # it becomes the name of a file
        entries.setdefault(row["study"], []).append(entry)
    if not row["record"]:
        return
    run, identity, written = row["run"], json.loads(row["identity"]), json.loads(row["record"])
    record = from_json(RunRecord, {**written, **{name: json.loads(row[name]) for name in LISTS}}, f"run {run}")
    if digest(identity) != run or record.id != run or record.identity != identity:
        raise BenchError(
            f"a run's id is the digest of its identity, but run {run!r} has an identity of {digest(identity)}; the file was "
            "changed, so have it exported again"
        )
    curves, timed = (json.loads(row[name] or "null") for name in ("curves", "speed"))
    found = _Run(record, curves, None if timed is None else from_json(SpeedRecord, timed, f"the speed of run {run}"))
    if _texts(runs.setdefault(run, found)) != _texts(found):
        raise Corrupt(f"run {run} is in the file twice and not alike; have it exported again")


def _texts(run: _Run) -> tuple[Any, ...]:
    """A run as values that can be compared, which NaN cannot."""
    return run.record.to_json(), run.curves, run.speed and run.speed.to_json()


def _check_names(path: Path, declared: Mapping[str, Any], entries: Mapping[str, Any]) -> None:
    """Refuse names of studies that would lead outside their folder, as names become folders."""
    for name in {*declared, *entries}:
        if name not in declared or not re.fullmatch(r"\w[\w.+-]*", name):
            raise Corrupt(
                f"{path} names a study {name!r} that it does not declare, or that is no name; have it exported again"
            )


def _is_new(folder: Folder, run: str, record: RunRecord) -> bool:
    """Whether a run does not exist here; another record under its id is an error."""
    here = folder.record(run)
    if here is not None and _plain_run(here) != _plain_run(record):
        raise _taken(f"run {run} is here with other numbers", folder)
    return here is None


def _is_new_study(folder: Folder, name: str, declared: StudyRecord, entries: Sequence[Entry]) -> bool:
    """Whether a study does not exist here; another one of its name is an error."""
    if name not in folder.studies():
        return True
    here = [clean(entry.to_json()) for entry in folder.entries(name)]
    there = [entry.to_json() for entry in sorted(entries, key=lambda entry: entry.name)]
    if _plain_study(folder.study(name)) != _plain_study(declared) or here != there:
        raise _taken(f"study {name} is here and is not the same", folder)
    return False


def _taken(what: str, folder: Folder) -> BenchError:
    return BenchError(
        f"records that are here are never overwritten, but {what}; import into a home of its own, such as "
        f"BENCH_HOME={folder.path}-imported"
    )


def _plain_run(record: RunRecord) -> Any:
    """A record as it is exported: without `imported_from` and local paths."""
    return clean(replace(record, provenance=replace(record.provenance, imported_from=None)).to_json())


def _plain_study(study: StudyRecord) -> Any:
    """A declaration as it is exported: without `imported_from` and local paths."""
    return clean(replace(study, imported_from=None).to_json())


def _write_run(folder: Folder, run: str, found: _Run, mark: str) -> None:
    """Write the files of a run, its record last: it says that the others are complete."""
    where, record = folder.run(run), found.record
    if found.curves:
        curves = pd.DataFrame(found.curves)
        empty = [name for name in curves if curves[name].isna().all()]
        buffer = io.BytesIO()
        curves.astype(dict.fromkeys(empty, float)).to_parquet(buffer, index=False)
        write_bytes(where / "curves.parquet", buffer.getvalue())
    if found.speed:
        write(where / "speed.json", found.speed)
    write(where / "record.json", replace(record, provenance=replace(record.provenance, imported_from=mark)))

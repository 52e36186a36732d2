"""Writes records to one parquet file for others (`bench export-data`); `bench.records.imported` reads it (`bench import-data`).

The file has one row per entry of a study (trial, final, baseline), and one per run that belongs to no study. Its metadata
has, as JSON, ``prunebench.schema`` (1), ``prunebench.records`` (the schema of the records) and ``prunebench.studies`` (the
declarations by name). Columns of schema 1, null where a value is not known:

    study, kind, cell, number, seed, state, reason    the entry ("" and -1 for a run without one)
    method, model, task, target, variant, group, reconstruction    what its cell was
    run, status, label, architecture, epochs          the run's id, and how it ended
    metrics.<key>, cost.<key>    each number of the record, as float64
    version, commit, dirty, device, threads, started, finished    where it comes from
    identity     JSON, what was hashed to the id
    entry        JSON, the whole entry
    record       JSON, the whole record but for its layers and phases
    layers, phases                 JSON, lists of the record
    curves       JSON, a list for each column; speed: JSON, what was measured of it

The JSON columns hold everything that the records hold. The other columns are for computing, and are not read back. Weights are
not exported. Local paths are cut to their last part, and no host or user is named.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.environment import mask_secrets
from bench.errors import BenchError, MissingData, one_of
from bench.records.files import write_bytes
from bench.records.folder import Folder
from bench.records.run_record import SCHEMA, RunRecord
from bench.records.study_record import Entry, StudyRecord

VERSION = 1
LISTS = ("layers", "phases")
ORIGIN = ("version", "commit", "dirty", "device", "threads", "started", "finished")
TEXTS = ("identity", "entry", "record", *LISTS, "curves", "speed")
_END = r"[^\s/\\\"',;:]"
_HOME = re.compile(rf"(?<![\w./~])/(?:home|Users)/{_END}+/?(?!{_END}|/)")
_PATH = re.compile(rf"(?<![\w./~])(?:~?/(?!/)|[A-Za-z]:\\)(?:{_END}+[/\\])+({_END}*)")
_ADDRESS = re.compile(r"\b[\w.+-]+@[A-Za-z][\w.-]*")


def export(folder: Folder, out: Path, studies: Sequence[str] = ()) -> int:
    """Write the records of some studies to a file, or of all studies and of the runs without one; returns the number of rows.

    Raises:
        MissingData: there is nothing to export.
        BenchError: a study is unknown, or the identity of a run holds a local path.
    """
    known = folder.studies()
    for name in studies:
        if name not in known:
            raise one_of("study", name, known)
    declared = {name: folder.study(name) for name in (sorted(set(studies)) or known)}
    rows = [_row(folder, study, entry) for name, study in declared.items() for entry in folder.entries(name)]
    if not studies:
        taken = {entry.run for name in known for entry in folder.entries(name)}
        loose = [run for run in folder.run_ids() if run not in taken and (folder.run(run) / "record.json").exists()]
        rows += [_of_loose(folder, run) for run in loose]
    if not rows:
        raise MissingData(
            f"there must be something to export, but {folder.path} has no entries and no runs; run something first"
        )
    studies_json = {name: clean(study.to_json()) for name, study in declared.items()}
    metadata = {"schema": str(VERSION), "records": str(SCHEMA), "studies": json.dumps(studies_json)}
    table = _table(rows).replace_schema_metadata({f"prunebench.{key}": value for key, value in metadata.items()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_bytes(out, buffer.getvalue())
    return len(rows)


def _row(folder: Folder, study: StudyRecord, entry: Entry) -> dict[str, Any]:
    """One entry with its run, as the file's columns."""
    method, _, model = entry.cell.partition("/")
    row: dict[str, Any] = {"study": study.name, "kind": entry.kind, "cell": entry.cell, "number": entry.number}
    row |= {"seed": entry.seed, "state": entry.state, "reason": clean(entry.reason), "method": method, "model": model}
    cell = study.cells.get(entry.cell) or study.cells.get(entry.of)
    if cell is not None:
        row |= {"model": cell.model, "target": cell.target, "variant": cell.variant, "group": cell.group}
        row |= {"reconstruction": cell.reconstruction}
    row |= {"run": entry.run, "task": study.task, "entry": _json(clean(entry.to_json()))}
    record = folder.record(entry.run) if entry.run else None
    return row if record is None else row | _of_record(folder, record)


def _of_loose(folder: Folder, run_id: str) -> dict[str, Any]:
    """A run that belongs to no study, as the file's columns."""
    row = {"study": "", "kind": "", "cell": "", "number": -1, "seed": -1, "state": "", "method": "", "model": ""}
    record = folder.record(run_id)
    assert record is not None  # it was there just now
    return {**row, "run": run_id, **_of_record(folder, record)}


def _of_record(folder: Folder, record: RunRecord) -> dict[str, Any]:
    """The columns that come from a record, and from what lies beside it."""
    written, run, where = record.to_json(), record.run, record.provenance
    kept = clean({**written, **dict.fromkeys(LISTS)})
    kept["identity"] = record.identity  # as it was hashed
    if _json(clean(record.identity)) != _json(record.identity):
        raise BenchError(
            f"exported records name no local path, but the id of run {record.id} depends on one: task {run.task!r}; export "
            "studies without it, or run it again with folder:PATH relative to the working directory"
        )
    row: dict[str, Any] = {"task": run.task, "epochs": run.epochs, "model": run.model, "method": run.method_name}
    row = {key: value for key, value in row.items() if value}
    row |= {} if run.seed is None else {"seed": run.seed}
    row |= {"status": record.status, "label": record.label, "architecture": record.architecture}
    row |= {f"metrics.{key}": float(value) for key, value in record.metrics.numbers().items()}
    row |= {f"cost.{key}": value for key, value in _numbers(record.cost.to_json())}
    row |= {key: getattr(where, key) for key in ORIGIN}
    speed, curves = folder.speed(record.id), _columns(folder.curves(record.id))
    texts = {"identity": record.identity, "record": kept, **{name: written[name] for name in LISTS}, "curves": curves}
    texts |= {"speed": None if speed is None else clean(speed.to_json())}
    return row | {key: None if value is None else _json(value) for key, value in texts.items()}


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield key, float(value)


def _columns(curves: pd.DataFrame) -> dict[str, list[Any]] | None:
    """The curves as a list for each column, null for NaN; None if there are none."""
    if not len(curves):
        return None
    return {
        str(name): [None if isinstance(v, float) and math.isnan(v) else v for v in curves[name].tolist()]
        for name in curves
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows as a table; the types of its columns do not depend on which values are null."""
    floats = sorted({key for row in rows for key in row if key.startswith(("metrics.", "cost."))})
    kinds = dict.fromkeys(
        ("study", "kind", "cell", "state", "reason", "method", "model", "task", "variant", "group"), pa.string()
    )
    kinds |= {"number": pa.int64(), "seed": pa.int64(), "target": pa.float64(), "reconstruction": pa.bool_()}
    kinds |= dict.fromkeys(("run", "status", "label", "architecture", "version", "commit", "device"), pa.string())
    kinds |= {
        "epochs": pa.float64(),
        "dirty": pa.bool_(),
        "threads": pa.int64(),
        "started": pa.float64(),
        "finished": pa.float64(),
    }
    kinds |= {**dict.fromkeys(floats, pa.float64()), **dict.fromkeys(TEXTS, pa.string())}
    return pa.table({name: pa.array([row.get(name) for row in rows], type=kind) for name, kind in kinds.items()})


def _json(value: Any) -> str:
    return json.dumps(value)  # records hold finite numbers only; a curve may be infinite


def clean(value: Any) -> Any:
    """A JSON value whose texts name no place on this machine: paths are cut to their last part; addresses and secrets are
    masked."""
    if isinstance(value, str):
        short = _PATH.sub(lambda found: found[1] or "***", _HOME.sub("***", value))
        return mask_secrets(_ADDRESS.sub("***", short))
    if isinstance(value, list):
        return [clean(part) for part in value]
    if isinstance(value, dict):
        return {key: part if key in ("documentation", "claims") else clean(part) for key, part in value.items()}
    return value

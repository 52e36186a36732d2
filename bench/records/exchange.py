"""Records as one file, to be handed on (`bench export-data`); `bench.records.imported` reads it (`bench import-data`).

A parquet file with one row per entry of a study (trial, final, baseline), and one per run that belongs to no study. Its
metadata has, as JSON, ``prunebench.schema`` (1), ``prunebench.records`` (the schema of the records, `bench.records.folder`) and
``prunebench.studies`` (the declarations by name). Columns of schema 1; what is not known is null:

    study, kind, cell, number, seed, state, reason    the entry ("" and -1 for a run without one)
    method, model, task, target, variant, group, reconstruction    what its cell was
    run, status, label, architecture, epochs          the run's id, and how it ended
    metrics.<name>, cost.<name>    each number of the record, as float64
    version, commit, dirty, device, threads, started, finished    where it comes from
    identity     JSON, what was hashed to the id
    entry        JSON, the whole entry
    record       JSON, the whole record but for its layers and phases
    layers, phases                 JSON, lists of the record
    curves       JSON, a list for each column; speed: JSON, what was measured of it

The JSON columns hold all that the records hold; the others are there to be computed with, and are not read back. Weights are
not handed on. Local paths are cut to their last part, and no host or user is named.
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
from bench.records.folder import SCHEMA, Folder

VERSION = 1
LISTS = ("layers", "phases")
TEXTS = ("identity", "entry", "record", *LISTS, "curves", "speed")
_END = r"[^\s/\\\"',;:]"
_HOME = re.compile(rf"(?<![\w./~])/(?:home|Users)/{_END}+/?(?!{_END}|/)")
_PATH = re.compile(rf"(?<![\w./~])(?:~?/(?!/)|[A-Za-z]:\\)(?:{_END}+[/\\])+({_END}*)")
_ADDRESS = re.compile(r"\b[\w.+-]+@[A-Za-z][\w.-]*")


def export(folder: Folder, out: Path, studies: Sequence[str] = ()) -> int:
    """Write the records of some studies (none named: all, and the runs without a study) to a file; returns its rows.

    Raises:
        BenchError: a study is unknown, nothing is there, or what an id is made of names a local path.
    """
    known = folder.studies()
    for name in studies:
        if name not in known:
            raise one_of("study", name, known)
    declared = {name: clean(folder.study(name)) for name in (sorted(set(studies)) or known)}
    rows = [_row(folder, name, entry, said) for name, said in declared.items() for entry in folder.entries(name)]
    if not studies:
        taken = {entry.get("run") for name in known for entry in folder.entries(name)}
        loose = [run for run in folder.run_ids() if run not in taken and (folder.run(run) / "record.json").exists()]
        rows += [_row(folder, "", {"run": run}, {}) for run in loose]
    if not rows:
        raise MissingData(
            f"there must be something to export, but {folder.home} has no entries and no runs; run something first"
        )
    metadata = {"schema": str(VERSION), "records": str(SCHEMA), "studies": json.dumps(declared)}
    table = _table(rows).replace_schema_metadata({f"prunebench.{key}": value for key, value in metadata.items()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_bytes(out, buffer.getvalue())
    return len(rows)


def _row(folder: Folder, study: str, entry: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    """One entry with its run, as the file's columns."""
    run = entry.get("run") or ""
    record = folder.record(run) if run else None
    cells = declared.get("cells", {})
    cell = cells.get(entry.get("cell"), cells.get(entry.get("of"), {}))
    method, _, model = str(entry.get("cell", "")).partition("/")
    row: dict[str, Any] = {"study": study, "kind": entry.get("kind", ""), "cell": entry.get("cell", "")}
    row |= {"number": entry.get("number", -1), "seed": entry.get("seed", -1), "state": entry.get("state", "")}
    row |= {"reason": clean(entry.get("reason")), "method": method, "model": cell.get("model", model)}
    row |= {name: cell.get(name) for name in ("target", "variant", "group", "reconstruction")}
    row |= {"run": run, "task": declared.get("task"), "entry": _json(clean(entry)) if study else None}
    return row | (_of_record(folder, record) if record else {})


def _of_record(folder: Folder, record: dict[str, Any]) -> dict[str, Any]:
    """The columns that come from a record, and from what lies beside it."""
    run, ran, where = record["id"], record["run"], record["provenance"]
    kept = clean({**record, **dict.fromkeys(LISTS)})
    kept["identity"] = record["identity"]  # as it was hashed
    if _json(clean(record["identity"])) != _json(record["identity"]):
        raise BenchError(
            f"what is exported names no local path, but the id of run {run} is made of one: task {ran.get('task')!r}; export "
            "studies without it, or run it again with folder:PATH relative to the working directory"
        )
    row: dict[str, Any] = {"task": ran.get("task"), "epochs": ran.get("epochs"), "model": ran.get("model")}
    row |= {"method": ran.get("method", {}).get("name"), "seed": ran.get("seed", -1)}
    row = {key: value for key, value in row.items() if value is not None}
    row |= {key: record.get(key) for key in ("status", "label", "architecture")}
    row |= {f"{part}.{key}": value for part in ("metrics", "cost") for key, value in _numbers(record[part])}
    row |= {key: where.get(key) for key in ("version", "commit", "dirty", "device", "threads", "started", "finished")}
    speed = folder.speed(run)
    texts = {"identity": record["identity"], "record": kept, **{name: record[name] for name in LISTS}}
    texts |= {"curves": _columns(folder.curves(run)), "speed": clean(speed) if speed else None}
    return row | {key: None if value is None else _json(value) for key, value in texts.items()}


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield key, float(value)


def _columns(curves: pd.DataFrame) -> dict[str, list[Any]] | None:
    """The curves as lists; a number that is not there is null."""
    if not len(curves):
        return None
    return {
        str(name): [None if isinstance(v, float) and math.isnan(v) else v for v in curves[name].tolist()]
        for name in curves
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows as a table whose columns do not depend on which of them are empty."""
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
    """A JSON value whose texts name no place on this machine: paths are cut to their last part, addresses and secrets
    masked."""
    if isinstance(value, str):
        short = _PATH.sub(lambda found: found[1] or "***", _HOME.sub("***", value))
        return mask_secrets(_ADDRESS.sub("***", short))
    if isinstance(value, list):
        return [clean(part) for part in value]
    if isinstance(value, dict):
        return {key: part if key in ("documentation", "claims") else clean(part) for key, part in value.items()}
    return value

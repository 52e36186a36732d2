"""The one place where records become JSON and JSON becomes records, whatever version wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import BenchError, Corrupt
from bench.records import older
from bench.records.files import read_json, write_text
from bench.records.part import Part
from bench.records.run_record import SCHEMA, RunRecord
from bench.records.speed_record import SpeedRecord
from bench.records.study_record import StudyRecord

_Record = TypeVar("_Record", bound=Part)

_OLDER: Mapping[type[Part], Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    RunRecord: older.run_record,
    StudyRecord: older.study_record,
    SpeedRecord: older.speed_record,
}


def from_json(kind: type[_Record], value: Any, where: str) -> _Record:
    """The record of some JSON value; ``where`` it stands is named in errors.

    Raises:
        BenchError: it has the schema of a later version.
        Corrupt: it is no such record.
    """
    try:
        if not isinstance(value, Mapping):
            raise Corrupt(f"a {kind.__name__} must be an object in JSON, but got {value!r:.80}; have it written again")
        schema = value.get("schema", SCHEMA)
        if schema > SCHEMA:
            raise BenchError(f"records of schema {SCHEMA} can be read, but {where} has {schema}; update this package")
        complete = _OLDER.get(kind)
        return kind.from_json(value if complete is None else complete(value))
    except Corrupt as error:
        raise Corrupt(f"{where}: {error}") from None


def to_text(record: Part) -> str:
    """A record as the text of its file: readable JSON of finite numbers."""
    return json.dumps(record.to_json(), indent=1, allow_nan=False) + "\n"


def read(kind: type[_Record], path: Path) -> _Record:
    """Read the record in a file.

    Raises:
        MissingData: there is no such file.
        Corrupt: it is no JSON, or not such a record.
        BenchError: it has the schema of a later version.
    """
    return from_json(kind, read_json(path), str(path))


def read_if_there(kind: type[_Record], path: Path) -> _Record | None:
    """Read the record in a file; None where there is no file."""
    return read(kind, path) if path.exists() else None


def write(path: Path, record: Part) -> None:
    """Write a record to a file, atomically."""
    write_text(path, to_text(record))


def parse(kind: type[_Record], text: str | bytes, where: str) -> _Record:
    """The record in the text of a file; ``where`` it stands is named in errors."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Corrupt(f"{where} is not valid JSON ({error}); remove it there to have it written again") from None
    return from_json(kind, value, where)

"""The journal of the test split: who opened it and when, for each data set of a home.

    <home>/openings/<digest of the data>.jsonl     one line per opening; lines are only added

A run's record says how often the run itself opened the split. The journal also has what no record can have: evaluations of a
finished model, and runs that opened the split and failed afterwards.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.errors import Corrupt
from bench.records.part import Part
from bench.records.run_record import RunRecord

FOLDER = "openings"


@dataclass(frozen=True)
class Opening(Part):
    """One opening of the test split of a data set."""

    task: str
    digest: str  # of the data set
    time: float  # seconds since 1970
    process: int
    run: str  # id of the run whose model is evaluated; "" of a model that belongs to no run
    command: str


def note(home: Path, opening: Opening) -> None:
    """Add an opening to the journal of its data set below ``home``, in one write: processes may do so at the same time."""
    path = _file(home, opening.digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(opening.to_json(), allow_nan=False) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def journal(home: Path, digest: str) -> list[Opening]:
    """The openings of a data set in a home, in the order in which they were written.

    Raises:
        Corrupt: a line is no opening.
    """
    path = _file(home, digest)
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            found.append(Opening.from_json(json.loads(line)))
        except ValueError as error:
            raise Corrupt(f"{path} has no opening in line {number} ({error}); correct that line") from None
    return found


def with_records(openings: Iterable[Opening], records: Iterable[RunRecord]) -> list[Opening]:
    """The openings of a journal, with those in records of runs that the journal does not know, such as imported ones."""
    found = list(openings)
    known = {opening.run for opening in found}
    for record in records:
        if record.id in known:
            continue
        where = record.provenance
        whose = {"task": record.run.task, "digest": str(where.data.get("digest", "")), "run": record.id}
        each = {**whose, "command": where.command or ""}
        times = [(opened.time, opened.process) for opened in record.test_opened]
        times += [(where.started or 0.0, 0)] * (record.test_openings - len(times))
        found += [Opening(**each, time=time, process=process) for time, process in times]
    return found


def _file(home: Path, digest: str) -> Path:
    return home / FOLDER / f"{digest[:16]}.jsonl"

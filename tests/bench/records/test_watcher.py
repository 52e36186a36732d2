"""What is looked at again and again is read when it was written, and not each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.records import files, reading, watcher
from bench.records.files import write_json
from bench.records.folder import Folder
from bench.records.study_record import Entry
from bench.records.watcher import LOOSE, EntryWatcher
from tests.records import run_record, study_record

STUDY = "toy"


@pytest.fixture
def records(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "home")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read."""
    found, real = list[str](), files.read_json

    def counted(path: Path) -> Any:
        found.append(path.name)
        return real(path)

    for module in (watcher, reading):
        monkeypatch.setattr(module, "read_json", counted)
    return found


def write(records: Folder, number: int, state: str, kind: str = "trial") -> Entry:
    entry = Entry(kind, "sap/toy", number, 0, f"r{number}", state=state)
    records.write_entry(STUDY, entry)
    return entry


def test_what_has_ended_is_read_once(records: Folder, read: list[str]) -> None:
    entries = [write(records, number, "finished" if number else "running") for number in range(4)]
    looker = EntryWatcher(records, STUDY)
    assert looker.look() == entries
    assert len(read) == 4
    assert [looker.look() for _ in range(3)] == [entries[:1]] * 3
    assert len(read) == 4
    assert looker.names == {f"trial-sap-toy-000{number}-s0": f"r{number}" for number in range(4)}


def test_what_is_written_again_is_read_again(records: Folder) -> None:
    looker = EntryWatcher(records, STUDY)
    write(records, 0, "failed")
    write(records, 1, "running")
    assert [e.state for e in looker.look()] == ["failed", "running"]
    ended = write(records, 1, "finished")
    assert looker.look() == [ended]
    again = write(records, 0, "running")
    assert looker.look() == [again]
    new = write(records, 2, "finished")
    assert looker.look() == [again, new]
    assert [looker.look(), looker.look(closely=True)] == [[again], [again]]


def test_what_is_taken_out_is_forgotten(records: Folder) -> None:
    looker = EntryWatcher(records, STUDY)
    former, kept = write(records, 0, "running", "final"), write(records, 1, "finished", "final")
    assert looker.look() == [former, kept]
    records.drop_entry(STUDY, former)
    assert looker.look() == []
    assert list(looker.names) == ["final-sap-toy-0001-s0"]


def test_a_study_without_entries_has_none(records: Folder) -> None:
    assert EntryWatcher(records, STUDY).look() == []


def test_runs_of_no_study(records: Folder, read: list[str]) -> None:
    run = {"method": {"name": "sap"}, "model": "toy", "seed": 0}
    for name in ("r0", "alone"):
        write_json(records.run(name) / "run.json", {"run": run})
    records.write_study(study_record(STUDY))
    write(records, 0, "finished")
    looker = EntryWatcher(records, LOOSE)
    assert [(e.run, e.state) for e in looker.look()] == [("alone", "running")]
    reading.write(records.run("alone") / "record.json", run_record("alone"))
    assert [(e.run, e.state) for e in looker.look()] == [("alone", "finished")]
    read.clear()
    assert looker.look() == []
    assert not read

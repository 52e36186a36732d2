"""The folder of records: where files are, and what is listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import MissingData
from bench.records.folder import Folder
from bench.records.reading import write
from bench.records.study_record import Entry
from bench.records.watcher import EntryWatcher
from tests.records import run_record, study_record


def test_files_that_a_system_leaves_beside_entries_are_no_entries(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write_study(study_record("a"))
    entry = Entry("trial", "sap/toy", 0, 0, "aaa", state="running")
    folder.write_entry("a", entry)
    folder.entry_file("a", entry).with_name(f"._{entry.name}.json").write_bytes(b"\0\5\x16\7")
    assert list(folder.entries("a")) == [entry]
    assert EntryWatcher(folder, "a").look() == [entry]


def test_runs_and_studies_are_listed_by_name(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert (folder.run_ids(), folder.studies()) == ([], [])
    for name in ("b", "a"):
        folder.write_study(study_record(name))
        write(folder.run(name) / "record.json", run_record(name))
    (tmp_path / "runs" / "going").mkdir()
    assert folder.run_ids() == ["a", "b", "going"]
    assert folder.studies() == ["a", "b"]
    assert folder.study("a") == study_record("a")
    assert folder.record("a") == run_record("a")
    assert (folder.record("going"), folder.speed("a")) == (None, None)
    with pytest.raises(MissingData, match="no file"):
        folder.study("none")


def test_entries_are_files_of_their_names(tmp_path: Path) -> None:
    folder, entry = Folder(tmp_path), Entry("final", "sap/net@0.5", 0, 1000, "a")
    folder.write_entry("s", entry)
    assert folder.entry_file("s", entry) == tmp_path / "studies" / "s" / "entries" / "final-sap-net@0.5-0000-s1000.json"
    assert list(folder.entries("s")) == [entry]
    folder.drop_entry("s", entry)
    folder.drop_entry("s", entry)  # once is enough
    assert list(folder.entries("s")) == []

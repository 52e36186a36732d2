"""The journal of the test split: every opening is there, whoever opens it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import Corrupt
from bench.records import run_record as records
from bench.records.openings import Opening, journal, note, with_records
from bench.records.run_record import Provenance
from tests.records import run_record

OPENED = Opening("digits", "abcd" * 16, 2.0, 7, "0123456789ab", "bench run")


def test_an_opening_is_added_and_read_again(tmp_path: Path) -> None:
    assert journal(tmp_path, OPENED.digest) == []
    note(tmp_path, OPENED)
    note(tmp_path, replace(OPENED, run="", command="bench evaluate"))
    assert [(one.run, one.command) for one in journal(tmp_path, OPENED.digest)] == [
        (OPENED.run, "bench run"),
        ("", "bench evaluate"),
    ]
    assert journal(tmp_path, "other") == []


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    note(tmp_path, OPENED)
    (path,) = (tmp_path / "openings").iterdir()
    path.write_text(path.read_text() + "{\n")
    with pytest.raises(Corrupt, match="no opening in line 2"):
        journal(tmp_path, OPENED.digest)


def test_records_that_the_journal_does_not_know_count_too(tmp_path: Path) -> None:
    where = Provenance(data={"digest": OPENED.digest}, command="bench study", started=1.0)
    other = run_record("ba9876543210", provenance=where, test_openings=1, test_opened=(records.TestOpening(5.0, 8),))
    older = run_record("aaaaaaaaaaaa", provenance=where, test_openings=1)
    known = run_record(OPENED.run, provenance=where, test_openings=1)
    found = with_records([OPENED], [known, other, older])
    assert [(one.run, one.time) for one in found] == [(OPENED.run, 2.0), (other.id, 5.0), (older.id, 1.0)]

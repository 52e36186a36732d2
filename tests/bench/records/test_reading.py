"""One place reads and writes records."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import BenchError, Corrupt, MissingData
from bench.records.reading import from_json, parse, read, read_if_there, to_text, write
from bench.records.run_record import RunRecord
from bench.records.study_record import Entry

ENTRY = Entry("trial", "sap/test_vit", 0, 0, "0123456789ab", {"p": 0.5}, (90.0, 0.5))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "entry.json", ENTRY)
    assert read(Entry, tmp_path / "entry.json") == ENTRY
    assert parse(Entry, to_text(ENTRY), "here") == ENTRY
    assert read_if_there(Entry, tmp_path / "none.json") is None


def test_a_later_schema_is_refused() -> None:
    with pytest.raises(BenchError, match="records of schema 1 can be read, but here has 2; update this package"):
        from_json(RunRecord, {"schema": 2}, "here")


@pytest.mark.parametrize(
    ("text", "told"), [("{", "is not valid JSON"), ("[]", "must be an object"), ("{}", "must have")]
)
def test_what_is_no_record_is_refused_by_its_place(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "entry.json").write_text(text)
    with pytest.raises(Corrupt, match=rf"entry\.json.*{told}"):
        read(Entry, tmp_path / "entry.json")
    with pytest.raises(Corrupt, match=rf"there.*{told}"):
        parse(Entry, text, "there")


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="no file"):
        read(Entry, tmp_path / "entry.json")

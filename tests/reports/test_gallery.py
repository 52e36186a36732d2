"""The README's gallery is made of records."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.errors import BenchError
from bench.records import exchange
from bench.records.folder import Folder
from reports import gallery
from reports.tables import formats
from tests.reports import exact


def test_the_gallery_is_that_of_the_records() -> None:
    """Its numbers, not the bytes of its drawings. To make it anew: make gallery"""
    drawn = {path.stem for path in gallery.OUT.glob("*.csv")}
    assert {path.stem for path in gallery.OUT.glob("*.svg")} == drawn
    own, files = _as_they_are(gallery.RECORDS), {path.stem for path in gallery.OUT.glob("*.parquet")}
    assert {name for name in drawn if not name.startswith(tuple(files))} == own


@pytest.mark.slow
def test_the_gallery_is_that_of_the_files_of_records(tmp_path: Path) -> None:
    for file in gallery.OUT.glob("*.parquet"):
        drawn = {path.stem for path in gallery.OUT.glob(f"{file.stem}-*.csv")}
        assert drawn == _as_they_are(gallery.taken_in(file, tmp_path))


def _as_they_are(home: Path) -> set[str]:
    """The names of the figures of these records, whose numbers must be those that lie in the gallery."""
    found = {name: figure.table for name, _, figure in gallery.picked(home)}
    assert found
    for name, table in found.items():
        _same(pd.read_csv(gallery.OUT / f"{name}.csv"), formats.csv(table))
    return set(found)


def _same(stored: pd.DataFrame, text: str) -> None:
    from io import StringIO

    pd.testing.assert_frame_equal(stored, pd.read_csv(StringIO(text)), rtol=1e-9)


def test_a_gallery_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="has none with data"):
        gallery.write([tmp_path], tmp_path / "out")


@pytest.mark.slow
def test_a_gallery_is_made_of_a_file_of_records_too(tmp_path: Path) -> None:
    exchange.export(Folder(exact.HOME), tmp_path / "records.parquet")
    home = gallery.taken_in(tmp_path / "records.parquet", tmp_path / "homes")
    (whole,), (taken,) = ([(n, formats.csv(f.table)) for n, _, f in gallery.picked(h)][:1] for h in (exact.HOME, home))
    assert taken == whole


@pytest.mark.slow
def test_two_studies_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="is there twice"):
        gallery.write([exact.HOME, exact.HOME], tmp_path / "out")
    assert not (tmp_path / "out").exists()

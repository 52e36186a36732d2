"""Real records give exact tables, which were checked by hand once; and the README's gallery is made of them."""

from __future__ import annotations

import statistics
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from bench.errors import BenchError
from bench.records import exchange
from bench.records.files import read_json
from bench.records.folder import Folder
from reports import gallery
from reports.load.records import Study
from reports.tables import comparison, finals, formats, tidy
from tests.reports import exact


@pytest.fixture(scope="module")
def study() -> Study:
    return exact.study()


@pytest.fixture(scope="module")
def shown(study: Study) -> dict[str, str]:
    return {table.name: formats.markdown(table) for table in exact.tables(study)}


def test_the_tables_are_exact(shown: dict[str, str]) -> None:
    """To write them anew: python -m tests.reports.exact"""
    assert {path.stem for path in exact.TABLES.glob("*.md")} == set(shown)
    for name, text in shown.items():
        assert text == (exact.TABLES / f"{name}.md").read_text(), name


def test_the_finals_by_hand(study: Study) -> None:
    """Gradual at 95 %, of 359 test images: 315, 316 and 324 right, 87.7437, 88.0223 and 90.2507 %.

    Mean 955 / 1077 = 88.6722. Deviations from it -0.9285, -0.6500 and 1.5785, squares 0.8621 + 0.4225 + 2.4916 = 3.7762;
    standard deviation sqrt(3.7762 / 2) = 1.3741; half width 4.3027 x 1.3741 / sqrt(3) = 3.4134.
    """
    row = finals.finals_frame(study).set_index("label").loc["gradual @0.95 #0"]
    assert row["test_top1"] == pytest.approx(100 * (315 + 316 + 324) / (3 * 359), abs=1e-9)
    assert row["test_top1_std"] == pytest.approx(1.3741, abs=1e-4)
    assert row["test_top1_half"] == pytest.approx(3.4134, abs=1e-4)


def test_every_mean_deviation_and_interval_is_scipys(study: Study) -> None:
    """From the files, by another way than the report's."""
    frame = finals.finals_frame(study)
    ours = frame[~frame["claim"].astype(bool)]
    assert len(ours) == 5
    for row in ours.to_dict("records"):
        records = [read_json(exact.HOME / "runs" / run / "record.json") for run in row["runs"]]
        values = [record["metrics"]["test/top1"] for record in records]
        assert row["test_top1"] == pytest.approx(statistics.fmean(values), rel=1e-12)
        assert row["test_top1_std"] == pytest.approx(statistics.stdev(values), rel=1e-9)
        low, high = stats.t.interval(0.95, 2, statistics.fmean(values), stats.sem(values))
        assert row["test_top1_half"] == pytest.approx((high - low) / 2, rel=1e-9)
        assert row["weights_left"] == pytest.approx(statistics.fmean(r["metrics"]["weights_left"] for r in records))


def test_the_comparison_by_hand(study: Study) -> None:
    """Oneshot less gradual at 80 %, of 359 images: 349 - 349, 352 - 351 and 354 - 351: 0, 1 and 3 images.

    Mean 4 / 3 images = 0.3714 %. Their standard deviation is 1.5275 images = 0.4255 %, half width 4.3027 x 0.4255 / sqrt(3) =
    1.0570 %.
    """
    frame = tidy.tidy(study)
    table = comparison.comparison(frame, tidy.baseline(study, frame)).frame.set_index(["cell", "method"])
    row = table.loc["test_resnet@0.8", "oneshot"]
    assert row["difference"] == pytest.approx(100 * 4 / 3 / 359, abs=1e-9)
    assert row["difference_half"] == pytest.approx(1.0570, abs=1e-4)


def test_the_sizes_by_hand(study: Study) -> None:
    """Of 371,280 weights the classifier's 960 stay; 80 % of the other 370,320 are masked, which leaves
    75,024."""
    row = finals.finals_frame(study).set_index("label").loc["oneshot @0.8 #0"]
    assert row["weights_left"] == pytest.approx((960 + 370_320 / 5) / 371_280, rel=1e-12)
    assert row["sparsity"] == pytest.approx(0.8, rel=1e-12)


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

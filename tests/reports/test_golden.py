"""Real records give exact tables, which were checked by hand once; and the README's gallery is made of them."""

from __future__ import annotations

import statistics

import pytest
from scipy import stats

from bench.records.files import read_json
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
    table = comparison.comparison(frame, tidy.baselines(study, frame)).frame.set_index(["cell", "method"])
    row = table.loc["test_resnet@0.8", "oneshot"]
    assert row["difference"] == pytest.approx(100 * 4 / 3 / 359, abs=1e-9)
    assert row["difference_half"] == pytest.approx(1.0570, abs=1e-4)


def test_the_sizes_by_hand(study: Study) -> None:
    """Of 371,280 weights the classifier's 960 stay; 80 % of the other 370,320 are masked, which leaves
    75,024."""
    row = finals.finals_frame(study).set_index("label").loc["oneshot @0.8 #0"]
    assert row["weights_left"] == pytest.approx((960 + 370_320 / 5) / 371_280, rel=1e-12)
    assert row["sparsity"] == pytest.approx(0.8, rel=1e-12)

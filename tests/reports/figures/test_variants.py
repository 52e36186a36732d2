"""The variants of a grid."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.figures import catalog
from reports.figures.variants import variants
from reports.load.records import Study
from tests.reports import samples
from tests.reports.looking import assert_legible, drawn


@pytest.fixture
def grid(tmp_path: Path) -> Study:
    return samples.variants(tmp_path)


def test_labels_and_order_are_those_of_the_variants(grid: Study) -> None:
    table = variants(grid)
    assert table["label"].tolist() == ["dense", "sap eta=1", "sap eta=0.1", "drop† both 0.9"]
    assert table["group"].tolist() == ["", "eta", "eta", "parts"]
    assert table["accuracy"].tolist() == [95.0, 90.0, 89.0, 87.5]
    assert table["n"].tolist() == [3, 3, 3, 2]


@pytest.mark.slow
def test_many_variants_stay_legible(tmp_path: Path) -> None:
    study = samples.crowded(tmp_path, "variants", samples.MANY_VARIANTS, ["m"])
    made = {figure.name: figure for figure in (make(study) for make in catalog.makers(study))}
    assert_legible(drawn(made["variants"], wide=False))
    assert_legible(drawn(made["curves"]))

"""The figures that every study has."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.text import Text

from bench.records.folder import Folder
from reports.figures import catalog
from reports.figures.accuracy import accuracy_against
from reports.figures.catalog import marked
from reports.load.records import DAGGER, NOTE, Study, load
from reports.tables import columns, finals
from tests.reports import homes, samples
from tests.reports.looking import assert_legible, drawn


@pytest.fixture
def grid(tmp_path: Path) -> Study:
    return samples.variants(tmp_path)


def test_what_needs_trials_says_that_there_are_none(grid: Study) -> None:
    made = {figure.name: figure for figure in (make(grid) for make in catalog.makers(grid))}
    assert list(made) == [
        *("variants", "accuracy-weights-left", "accuracy-macs-left", "curves", "layers", "pq-rounds"),
        *("importances", "slices", "history"),
    ]
    for name in ("importances", "history"):
        assert "there are no trials" in made[name].missing
    for name in ("variants", "accuracy-weights-left", "curves", "layers", "pq-rounds"):
        assert not made[name].missing


def test_a_reconstruction_is_marked_wherever_its_numbers_are(grid: Study) -> None:
    for make in catalog.makers(grid):
        figure = make(grid)
        if not figure.missing:
            assert marked(figure, grid).marked
            assert marked(figure, grid).caption.endswith(NOTE)
    for make_table in (finals.finals, finals.configurations, finals.failures, finals.runs):
        table = columns.marked(make_table(grid))
        assert table.caption.endswith(NOTE)
        shown = [column.text(row) for row in table.rows() for column in table.columns]
        assert any(DAGGER in text for text in shown)
        assert not any(text.startswith("drop") and DAGGER not in text for text in shown)
    assert accuracy_against(grid, "weights_left").groupby("method")["reconstruction"].all().to_dict() == {
        "dense": False,
        "drop": True,
        "sap": False,
    }


def test_a_faithful_method_carries_no_mark(tmp_path: Path) -> None:
    study = load(Folder(homes.full(tmp_path, models=["test_vit"], trials=4)), "pareto-sap")
    assert not any(marked(make(study), study).marked for make in catalog.makers(study))
    assert DAGGER not in columns.marked(finals.finals(study)).caption


def test_a_mark_is_in_the_picture_too(grid: Study) -> None:
    canvas = drawn(next(f for f in (make(grid) for make in catalog.makers(grid)) if f.name == "variants"))
    assert "drop†" in {text.get_text() for text in canvas.findobj(Text)}


@pytest.mark.slow
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize(
    ("variants", "models"), [(samples.MANY_VARIANTS, ["m"]), ([("", "drop", "", {}, {})], samples.MANY_MODELS)]
)
def test_every_figure_stays_legible(
    variants: list[homes.Variant], models: list[str], wide: bool, tmp_path: Path
) -> None:
    study = samples.crowded(tmp_path, "crowded", variants, models)
    for figure in (make(study) for make in catalog.makers(study)):
        if not figure.missing:
            assert_legible(drawn(figure, wide))

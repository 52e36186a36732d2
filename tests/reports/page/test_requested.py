"""Figures and tables that only some studies declare."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.records.folder import Folder
from reports.build import build
from reports.load.records import Study, load
from reports.page import requested
from reports.page.facts import warnings
from tests.reports import homes, samples
from tests.reports.looking import Page, assert_legible, drawn


def test_failed_architectures_are_listed_with_their_reasons(tmp_path: Path) -> None:
    (make,) = requested.tables(samples.architectures(tmp_path))
    table = make(samples.architectures(tmp_path))
    row = next(row for row in table.rows() if row["model"] == "other")
    shown = {column.head: column.text(row) for column in table.columns}
    assert shown["failed runs"] == "3"
    assert "the window must fit" in shown["reason"]
    assert shown["pruned"] == "–"


@pytest.mark.parametrize(
    "make", [samples.sparse_and_dense, samples.ablation, samples.architectures, samples.sap_phases]
)
def test_special_figures_are_legible_in_both_widths(make: object, tmp_path: Path) -> None:
    study = make(tmp_path)  # type: ignore[operator]
    (maker,) = requested.makers(study)
    for wide in (True, False):
        assert_legible(drawn(maker(study), wide))


@pytest.mark.parametrize("name", sorted(requested.FIGURES))
def test_without_results_they_say_so(name: str, tmp_path: Path) -> None:
    homes.grid(tmp_path, [("a", "sap", "", {}, {})], figures=[name], controls=[])
    made = requested.FIGURES[name](load(Folder(tmp_path), "grid"))
    assert made.missing
    assert isinstance(made.table, pd.DataFrame)


@pytest.mark.slow
def test_the_whole_report_of_an_ablation(tmp_path: Path) -> None:
    samples.architectures(tmp_path)
    page = build(tmp_path, tmp_path / "out")
    text, folder = page.read_text(), page.parent / "architectures"
    assert "study-1-prunable" in Page(text).ids
    assert "the window must fit" in (folder / "tables" / "architectures.md").read_text()
    assert r"drop\dag{}" in (folder / "tables" / "finals.tex").read_text()
    assert "<!-- † reconstruction -->" in (folder / "figures" / "prunable-column.svg").read_text()
    assert "† reconstruction" not in (folder / "figures" / "prunable.csv").read_text()
    assert "model,method,reconstruction" in (folder / "figures" / "prunable.csv").read_text()


@pytest.fixture
def grid(tmp_path: Path) -> Study:
    return samples.variants(tmp_path)


def test_special_figures_are_made_only_where_they_are_asked_for(grid: Study, tmp_path: Path) -> None:
    assert requested.makers(grid) == []
    homes.grid(tmp_path, samples.VARIANTS, name="asks", figures=["prunable", "of the future"])
    asks = load(Folder(tmp_path), "asks")
    assert [make(asks).name for make in requested.makers(asks)] == ["prunable"]
    assert any("'of the future'" in warning for warning in warnings(asks))

"""History, slices and importances of the tuning."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.records.folder import Folder
from reports.figures import search, style
from reports.figures.catalog import makers
from reports.figures.render import render
from reports.figures.search import history, importances, slices
from reports.load.records import Study, load
from reports.statistics import summary
from tests.reports import homes, samples
from tests.reports.looking import drawn


def test_what_trials_have_reached_is_what_they_dominate_together(tmp_path: Path) -> None:
    table = search.history(samples.trials(tmp_path, 60, pareto=True))
    for last, reached in enumerate(table["reached"]):
        seen = table[: last + 1]
        assert reached == 100 * summary.hypervolume(seen["size"].tolist(), seen["accuracy"].tolist())


def test_what_a_ladder_has_reached_is_its_best(tmp_path: Path) -> None:
    table = search.history(samples.trials(tmp_path, 30, pareto=False))
    assert table["reached"].tolist() == table["accuracy"].cummax().tolist()


def test_more_cells_than_a_figure_has_room_for_are_said(tmp_path: Path) -> None:
    cells = search.PANELS // search.KNOBS + 2
    study = samples.trials(tmp_path, 1, pareto=False, cells=cells)
    figure = next(f for make in makers(study) if (f := make(study)).name == "slices")
    assert f"the first {cells - 2} of {cells} cells" in figure.caption
    assert figure.table["cell"].nunique() == cells
    table = pd.concat([figure.table.assign(rank=rank) for rank in range(search.KNOBS)], ignore_index=True)
    with style.paper():
        assert len(search.draw_slices(table, style.looks(["sap"]), True).axes) == search.PANELS
    few = search.history(samples.trials(tmp_path / "few", 1, pareto=False))
    assert search.left_out(few) == ""


def test_many_points_are_an_image(tmp_path: Path) -> None:
    for count, image in ((3, False), (style.DENSE + 1, True)):
        study = samples.trials(tmp_path / str(count), count, pareto=False)
        figure = next(f for make in makers(study) if (f := make(study)).name == "slices")
        assert (b"<image" in render(drawn(figure))["svg"]) is image


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load(Folder(homes.full(tmp_path)), "pareto-sap")


def test_history_of_a_front_and_of_a_ladder(study: Study, tmp_path: Path) -> None:
    table = history(study)
    own = table[table["cell"] == "sap/test_vit"]
    assert own["number"].tolist() == list(range(8))
    assert own.loc[own["number"] == 3, "accuracy"].isna().all()
    assert own["reached"].is_monotonic_increasing
    home = tmp_path / "ladder"
    declared = homes.declare(home, kind="ladder", name="ladder-sap", objectives=["accuracy"])
    for number, value in enumerate([80.0, 90.0, 85.0]):
        homes.write_run(home, run := homes.run_id(number), model="test_vit", val=value, left=0.1)
        homes.write_entry(home, declared["name"], "trial", "sap/test_vit@0.9", number, values=[value], run=run)
    ladder = history(load(Folder(home), "ladder-sap"))
    assert ladder["reached"].tolist() == [80.0, 90.0, 90.0]


def test_importances_are_those_of_the_declaration(study: Study) -> None:
    table = importances(study)
    own = table[(table["cell"] == "sap/test_vit") & (table["objective"] == "accuracy")]
    assert list(zip(own["parameter"], own["share"], strict=True)) == [("gamma", 0.6), ("p", 0.4)]


def test_slices_by_hand(tmp_path: Path) -> None:
    study = load(Folder(homes.full(tmp_path)), "pareto-sap")
    table = slices(study)
    own = table[(table["cell"] == "sap/test_vit") & (table["parameter"] == "gamma")]
    assert own["x"].tolist() == [1.0 + number for number in range(8)]
    assert own["rank"].tolist() == [0] * 8  # of the higher importance
    assert own["accuracy"].isna().tolist() == [number == 3 for number in range(8)]
    assert own.loc[own["chosen"], "number"].tolist() == [2, 6]


def test_slices_know_choices_and_logarithms(tmp_path: Path) -> None:
    space = {
        "p": '{"name": "CategoricalDistribution", "attributes": {"choices": [0.5, "all"]}}',
        "gamma": '{"name": "FloatDistribution", "attributes": {"log": true, "low": 1.0, "high": 9.0}}',
    }
    cell = {"method": "sap", "model": "net", "target": None, "space": space, "importances": {}}
    homes.declare(tmp_path, cells={"sap/net": cell}, models=["net"], kind="ladder")
    for number, choice in enumerate(("all", 0.5)):
        run = homes.run_id("pareto-sap", "trial", "sap/net", number, 0)
        homes.write_run(tmp_path, run, model="net", val=90.0, left=0.5)
        params = {"p": choice, "gamma": 3.0}
        homes.write_entry(tmp_path, "pareto-sap", "trial", "sap/net", number, values=[90.0], params=params)
    table = slices(load(Folder(tmp_path), "pareto-sap")).set_index(["parameter", "number"])
    assert table["x"].to_dict() == {("p", 0): 1.0, ("p", 1): 0.0, ("gamma", 0): 3.0, ("gamma", 1): 3.0}
    assert table["log"].to_dict() == {("p", 0): False, ("p", 1): False, ("gamma", 0): True, ("gamma", 1): True}

"""Studies of thousands of runs: the same numbers as of a few, and figures and pages that can still be looked at."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.records.folder import Folder
from reports import build
from reports.figures import search, style
from reports.figures.catalog import makers
from reports.load.records import Study, load
from reports.page import page, special
from reports.statistics import summary
from reports.tables import finals
from reports.tables.trace import traced
from tests.reports import homes
from tests.reports.looking import drawn


def trials(home: Path, count: int, *, pareto: bool, cells: int = 1) -> Study:
    """Made-up trials of cells without runs of their own: what figures of the search need."""
    random, names = np.random.default_rng(1), [f"sap/m{i:02}" for i in range(cells)]
    cell = {"method": "sap", "target": None if pareto else 0.5, "space": {"p": '{"attributes": {}}'}, "importances": {}}
    declared = homes.declare(
        home, kind="pareto" if pareto else "ladder", cells={name: {**cell, "model": name[4:]} for name in names}
    )
    homes.write_run(home, "one", model="m", val=90.0, left=0.5)
    for name in names:
        for number in range(count):
            values = [round(float(random.uniform(80, 99)), 1), round(float(random.uniform(0.05, 1)), 2)]
            told = values[: 2 if pareto else 1]
            homes.write_entry(
                home, declared["name"], "trial", name, number, values=told, params={"p": values[1]}, run="one"
            )
    return load(Folder(home), declared["name"])


def test_what_trials_have_reached_is_what_they_dominate_together(tmp_path: Path) -> None:
    table = search.history(trials(tmp_path, 60, pareto=True))
    for last, reached in enumerate(table["reached"]):
        seen = table[: last + 1]
        assert reached == 100 * summary.hypervolume(seen["size"].tolist(), seen["accuracy"].tolist())


def test_what_a_ladder_has_reached_is_its_best(tmp_path: Path) -> None:
    table = search.history(trials(tmp_path, 30, pareto=False))
    assert table["reached"].tolist() == table["accuracy"].cummax().tolist()


def test_more_cells_than_a_figure_has_room_for_are_said(tmp_path: Path) -> None:
    cells = search.PANELS // search.KNOBS + 2
    study = trials(tmp_path, 1, pareto=False, cells=cells)
    figure = next(f for make in makers(study) if (f := make(study)).name == "slices")
    assert f"the first {cells - 2} of {cells} cells" in figure.caption
    assert figure.table["cell"].nunique() == cells
    table = pd.concat([figure.table.assign(rank=rank) for rank in range(search.KNOBS)], ignore_index=True)
    with style.paper():
        assert len(search.draw_slices(table, style.looks(["sap"]), True).axes) == search.PANELS
    few = search.history(trials(tmp_path / "few", 1, pareto=False))
    assert search.left_out(few) == ""


def test_many_points_are_an_image(tmp_path: Path) -> None:
    for count, image in ((3, False), (style.DENSE + 1, True)):
        study = trials(tmp_path / str(count), count, pareto=False)
        figure = next(f for make in makers(study) if (f := make(study)).name == "slices")
        assert (b"<image" in style.render(drawn(figure))["svg"]) is image


def test_rows_lead_to_the_runs_that_their_names_stand_for(tmp_path: Path) -> None:
    study = load(Folder(homes.full(tmp_path)), "pareto-sap")
    made = finals.finals(study)
    without = made.frame.drop(columns=["runs", "claim"])[~made.frame["claim"].astype(bool)]
    found = traced(replace(made, frame=without), study).frame["runs"]
    assert [sorted(runs) for runs in found] == [sorted(runs) for runs in made.frame["runs"] if runs]


def test_what_is_large_lies_beside_the_page() -> None:
    files = {"-page.png": b"x" * (page.HELD + 1), ".csv": b"a,b\n"}
    (large, said, nowhere), (small, _, here) = page.downloads("slices", "study/figures", files)
    assert (large, small) == ("slices-page.png", "slices.csv")
    assert (said, nowhere) == ("page png (0.5 MB: study/figures/slices-page.png)", "")
    assert here.startswith("data:text/csv;base64,")


@pytest.mark.slow
def test_figures_drawn_side_by_side_are_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = homes.full(tmp_path / "home", trials=4, seeds=(1000,), models=["test_vit"])
    build.build(home, tmp_path / "alone")
    monkeypatch.setattr(build, "MANY", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    build.build(home, tmp_path / "together")
    texts = [
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in (tmp_path / "alone", tmp_path / "together")
    ]
    assert texts[0] == texts[1]


def test_every_figure_can_be_sent_to_another_process(tmp_path: Path) -> None:
    study = load(Folder(homes.full(tmp_path)), "pareto-sap")
    asked = [*build.makers(study), *special.SPECIAL.values()]
    for make in asked:
        figure = make(study)
        assert pickle.loads(pickle.dumps(figure)).name == figure.name

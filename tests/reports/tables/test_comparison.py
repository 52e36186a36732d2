"""A study's finals as a frame to compare, and the tables and figures of the comparison."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.text import Text

from bench.records.folder import Folder
from reports.build import build
from reports.card import card
from reports.figures import accuracy, improvement, profiles, ranking, series
from reports.figures.catalog import Figure
from reports.figures.render import render
from reports.figures.style import looks, note, paper
from reports.load.records import Study, load
from reports.page import page, requested
from reports.tables import comparison, damage, finals, formats, overall
from tests.reports import homes
from tests.reports.frames import NAMES, frame, simulated
from tests.reports.looking import Page, assert_legible

ALL = ["profiles", "ranks", "improvement", "comparison", "overall"]
TARGETS = ("0.5", "0.7", "0.8", "0.9", "0.95")
DOWN = {"gradual": 0.0, "drop": -0.5, "sap": -6.0}
NOISE = {
    "a": [92.9, 93.0, 93.1, 93.2, 93.3],
    "b": [92.9, 92.8, 93.2, 93.1, 93.0],
    "c": [79.75, 79.9, 80.05, 80.1, 80.2],
}


def compared(home: Path, **changes: Any) -> Study:
    """Three methods at five targets with three seeds. Sap fails altogether at the last target, and in one seed before."""
    variants: list[homes.Variant] = [(t, m, t, {"final": t}, {"target": float(t)}) for t in TARGETS for m in DOWN]
    changes = {
        "name": "compare",
        "methods": list(DOWN),
        "reconstructions": {"drop": "order"},
        "figures": ALL,
        **changes,
    }
    declared = homes.grid(home, variants, **changes)
    for i, (cell, said) in enumerate(declared["cells"].items()):
        for seed in homes.SEEDS:
            if said["method"] == "sap" and (said["variant"] == "0.95" or (said["variant"], seed) == ("0.9", 1002)):
                lost = {"state": "failed", "run": "", "reason": "what was wanted must be attained"}
                homes.write_entry(home, "compare", "final", cell, said["number"], seed, **lost)
                continue
            test = 95.0 - i // 3 + DOWN[said["method"]] + 0.1 * (seed - 1001) + 0.03 * ((i * 7 + seed) % 5)
            left = 1.0 - float(said["variant"])
            homes.final(home, declared, cell, seed, val=90.0, left=left, test=test, rounds=1)
    return load(Folder(home), "compare")


def test_finals_as_a_frame(tmp_path: Path) -> None:
    tidy = comparison.tidy(compared(tmp_path))
    assert len(tidy) == 3 * 5 * 3
    assert sorted(tidy["cell"].unique()) == [f"test_vit: {t}" for t in TARGETS]
    assert sorted(tidy["method"].unique()) == ["drop†", "gradual", "sap"]  # the dense control is of another size
    assert tidy.groupby("method")["score"].count().to_dict() == {"drop†": 15, "gradual": 15, "sap": 11}
    own = tidy[(tidy["method"] == "drop†") & (tidy["cell"] == "test_vit: 0.5")]
    assert own["score"].tolist() == pytest.approx([94.4 + 0.03 * 2, 94.5 + 0.03 * 3, 94.6 + 0.03 * 4])
    assert set(own["name"]) == {"drop"}
    assert own["reconstruction"].all()


def test_what_is_under_way_or_has_not_opened_the_test_split_is_not_there(tmp_path: Path) -> None:
    study = compared(tmp_path)
    declared, cell = study.declared.to_json(), "gradual/test_vit:0.5"
    homes.write_entry(tmp_path, "compare", "final", cell, 0, 1000, state="running")
    homes.final(tmp_path, declared, cell, 1001, val=90.0, left=0.1, rounds=1)
    tidy = comparison.tidy(load(Folder(tmp_path), "compare"))
    assert tidy.loc[(tidy["method"] == "gradual") & (tidy["cell"] == "test_vit: 0.5"), "seed"].tolist() == [1002]


def test_several_variants_of_a_method_are_told_apart(tmp_path: Path) -> None:
    declared = homes.grid(tmp_path, [(label, "sap", "p", {}, {}) for label in ("p=1", "p=2")])
    for cell in declared["cells"]:
        homes.final(tmp_path, declared, cell, 1000, val=90.0, left=0.1, test=90.0, rounds=1)
    assert comparison.tidy(load(Folder(tmp_path), "grid"))["method"].tolist() == ["sap p=1", "sap p=2"]


def test_finals_of_different_sizes_are_not_compared(tmp_path: Path) -> None:
    study = load(Folder(homes.full(tmp_path, figures=ALL)), "pareto-sap")
    assert not len(comparison.tidy(study))
    assert {make(study).missing for make in requested.makers(study)} == {
        comparison.ALONE,
        "the baseline has no final, so no method can be compared with it",
        "a critical difference needs 5 pairs of data set and architecture with results of all methods, and 3 methods, but "
        "there are 0 and 0",
    }


def test_the_cell_of_a_ladder_is_its_target(tmp_path: Path) -> None:
    cells = {"sap/net@0.9": {"method": "sap", "model": "net", "target": 0.9, "space": {}, "importances": {}}}
    homes.declare(tmp_path, name="ladder", kind="ladder", models=["net"], cells=cells)
    run = homes.run_id("a final")
    homes.write_run(tmp_path, run, model="net", val=90.0, left=0.1, test=89.0, rounds=1)
    homes.write_entry(tmp_path, "ladder", "final", "sap/net@0.9", 4, 1000, run=run)
    tidy = comparison.tidy(load(Folder(tmp_path), "ladder"))
    assert tidy[["cell", "method", "score"]].values.tolist() == [["net@0.9", "sap", 89.0]]


@pytest.mark.parametrize(
    ("said", "found"), [({}, "gradual"), ({"baseline": "drop"}, "drop†"), ({"baseline": "rigl"}, "")]
)
def test_the_baseline_is_declared_or_the_first_method(said: dict[str, str], found: str, tmp_path: Path) -> None:
    study = compared(tmp_path, **said)
    chosen = comparison.baselines(study, comparison.tidy(study))
    assert set(chosen.values()) == {name for name in [found] if name}
    assert len(chosen) == (5 if found else 0)


def with_baselines(home: Path, *, tuned: tuple[str, ...] = ()) -> Study:
    """A ladder with three added baselines, one of them random, whose validation top-1 says which is best where."""
    said: dict[str, Any] = {"model": "net", "space": {}, "importances": {}}
    names = {"uniform": ("allocation=uniform",), "global": ("allocation=global",), "random": ("criterion=random",)}
    valid = {"uniform": {0.5: 91.0, 0.9: 80.0}, "global": {0.5: 90.0, 0.9: 84.0}, "random": {0.5: 95.0, 0.9: 95.0}}
    cells = {f"sap/net@{t}": {**said, "method": "sap", "target": t} for t in (0.5, 0.9)}
    beside = {
        f"{name}/net@{t}": {**said, "method": name, "target": t, "settings": settings, "runs": "oneshot"}
        for name, settings in names.items()
        for t in (0.5, 0.9)
    }
    more = {"kind": "ladder", "models": ["net"], "cells": cells, "baselines": beside, "baseline": "uniform"}
    homes.declare(home, name="compare", claims={}, **more)
    for cell, about in {**cells, **beside}.items():
        kind = "final" if cell in cells else "baseline"
        val = valid.get(about["method"], {}).get(about["target"], 90.0)
        run = homes.run_id(cell)
        homes.write_run(home, run, model="net", val=val, left=1 - about["target"], test=90.0, rounds=1)
        homes.write_entry(home, "compare", kind, cell, 0, 1000, run=run)
        if about["method"] in tuned:
            homes.write_entry(home, "compare", "trial", cell, 0, run=run)
    return load(Folder(home), "compare")


def test_methods_are_compared_with_the_best_baseline_of_the_cell_on_validation(tmp_path: Path) -> None:
    study = with_baselines(tmp_path)
    tidy = comparison.tidy(study)
    chosen = comparison.baselines(study, tidy)
    assert chosen == {"net@0.5": "uniform", "net@0.9": "global"}  # random is a control, however good
    assert set(tidy.loc[tidy["control"], "method"]) == {"random"}
    assert comparison.comparison(tidy, chosen).columns[5].head == "vs. the best baseline"


def test_where_baselines_are_tuned_only_these_are_chosen(tmp_path: Path) -> None:
    study = with_baselines(tmp_path, tuned=("global",))
    assert set(comparison.baselines(study, comparison.tidy(study)).values()) == {"global"}


def test_one_table_and_another_have_the_same_n_and_interval(tmp_path: Path) -> None:
    """Three dense seeds with four prunings each are three independent values, in every table and figure."""
    cells = {"sap/net@0.9": {"method": "sap", "model": "net", "target": 0.9, "space": {}, "importances": {}}}
    homes.declare(
        tmp_path, name="compare", kind="ladder", models=["net"], cells=cells, dense_seeds=[1, 2, 3], claims={}
    )
    for dense, centre in ((1, 89.0), (2, 90.0), (3, 91.0)):
        for seed in range(4):
            run = homes.run_id(dense, seed)
            homes.write_run(tmp_path, run, model="net", val=90.0, left=0.1, test=centre + 0.1 * seed, rounds=1)
            homes.write_entry(tmp_path, "compare", "final", "sap/net@0.9", 0, seed, run=run, dense_seed=dense)
    study = load(Folder(tmp_path), "compare")
    tidy = comparison.tidy(study)
    (compared_row,), (row,) = comparison.comparison(tidy, {}).rows(), finals.finals_frame(study).to_dict("records")
    half = 4.302653 / math.sqrt(3)
    assert (row["n"], row["test_top1_half"]) == (3, pytest.approx(half, abs=1e-5))
    assert (compared_row["n"], compared_row["half"]) == (3, pytest.approx(half, abs=1e-5))
    drawn = accuracy.accuracy_against(study, "weights_left").iloc[0]
    assert (drawn["n"], drawn["high"] - drawn["accuracy"]) == (3, pytest.approx(half, abs=1e-5))
    curve = series.validation_curves(study).iloc[0]
    assert curve["n"] == 3


def test_prunings_of_one_dense_model_are_one_value(tmp_path: Path) -> None:
    cells = {"sap/net@0.9": {"method": "sap", "model": "net", "target": 0.9, "space": {}, "importances": {}}}
    homes.declare(tmp_path, name="compare", kind="ladder", models=["net"], cells=cells, claims={})
    for seed in range(4):
        homes.write_run(tmp_path, f"r{seed}", model="net", val=90.0, left=0.1, test=90.0 + seed, rounds=1)
        homes.write_entry(tmp_path, "compare", "final", "sap/net@0.9", 0, seed, run=f"r{seed}", dense_seed=1)
    study = load(Folder(tmp_path), "compare")
    (row,) = comparison.comparison(comparison.tidy(study), {}).rows()
    assert (row["n"], row["mean"]) == (1, 91.5)
    assert math.isnan(row["half"])
    assert math.isnan(finals.finals_frame(study)["test_top1_half"].item())


def test_the_comparison_by_hand() -> None:
    table = comparison.comparison(
        frame({"net": NOISE, "other": {"a": [90.0], "b": [math.nan]}}), {"net": "a", "other": "a"}
    )
    rows = [line for line in formats.markdown(table).splitlines() if line.startswith("|")]
    assert rows[2:] == [
        "| net | a | 5 | **93.10 ± 0.20** | a | – | baseline | – | 0 |",
        "| net | b | 5 | **93.00 ± 0.20** | a | −0.10 ± 0.20 | equivalent | 0.32 | 0 |",
        "| net | c | 5 | 80.00 ± 0.22 | b | −13.10 ± 0.04 | worse | 0.07 | 0 |",
        "| other | a | 1 | 90.00 | n = 1 | – | baseline | – | 0 |",
        "| other | b | 0 | – | – | – | unresolved (n = 0) | – | 1 |",
    ]
    assert r"net & a & 5 & \textbf{93.10 $\pm$ 0.20} & a & --" in formats.latex(table)
    assert r"$-$13.10 $\pm$ 0.04" in formats.latex(table)
    assert "excluded from both: 1." in table.caption


def test_a_method_that_failed_somewhere_has_ranks_and_no_mean(tmp_path: Path) -> None:
    tidy = comparison.tidy(compared(tmp_path))
    table = overall.overall(tidy, dict.fromkeys(tidy["cell"], "gradual"))
    rows = {row["method"]: row for row in table.rows()}
    assert math.isnan(rows["sap"]["to_dense"])
    assert (rows["sap"]["total"], rows["sap"]["failed"], rows["sap"]["rank"]) == (15, 2, 3.0)
    assert rows["sap"]["better"] == 0.0
    assert rows["drop†"]["to_dense_n"] == 3
    assert rows["drop†"]["verdicts"] == "5 unresolved"
    assert math.isnan(rows["gradual"]["better"])
    assert "fewer than 5 pairs of data set and architecture (1)" in table.caption
    assert "claim nothing about other models" in table.caption


def test_five_targets_of_one_model_have_no_critical_difference(tmp_path: Path) -> None:
    tidy = comparison.tidy(compared(tmp_path))
    assert ranking.figure(tidy).missing.endswith("but there are 1 and 3")
    assert not overall.overall(tidy, {}).frame["top"].any()


def test_no_caption_promises_what_cannot_be_reached() -> None:
    """Six pairs and twelve methods: the smallest corrected p of a signed-rank test was 0.375, and 0.05 was promised."""
    tidy = simulated(12, cells=2, seeds=3)
    for table in (comparison.comparison(tidy, {}), overall.overall(tidy, {})):
        assert "Wilcoxon" not in table.caption
        assert "IQM" not in table.caption


def test_without_a_baseline_nothing_is_compared_with_it() -> None:
    tidy = simulated(3, cells=5, seeds=5)
    assert improvement.figure(tidy, {}).missing
    for table in (comparison.comparison(tidy, {}), overall.overall(tidy, {})):
        text = formats.markdown(table)
        assert "vs. the baseline" in text
        assert "**" in text


@cache
def figures(count: int) -> list[Figure]:
    tidy = simulated(count, cells=8, seeds=5, gap=0.35)
    chosen = dict.fromkeys(tidy["cell"], "gradual")
    return [profiles.figure(tidy), ranking.figure(tidy), improvement.figure(tidy, chosen)]


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("count", [3, 14])
def test_figures_are_legible_with_few_and_many_methods(count: int, wide: bool) -> None:
    for made in figures(count):
        with paper():
            canvas = made.draw(looks(NAMES), wide)
            note(canvas, "† reconstruction")
            canvas.draw_without_rendering()
        assert_legible(canvas)
        if made.name == "ranks":
            assert_apart([t for t in canvas.findobj(Text) if t.get_text() and t.get_visible()], canvas)


def assert_apart(texts: list[Text], canvas: Any) -> None:
    """All text lies inside the figure and no two cover each other."""
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts]
    for i, (name, box) in enumerate(boxes):
        assert box.x0 >= 0 and box.x1 <= canvas.bbox.x1 and box.y0 >= 0 and box.y1 <= canvas.bbox.y1, name  # noqa: PT018
        for other, its in boxes[:i]:
            assert not box.padded(-1).overlaps(its.padded(-1)), (name, other)


def test_the_same_frame_gives_the_same_bytes() -> None:
    one, again = (figures(3), figures(3))
    for first, second in zip(one, again, strict=True):
        pd.testing.assert_frame_equal(first.table, second.table)
        with paper():
            assert render(first.draw(looks(NAMES), False)) == render(second.draw(looks(NAMES), False))


@pytest.mark.slow
def test_the_whole_report_of_a_comparison(tmp_path: Path) -> None:
    compared(tmp_path)
    path = build(tmp_path, tmp_path / "out")
    text, folder = path.read_text(), path.parent / "compare"
    assert {f"study-1-{name}" for name in ALL if name != "ranks"} <= set(Page(text).ids)
    assert "does not know the figure" not in text
    assert r"drop\dag{} & 3 & 94." in (folder / "tables" / "comparison.tex").read_text()
    assert "† reconstruction" in (folder / "figures" / "profiles-page.svg").read_text()
    assert (folder / "figures" / "profiles.csv").read_text().startswith("method,reconstruction,label,tau,share")
    assert "sap" in (folder / "figures" / "improvement.csv").read_text()


def test_runs_of_one_seed_are_compared_without_intervals() -> None:
    tidy = frame({f"net@{t}": {"gradual": [90.0], "sap": [89.0 + i]} for i, t in enumerate(TARGETS)})
    chosen = dict.fromkeys(tidy["cell"], "gradual")
    shown = comparison.comparison(tidy, chosen).frame
    assert shown[["half", "detectable"]].isna().all(axis=None)
    assert not shown["top"].any()
    assert set(shown["letters"]) == {""}
    made = improvement.figure(tidy, chosen)
    assert made.table["probability"].tolist() == [0.7]  # worse, even, and better three times
    assert made.table[["low", "high"]].isna().all(axis=None)
    with paper():
        made.draw(looks(NAMES), False).draw_without_rendering()


def test_the_page_shows_the_top_group_in_bold(tmp_path: Path) -> None:
    tidy = frame({"net": NOISE})
    study = load(Folder(homes.full(tmp_path)), "pareto-sap")
    every = [make(study) for make in (finals.finals, damage.table, finals.configurations, finals.failures, finals.runs)]
    shown = [comparison.comparison(tidy, {"net": "a"}), card.table(study, every, [])]
    text = page.html([page.Section("compare", [], [], [], shown, {})])
    assert "<b>93.10 ± 0.20</b>" in text
    assert "<b>93.00 ± 0.20</b>" in text
    assert "<b>80" not in text

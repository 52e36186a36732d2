"""Grids of declared variants: what the figures and tables that every study has make of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.text import Text

from bench.records.folder import Folder
from reports.figures import catalog
from reports.figures.accuracy import accuracy_against
from reports.figures.catalog import marked
from reports.figures.series import facets, layer_sparsity, validation_curves
from reports.figures.style import looks, shade
from reports.figures.variants import variants
from reports.load.records import DAGGER, NOTE, Study, load
from reports.page import special
from reports.page.facts import facts, warnings
from reports.tables import columns, finals
from tests.reports import homes
from tests.reports.looking import assert_legible, drawn

VARIANTS: list[homes.Variant] = [
    ("eta=1", "sap", "eta", {"eta": 1}, {}),
    ("eta=0.1", "sap", "eta", {"eta": 0.1}, {"predicted": 0.25}),
    ("both 0.9", "drop", "parts", {"final": 0.9}, {}),
]
RECONSTRUCTION = {"drop": "the order of the two steps"}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Two variants of sap and one of drop, a reconstruction, whose last run failed, on one model."""
    declared = homes.grid(tmp_path, VARIANTS, reconstructions=RECONSTRUCTION)
    for i, cell in enumerate(declared["cells"]):
        for seed in homes.SEEDS[: 3 - (i == 2)]:
            homes.final(tmp_path, declared, cell, seed, val=91.0 - i, left=0.5 - i / 10, test=90.0 - i + seed - 1001)
    lost = {"state": "failed", "run": "", "reason": "out of memory"}
    homes.write_entry(tmp_path, "grid", "final", cell, 2, homes.SEEDS[2], **lost)
    return load(Folder(tmp_path), "grid")


def test_labels_and_order_are_those_of_the_variants(study: Study) -> None:
    table = variants(study)
    assert table["label"].tolist() == ["dense", "sap eta=1", "sap eta=0.1", "drop† both 0.9"]
    assert table["group"].tolist() == ["", "eta", "eta", "parts"]
    assert table["accuracy"].tolist() == [95.0, 90.0, 89.0, 87.5]
    assert table["n"].tolist() == [3, 3, 3, 2]


def test_finals_have_a_row_per_variant_group_by_group(study: Study) -> None:
    table = finals.finals(study)
    assert [row["label"] for row in table.rows()] == ["dense", "sap eta=1", "sap eta=0.1", "drop† both 0.9"]
    assert table.columns[0].head == "group"
    assert "#k" not in table.caption


def test_without_groups_each_model_stands_beside_its_control(tmp_path: Path) -> None:
    declared = homes.grid(tmp_path, [("", "sap", "", {}, {})], models=["a", "b"])
    for cell in declared["cells"]:
        homes.final(tmp_path, declared, cell, 1000, val=90.0, left=0.5, test=90.0)
    table = finals.finals(load(Folder(tmp_path), "grid"))
    found = [(row["model"], row["label"]) for row in table.rows()]
    assert found == [("a", "dense"), ("a", "sap"), ("b", "dense"), ("b", "sap")]
    assert table.columns[0].head == "model"


def test_the_variants_are_listed_with_settings_and_facts(study: Study) -> None:
    rows = finals.configurations(study).rows()
    assert [row["settings"] for row in rows] == ["eta=1", "eta=0.1", "final=0.9"]
    assert [row["facts"] for row in rows] == ["", "predicted=0.25", ""]


def test_facts_that_differ_between_models_are_told_for_each(tmp_path: Path) -> None:
    declared = homes.grid(tmp_path, VARIANTS[1:2], models=["a", "b"], controls=[])
    declared["cells"]["sap/b:eta=0.1"]["facts"] = {"predicted": 0.5}
    homes.declare(tmp_path, **declared)
    (row,) = finals.configurations(load(Folder(tmp_path), "grid")).rows()
    assert row["facts"] == "a: predicted=0.25; b: predicted=0.5"


def test_accuracy_shows_finals_only_and_a_marker_per_group(study: Study) -> None:
    table = accuracy_against(study, "weights_left")
    assert set(table["series"]) == {"final", "control"}
    assert table["group"].tolist() == ["", "parts", "eta", "eta"]


def test_what_needs_trials_says_that_there_are_none(study: Study) -> None:
    made = {figure.name: figure for figure in (make(study) for make in catalog.makers(study))}
    assert list(made) == [
        *("variants", "accuracy-weights-left", "accuracy-macs-left", "curves", "layers", "pq-rounds"),
        *("importances", "slices", "history"),
    ]
    for name in ("importances", "history"):
        assert "there are no trials" in made[name].missing
    for name in ("variants", "accuracy-weights-left", "curves", "layers", "pq-rounds"):
        assert not made[name].missing


def test_the_head_and_the_warnings_of_a_grid(study: Study, tmp_path: Path) -> None:
    head = dict(facts(study))
    assert head["Variants"] == "3 (eta: 2, parts: 1)"
    assert head["Tuning"] == "none: each variant runs as it is declared"
    assert head["Method drop†"] == "drop."
    said = " ".join(warnings(study))
    assert "trial" not in said
    assert "drop† holds a reconstruction: the order of the two steps" in said
    assert "1 of 12 runs have no result" in said
    homes.grid(tmp_path, VARIANTS, name="empty", controls=[])
    assert "No variant has a result yet." in warnings(load(Folder(tmp_path), "empty"))


def test_a_reconstruction_is_marked_wherever_its_numbers_are(study: Study) -> None:
    for make in catalog.makers(study):
        figure = make(study)
        if not figure.missing:
            assert marked(figure, study).marked
            assert marked(figure, study).caption.endswith(NOTE)
    for make_table in (finals.finals, finals.configurations, finals.failures, finals.runs):
        table = columns.marked(make_table(study))
        assert table.caption.endswith(NOTE)
        shown = [column.text(row) for row in table.rows() for column in table.columns]
        assert any(DAGGER in text for text in shown)
        assert not any(text.startswith("drop") and DAGGER not in text for text in shown)
    assert accuracy_against(study, "weights_left").groupby("method")["reconstruction"].all().to_dict() == {
        "dense": False,
        "drop": True,
        "sap": False,
    }


def test_a_faithful_method_carries_no_mark(tmp_path: Path) -> None:
    study = load(Folder(homes.full(tmp_path, models=["test_vit"], trials=4)), "pareto-sap")
    assert not any(marked(make(study), study).marked for make in catalog.makers(study))
    assert DAGGER not in columns.marked(finals.finals(study)).caption


def test_a_mark_is_in_the_picture_too(study: Study) -> None:
    canvas = drawn(next(f for f in (make(study) for make in catalog.makers(study)) if f.name == "variants"))
    assert "drop†" in {text.get_text() for text in canvas.findobj(Text)}


def test_panels_hold_a_group_each_and_never_too_many(tmp_path: Path) -> None:
    many = [(f"p={i}", "sap", "p" if i < 12 else "q", {"p": i}, {}) for i in range(14)]
    declared = homes.grid(tmp_path, many, models=["test_vit"])
    for cell in declared["cells"]:
        homes.final(tmp_path, declared, cell, 1000, val=90.0, left=0.5, test=90.0, rounds=1)
    study = load(Folder(tmp_path), "grid")
    parts = facets(validation_curves(study))
    assert [name for name, _ in parts] == ["p (1 of 2)", "p (2 of 2)", "q"]
    shown = [rows["label"].unique().tolist() for _, rows in parts]
    assert shown[0] == ["dense", *(f"sap p={i}" for i in range(6))]
    assert shown[2] == ["dense", "sap p=12", "sap p=13"]
    assert len(layer_sparsity(study)["label"].unique()) == 14


def test_a_ladder_with_many_methods_has_a_panel_per_target(tmp_path: Path) -> None:
    cells = {
        f"{m}/test_vit@{t}": {"method": m, "model": "test_vit", "target": t, "space": {}, "importances": {}}
        for m in ("a", "b", "c", "d", "e")
        for t in (0.8, 0.9)
    }
    methods = ["a", "b", "c", "d", "e"]
    homes.declare(tmp_path, name="ladder", kind="ladder", methods=methods, models=["test_vit"], cells=cells, claims={})
    for cell, said in cells.items():
        run = homes.run_id(cell)
        homes.write_run(tmp_path, run, model="test_vit", val=90.0, left=1 - said["target"], test=90.0, rounds=1)
        homes.write_entry(tmp_path, "ladder", "final", cell, 0, 1000, run=run)
    parts = facets(validation_curves(load(Folder(tmp_path), "ladder")))
    assert [name for name, _ in parts] == ["@0.8", "@0.9"]
    assert parts[0][1]["method"].unique().tolist() == methods


def test_shades_go_from_light_to_dark_around_the_colour() -> None:
    assert shade("#808080", 1, 3) == "#808080"
    light, dark = (int(shade("#808080", i, 3)[1:3], 16) for i in (0, 2))
    assert light > 0x80 > dark


def test_thirty_methods_have_looks_of_their_own() -> None:
    found = looks([f"m{i:02d}" for i in range(30)])
    assert len({(look.colour, look.marker) for look in found.values()}) == 31


def crowded(home: Path, name: str, variants: list[homes.Variant], models: list[str]) -> Study:
    declared = homes.grid(home, variants, name=name, models=models, reconstructions=RECONSTRUCTION, final_seeds=[1000])
    for i, cell in enumerate(declared["cells"]):
        homes.final(home, declared, cell, 1000, val=90.0 - i % 7, left=0.5, test=90.0 - i % 7, rounds=2)
    return load(Folder(home), name)


MANY_VARIANTS = [(f"a long label of variant {i}", "drop", f"group {i % 3}", {}, {}) for i in range(24)]


@pytest.mark.slow
def test_many_variants_stay_legible(tmp_path: Path) -> None:
    study = crowded(tmp_path, "variants", MANY_VARIANTS, ["m"])
    made = {figure.name: figure for figure in (make(study) for make in catalog.makers(study))}
    assert_legible(drawn(made["variants"], wide=False))
    assert_legible(drawn(made["curves"]))


MANY_MODELS = [f"a_long_name_of_a_model_{i:02d}" for i in range(21)]


@pytest.mark.slow
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize(("variants", "models"), [(MANY_VARIANTS, ["m"]), ([("", "drop", "", {}, {})], MANY_MODELS)])
def test_every_figure_stays_legible(
    variants: list[homes.Variant], models: list[str], wide: bool, tmp_path: Path
) -> None:
    study = crowded(tmp_path, "crowded", variants, models)
    for figure in (make(study) for make in catalog.makers(study)):
        if not figure.missing:
            assert_legible(drawn(figure, wide))


def test_special_figures_are_made_only_where_they_are_asked_for(study: Study, tmp_path: Path) -> None:
    assert special.makers(study) == []
    homes.grid(tmp_path, VARIANTS, name="asks", figures=["prunable", "of the future"])
    asks = load(Folder(tmp_path), "asks")
    assert [make(asks).name for make in special.makers(asks)] == ["prunable"]
    assert any("'of the future'" in warning for warning in warnings(asks))

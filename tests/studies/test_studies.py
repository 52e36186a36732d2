"""What the studies of the folder declare, at both sizes: nothing is trained here."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import studies.architectures
import studies.drop_ablation
import studies.headline
import studies.large_sparse_small_dense
import studies.sap_phases
from bench import models, registry
from bench.errors import BenchError
from bench.study.kinds import Ladder
from bench.study.study import Study

NAMES = registry.names(registry.STUDIES)
FREE = ("pareto", "ladder")  # studies of any method


def declared(name: str, **changes: Any) -> Study:
    methods = ("gradual",) if name in FREE else ()
    study: Study = registry.load(registry.STUDIES, name).study(methods, **changes)
    return study


@pytest.mark.parametrize("smoke", [False, True], ids=["full", "smoke"])
@pytest.mark.parametrize("name", NAMES)
def test_every_cell_can_be_asked_for(name: str, smoke: bool) -> None:
    study = declared(name, smoke=smoke)
    cells = study.cells()
    assert len({cell.key for cell in cells}) == len(cells)
    for cell in cells:
        run = cell.run({}, study.final_seeds[0], test=True)
        assert (run.task, run.model, run.method.name) == (study.task, cell.model, cell.method)
        trials = study.trials if cell.space else 1
        assert cell.trials == (trials if study.tuned else 0)
        if study.kind == Ladder():
            assert getattr(run.method, str(run.method.target)) == cell.target
    assert set(study.models) <= set(models.names())


@pytest.mark.parametrize("name", NAMES)
def test_small_sizes_are_small(name: str) -> None:
    full, small = declared(name), declared(name, smoke=True)
    assert small.task == "digits"
    assert small.name != full.name
    assert sum(c.trials for c in small.cells()) + len(small.cells()) <= 24
    assert max(c.run({}, 0).epochs for c in small.cells()) <= 10


@pytest.mark.parametrize("name", NAMES)
def test_the_first_line_says_what_is_asked(name: str) -> None:
    first = (registry.load(registry.STUDIES, name).__doc__ or "").partition("\n")[0]
    assert 30 < len(first) <= 128
    assert first.endswith(("?", "?)", "? (Zhu and Gupta 2017)"))


@pytest.mark.parametrize("name", sorted({*NAMES} - {*FREE}))
def test_what_the_command_line_changes_wins(name: str) -> None:
    study = declared(name, smoke=True, settings=("epochs=1",), models=("test_vit",), final_seeds=(7, 8))
    assert study.models == ("test_vit",)
    assert study.final_seeds == (7, 8)
    assert {cell.run({}, 7).epochs for cell in study.cells()} == {1}


@pytest.mark.parametrize("name", FREE)
def test_a_study_of_any_method_needs_one(name: str) -> None:
    with pytest.raises(BenchError, match=f"bench study sap --study {name}"):
        registry.load(registry.STUDIES, name).study(())


def test_headline_treats_all_methods_alike() -> None:
    study = studies.headline.study(())
    assert len(study.final_seeds) >= 3
    assert Counter(c.method for c in study.cells()) == dict.fromkeys(studies.headline.METHODS, 4)
    runs = [cell.run({}, 0) for cell in study.cells()]
    assert len({(run.epochs, run.recipe, run.image_size) for run in runs}) == 1
    assert studies.headline.study(("sap",)).methods == ("sap",)


def test_the_small_dense_road_is_always_there() -> None:
    study = studies.large_sparse_small_dense.study
    assert study(()).methods == ("gradual", "small_dense")
    assert study(("rigl", "small_dense")).methods == ("rigl", "small_dense")
    assert "roads" in study(()).figures


@pytest.mark.parametrize(
    ("label", "sparsity"),
    [
        ("R1 back=0.1 simultaneous", 0.15 / (0.15 + 0.1)),
        ("R2 back=0.1 simultaneous", 0.9 * 0.5 / (0.5 + 0.1)),
        ("R1 back=0.02 sequential", 1 - 0.02 / (1 - 0.98 * 0.85)),
    ],
)
def test_the_equilibrium_is_declared_beside_its_variant(label: str, sparsity: float) -> None:
    for smoke in (True, False):
        (variant,) = (v for v in studies.drop_ablation.study((), smoke=smoke).variants if v.label == label)
        assert variant.facts["predicted"] == pytest.approx(sparsity)
        assert variant.group == "equilibrium"


def test_the_parts_of_drop_pruning_alone_and_together() -> None:
    study = studies.drop_ablation.study(())
    parts = [cell for cell in study.cells() if cell.variant is not None and cell.variant.group == "parts"]
    assert Counter(cell.params["parts"] for cell in parts) == {"away": 3, "back": 3, "both": 3}
    assert {cell.base.wanted for cell in parts} == {0.8, 0.9, 0.95}


def test_ablations_share_the_papers_point() -> None:
    cells = {c.variant.label: c for c in studies.sap_phases.study(()).cells() if c.variant is not None}
    own = ["p=0.5 q=1", "eta=0", "gamma=1", "beta=0.9", "scope=global"]
    assert len({cells[label].run({}, 0).id for label in own}) == 1
    assert len({cell.run({}, 0).id for cell in cells.values()}) == len(cells) - len(own) + 1
    assert cells["p=1 q=1.4"].params == {"p": 1.0, "q": 1.4}


def test_one_method_on_many_architectures() -> None:
    study = studies.architectures.study
    (cell,) = study((), models=("test_vit",)).cells()
    assert cell.key == "gradual/test_vit"
    assert cell.base.wanted == 0.8
    (cell,) = study(("gradual",), models=("test_vit",), settings=("final=0.95",)).cells()
    assert cell.base.wanted == 0.95
    (cell,) = study(("dense",), models=("test_vit",)).cells()
    assert cell.base.wanted is None
    assert study(()).lenient


@pytest.mark.parametrize("name", ["drop_ablation", "sap_phases"])
def test_a_study_of_one_method_refuses_others(name: str) -> None:
    with pytest.raises(BenchError, match="leave the method out"):
        registry.load(registry.STUDIES, name).study(("gradual",))

"""The kinds of studies: what each optimises and chooses, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.errors import BenchError
from bench.records.run_record import Metrics
from bench.study.kinds import KINDS, Axes, Grid, Kind, Ladder, Pareto, kind_of
from bench.study.study import Study
from bench.study.template import RunTemplate
from bench.study.variant import Variant

METRICS = Metrics.from_numbers({"val/top1": 91.0, "weights_left": 0.2, "macs/fraction": 0.4})
AXES = Axes(("sap", "gradual"), ("test_vit", "test_resnet"), (0.5, 0.9))
TEMPLATE = RunTemplate("digits", 0)


def chance() -> float:
    return 10.0


def no_chance() -> float:
    raise AssertionError("only a front needs to know the accuracy of guessing")


def test_a_kind_is_its_name_in_json() -> None:
    assert list(KINDS) == ["pareto", "ladder", "grid"]
    assert all(kind_of(name) == kind_of(kind) == kind for name, kind in KINDS.items())
    assert Study("ladder", "Which?", ("sap",), ("test_vit",), targets=(0.5,)).kind == Ladder()  # type: ignore[arg-type]
    with pytest.raises(BenchError, match=r"no kind of study 'laddr'.*did you mean 'ladder'"):
        kind_of("laddr")


@pytest.mark.parametrize(
    ("kind", "names", "directions", "values"),
    [
        (Pareto(), ("accuracy", "macs/fraction"), ("maximize", "minimize"), [91.0, 0.4]),
        (Ladder(), ("accuracy",), ("maximize",), [91.0]),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else None,
)
def test_each_objective_has_a_direction_and_a_value(
    kind: Kind, names: tuple[str, ...], directions: tuple[str, ...], values: list[float]
) -> None:
    assert kind.objectives("macs/fraction") == names
    assert kind.directions() == directions
    assert kind.values(METRICS, "macs/fraction") == values


def test_what_goes_to_the_finals() -> None:
    some = [(95.0, 0.5), (90.0, 0.1), (60.0, 0.01)]
    assert Pareto().choose(some, 2, chance) == [1, 2]
    assert Pareto().finals(2) == 2
    assert Ladder().choose([(90.0,), (95.0,), (95.0,)], 2, no_chance) == [1]
    assert Ladder().finals(2) == 1
    assert Grid().choose([], 2, no_chance) == []


def test_cells_in_their_order() -> None:
    assert [c.key for c in Pareto().cells(AXES, TEMPLATE, 3)] == [
        *("sap/test_vit", "sap/test_resnet", "gradual/test_vit", "gradual/test_resnet")
    ]
    ladder = Ladder().cells(replace(AXES, recoveries=("none", "lr")), TEMPLATE, 3)
    assert [c.key for c in ladder][:4] == [
        f"sap/test_vit@{target}:recovery={recovery}" for target in (0.5, 0.9) for recovery in ("none", "lr")
    ]
    assert {c.trials for c in ladder} == {3}
    variants = (Variant("a", "sap"), Variant("b", "gradual", model="test_vit"))
    grid = Grid().cells(replace(AXES, variants=variants), TEMPLATE, 3)
    assert [(c.key, c.number) for c in grid] == [
        *(("sap/test_vit:a", 0), ("sap/test_resnet:a", 0), ("gradual/test_vit:b", 1))
    ]
    assert {c.trials for c in grid} == {0}


def test_how_the_finals_are_chosen_is_said() -> None:
    given: dict[str, Any] = {"cost": "weights_left", "finals": 2}
    assert "and weights_left at once, the 2 that together" in Pareto().selection(**given, trials=8)
    assert Ladder().selection(**given, trials=8).startswith("the trial with the best validation top-1")
    assert Ladder().selection(**given, trials=0).startswith("nothing is tuned")
    assert Grid().selection(**given, trials=8) == Grid().selection(**given, trials=0)


@pytest.mark.parametrize(
    ("kind", "axes", "settings", "told"),
    [
        (Pareto(), replace(AXES, variants=(Variant("a", "sap"),)), (), "this pareto has 1"),
        (Pareto(), replace(AXES, recoveries=("lr",)), (), "an axis of ladders"),
        (Ladder(), replace(AXES, targets=()), (), "a ladder needs targets"),
        (Ladder(), replace(AXES, recoveries=("lr", "lr")), (), "each once"),
        (Ladder(), replace(AXES, recoveries=("lr",)), ("recovery=lr",), "use --recoveries"),
        (Grid(), AXES, (), "this grid has 0"),
        (Grid(), replace(AXES, variants=(Variant("a", "sap", model="net"),), methods=("sap",)), (), "'net' is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_axes_that_a_kind_cannot_have(kind: Kind, axes: Axes, settings: tuple[str, ...], told: str) -> None:
    with pytest.raises(BenchError, match=told):
        kind.check(axes, settings)


def test_a_pareto_study_has_a_trial() -> None:
    for kind in (Pareto(), Ladder()):
        fewest = Study(kind, "Which?", ("sap",), ("test_vit",), targets=(0.5,), trials=kind.least_trials)
        assert fewest.tuned == (kind == Pareto())
    with pytest.raises(BenchError, match="a trial at least"):
        Study(Pareto(), "Which?", ("sap",), ("test_vit",), trials=0)

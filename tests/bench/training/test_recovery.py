"""Recovery after any method: its own steps, zeros that stay, values that come back, and a resume to the same weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import methods
from bench import masks
from bench.errors import BenchError
from bench.method import Budget, Clock, Method
from bench.recipe import FLOOR, KINDS, Recipe, Recovery
from bench.run import Run, new_run
from bench.training.loop import Event, Stopped, Training, train
from bench.training.recovery import zeros
from tests.toys import RECIPE, StuckNet, ToyNet, replace_recipe, same, toy_training, weights

NAMES = methods.names()
STEPS, LATER = 37, 11  # round(0.3 * 37)
CASES = [
    pytest.param(name, kind, id=f"{name}-{kind}")
    for name in NAMES
    for kind in (KINDS if name in ("gradual", "depgraph") else ("weights",))
]


def default(name: str) -> Method[Any]:
    made: Method[Any] = methods.load(name).METHOD()
    return made


def recovering(name: str, kind: str, to: float = 0.0, **more: Any) -> Training:
    return toy_training(default(name), steps=STEPS, recovery=Recovery(kind, 0.3, to), **more)


@cache
def alone(name: str) -> dict[str, torch.Tensor]:
    """What the method leaves when the run ends with it."""
    return weights(train(toy_training(default(name), steps=STEPS - LATER)))


@cache
def whole(name: str, kind: str, to: float = 0.0) -> tuple[dict[str, torch.Tensor], Training]:
    training = recovering(name, kind, to)
    return weights(train(training)), training


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_zeros_stay_shapes_stay_and_all_steps_are_spent(name: str, kind: str) -> None:
    found, training = whole(name, kind)
    phases = training.at.phases
    before, held = alone(name), masks.prunable(ToyNet(), classifier=True)
    assert sum(phase["steps"] for phase in phases) == STEPS
    assert [phase["name"] for phase in phases].count("recover") == 1
    assert (phases[-1]["name"], phases[-1]["steps"], phases[-1]["step"]) == ("recover", LATER, STEPS)
    assert {n: v.shape for n, v in found.items()} == {n: v.shape for n, v in before.items()}
    for key in held:
        assert torch.equal(found[key] == 0, before[key] == 0), key
    assert not torch.equal(found["head.weight"], before["head.weight"])


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_stopped_in_the_recovery_and_resumed_gives_the_same_weights(name: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(recovering(name, kind, folder=tmp_path, stop_at=STEPS - 4))
    resumed = recovering(name, kind, folder=tmp_path)
    found, other = weights(train(resumed)), whole(name, kind)[1]
    assert same(found, whole(name, kind)[0])
    assert [{**phase, "time": 0} for phase in resumed.at.phases] == [{**phase, "time": 0} for phase in other.at.phases]
    assert (resumed.at.pruned, resumed.at.index) == (other.at.pruned, other.at.index)
    assert (resumed.kept, resumed.label) == (other.kept, other.label)
    shown = ("weights_left", "sparsity", "pq", "val/top1", *(key for key in other.at.row if key.startswith("method/")))
    assert [resumed.at.row[key] for key in shown] == [other.at.row[key] for key in shown]


@pytest.mark.parametrize("name", ["adaptive", "depgraph"])
def test_early_values_survive_kills_at_any_place(name: str, tmp_path: Path) -> None:
    """Wrapped layers and channels that leave; the values are kept at step 5 of 26, before, between and after the cuts."""
    for cut in (3, 12, 26, 27, 36):
        with pytest.raises(Stopped):
            train(recovering(name, "weights", to=0.2, folder=tmp_path, stop_at=cut))
    assert same(weights(train(recovering(name, "weights", to=0.2, folder=tmp_path))), whole(name, "weights", 0.2)[0])


def test_without_a_recovery_a_run_and_its_name_are_as_they_were() -> None:
    assert Run(default("gradual"), seed=3).id == Run(default("gradual"), seed=3, recovery="none", recover=0.3).id
    assert new_run("gradual", ["seed=3"]).identity() == {"class": "Run", "method": {"name": "gradual"}, "seed": 3} | {
        "recipe": {"class": "Recipe"}
    }
    ids = {new_run("gradual", [f"recovery={kind}"]).id for kind in ("none", *KINDS)}
    assert len(ids) == 4


@pytest.mark.parametrize("name", ["gradual", "depgraph"])
def test_the_method_acts_as_if_the_run_ended_with_it(name: str) -> None:
    found = dict[str, torch.Tensor]()

    def look(event: Event) -> None:
        if event.kind == "step" and event.step == STEPS - LATER + 1:
            found.update(weights(training.model))

    training = recovering(name, "finetune", observers=[look], recipe=replace_recipe(lr=1e-12, weight_decay=0.0))
    train(training)
    left = weights(train(toy_training(default(name), steps=STEPS - LATER, recipe=training.setup.recipe)))
    parameters = dict(ToyNet().named_parameters())
    assert all(torch.allclose(found[key], left[key], atol=1e-8) for key in parameters)


def rates(kind: str, recipe: Recipe) -> list[float]:
    found = list[float]()

    def look(event: Event) -> None:
        if event.kind == "epoch":
            found.append(event.row["lr"])

    train(recovering("dense", kind, observers=[look], recipe=recipe))
    return found


def test_rates_of_the_recovery() -> None:
    """Rows at steps 7, 14, 21, 26 of the method, then 28, 35 and 37: the 2nd, 9th and last of 11."""
    peak, cosine = RECIPE.lr, [RECIPE.rate(step, LATER) * RECIPE.lr for step in (1, 8, 10)]
    assert rates("lr", RECIPE)[-3:] == pytest.approx(cosine)
    assert rates("weights", RECIPE)[-3:] == pytest.approx(cosine)
    assert rates("finetune", RECIPE)[-3:] == pytest.approx([FLOOR * peak] * 3)
    falls = replace_recipe(schedule="multistep", milestones=(0.5,), drop=0.2)
    assert rates("finetune", falls)[-3:] == pytest.approx([0.2 * peak] * 3)
    assert rates("lr", falls)[-3:] == pytest.approx([peak, 0.2 * peak, 0.2 * peak])


def started(kind: str, to: float = 0.0) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The weights after as many steps of the method as are rewound to, and those that the recovery starts with."""
    early, later = ToyNet().state_dict(), dict[str, torch.Tensor]()
    early = {name: value.clone() for name, value in early.items()}

    class Look(type(default("gradual"))):  # type: ignore[misc]
        def after_step(self, state: Any, model: torch.nn.Module, clock: Clock) -> None:
            super().after_step(state, model, clock)
            if to and clock.step == round(to * (STEPS - LATER)):
                early.update(weights(model))

    def begins(event: Event) -> None:
        if event.phase == "recover" and not later:
            later.update(weights(training.model))

    recipe = replace_recipe(lr=0.05, weight_decay=0.0, momentum=0.0, warmup=1.0)
    training = toy_training(Look(), steps=STEPS, recovery=Recovery(kind, 0.3, to), observers=[begins], recipe=recipe)
    train(training)
    return early, later


@pytest.mark.parametrize("to", [0.0, 0.2])
def test_surviving_weights_go_back_to_early_values(to: float) -> None:
    """One step at an eleventh of the rate later, which is all that they have moved."""
    early, later = started("weights", to)
    for name in ("conv2.weight", "fc.weight"):
        live = later[name] != 0
        assert 0.1 < float(live.float().mean()) < 0.3
        assert float((later[name] - early[name])[live].abs().max()) < 0.02
    unrewound = started("lr")[1]
    assert float((unrewound["fc.weight"] - early["fc.weight"]).abs().max()) > 0.02


def test_biases_and_norms_are_held_where_a_whole_channel_is_zero_and_not_where_they_have_not_learned() -> None:
    model = ToyNet()
    with torch.no_grad():
        model.conv2.weight[3].zero_()
        model.get_parameter("conv2.bias")[3:5].zero_()
        model.bn1.weight[2].zero_()  # and its biases are zero from the start
        model.fc.weight[0, 0] = 0
    found = zeros(model)
    assert {name: (~mask).nonzero().tolist() for name, mask in found.items() if mask.dim() == 1} == {
        "conv2.bias": [[3]],
        "bn1.weight": [[2]],
        "bn1.bias": [[2]],
    }
    assert (~found["fc.weight"]).nonzero().tolist() == [[0, 0]]
    assert int((~found["conv2.weight"]).sum()) == 8 * 9
    assert found.keys() == {"conv2.bias", "bn1.weight", "bn1.bias", "fc.weight", "conv2.weight"}


def test_channels_that_could_only_be_masked_stay_masked() -> None:
    method = methods.load("depgraph").METHOD(fallback="mask")
    training = toy_training(method, steps=STEPS, recovery=Recovery("weights", 0.3), model=StuckNet())
    found = weights(train(training))
    gone = [
        n
        for n in ("conv1", "conv2", "fc")
        for row, bias in zip(*rows(found, n), strict=True)
        if not row.any() and not bias
    ]
    assert training.label == "masked channels"
    assert len(gone) > 8


def rows(found: dict[str, torch.Tensor], layer: str) -> tuple[torch.Tensor, torch.Tensor]:
    weight = found[f"{layer}.weight"].flatten(1)
    return weight, found[f"{layer}.bias"] if f"{layer}.bias" in found else found["bn1.bias"]


def test_the_recovery_has_the_rest_of_the_budget() -> None:
    training = recovering("dense", "lr")
    assert training.budget == Budget(STEPS - LATER, STEPS - LATER, 7)
    training.at.stage, training.at.step = 1, STEPS - LATER
    assert training.budget == Budget(STEPS, LATER, 7)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["recover=0.5"], "`recover` needs recovery=finetune or lr or weights"),
        (["recovery=lr", "rewind_to=0.1"], "`rewind_to` needs recovery=weights"),
        (["recovery=lr", "recover=1"], "recover < 1"),
        (["recovery=rewind"], "recovery in none, finetune, lr, weights"),
    ],
)
def test_what_a_recovery_does_not_need_is_refused(settings: list[str], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        new_run("gradual", settings)

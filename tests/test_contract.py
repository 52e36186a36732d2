"""The laws that every method must pass (DESIGN.md); methods are found by themselves, and so are their variants.

A variant sets one field of the method's SPACE to one end of its range, or to one of its choices.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.distributions import CategoricalDistribution
from torch import nn

import methods
from bench import masks, measure
from bench.errors import BenchError, Ineffective
from bench.method import AltersFunction, Method, attained, method_from
from bench.recipe import Recipe
from bench.study.space import check_space
from bench.training.loop import Event, Stopped, Training, train
from tests.toys import RECIPE, ToyNet, count_once, same, toy_batch, toy_training, weights

NAMES = methods.names()
STEPS = 19  # a prime: nothing divides the calendar evenly


@pytest.fixture(autouse=True)
def counted_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 4 finds and counts the toy's groups anew: neither depends on global generators."""
    if not request.node.name.startswith("test_4_"):
        count_once(monkeypatch)


def variants(name: str) -> Iterator[Method[Any]]:
    module = methods.load(name)
    base = module.METHOD()
    yield base
    for field, distribution in module.SPACE.items():
        ends = distribution.choices if isinstance(distribution, CategoricalDistribution) else ()
        for value in ends or (distribution.low, distribution.high):
            try:
                variant = replace(base, **{field: value})
            except BenchError:
                continue  # one field alone can break a rule between two
            if variant != base:
                yield variant


def low(name: str, method: Method[Any]) -> bool:
    """Whether a variant is at the lower end of a range of numbers."""
    space = methods.load(name).SPACE.items()
    ends = {field: range_.low for field, range_ in space if not isinstance(range_, CategoricalDistribution)}
    changed = [f.name for f in fields(method) if getattr(method, f.name) != getattr(default(name), f.name)]
    return any(field in ends and getattr(method, field) == ends[field] for field in changed)


def default(name: str) -> Method[Any]:
    made: Method[Any] = methods.load(name).METHOD()
    return made


ALL = [pytest.param(m, id=f"{n}-{i}") for n in NAMES for i, m in enumerate(variants(n))]
DEFAULTS = [variant for variant in ALL if variant.id.endswith("-0")]


def stopped(variant: Any) -> Any:
    """Where a run is stopped: at many places, one after the other, for a method's defaults, at one for each variant.

    Each choice and the upper end of each range is resumed by default, the lower ends among the slow tests.
    """
    (method,) = variant.values
    cuts = (1, 7, 11, 18) if variant in DEFAULTS else (11,)
    marks = [pytest.mark.slow] if low(variant.id.rpartition("-")[0], method) else []
    return pytest.param(method, cuts, id=variant.id, marks=marks)


TARGETED = [n for n in NAMES if methods.load(n).METHOD().wanted is not None]


@dataclass
class Trained:
    """A training that was looked at: the finished model, its masks, its phases, its last outputs before `finish`, and where
    masks and weights did not agree."""

    model: nn.Module
    masks: dict[str, torch.Tensor]
    phases: list[dict[str, Any]]
    outputs: list[torch.Tensor]
    wrong: list[str]

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return weights(self.model)


IMAGES, _ = toy_batch("outputs", size=16)
SHAPE = (1, 1, 6, 6)


@cache
def trained(method: Method[Any]) -> Trained:
    dead, outputs, wrong = dict[str, torch.Tensor](), list[torch.Tensor](), list[str]()

    def look(event: Event) -> None:
        parameters = dict(training.model.named_parameters())
        for name, mask in method.masks(training.state).items():
            zero, before = parameters[name] == 0, dead.get(name, torch.zeros_like(mask))
            if (~mask & ~zero).any():
                wrong.append(f"{name} has masked weights that are not 0 after {event}")
            if (mask & zero & ~before).any():
                wrong.append(f"{name} has zeros that are not masked after {event}")
            dead[name] = zero  # a weight that comes back may wait at 0 for its first gradient
        if event.kind == "phase":
            mode = training.model.training
            outputs[:] = [training.model.eval()(IMAGES).detach()]
            training.model.train(mode)

    training = toy_training(method, steps=STEPS, observers=[look])
    model = train(training)
    return Trained(model, dict(method.masks(training.state)), training.at.phases, outputs, wrong)


def aimed(name: str, sparsity: float) -> Method[Any]:
    method = default(name)
    assert method.target is not None
    return replace(method, **{method.target: sparsity})


def test_the_folder_is_the_registry() -> None:
    files = {p.stem for p in Path(methods.__file__).parent.glob("*.py") if not p.stem.startswith("_")}
    assert files <= set(NAMES)
    assert sorted(NAMES) == NAMES


# Law 1
@pytest.mark.parametrize("name", NAMES)
def test_1_frozen_hashable_and_equal_after_json(name: str) -> None:
    module, method = methods.load(name), default(name)
    assert method_from(json.loads(json.dumps(method.to_dict()))) == method
    assert hash(method) == hash(default(name))
    assert method.name == name
    for field in fields(method):
        with pytest.raises(FrozenInstanceError):
            setattr(method, field.name, getattr(method, field.name))
        assert field.metadata["help"], f"{field.name} has no help"
    check_space(module.METHOD, module.SPACE)
    assert all(claim.source for claim in module.CLAIMS)
    assert (module.__doc__ or "").count("\n") > 3


# Law 2
@pytest.mark.parametrize("method", ALL)
def test_2_attach_keeps_the_function(method: Method[Any]) -> None:
    model, (images, _) = ToyNet().eval(), toy_batch("law 2")
    before = model(images)
    method.attach(model, images)
    alters = not torch.equal(model.eval()(images), before)
    declared = method.alters() if isinstance(method, AltersFunction) else ""
    assert alters == bool(declared), (
        f"law 2: attach {'changes' if alters else 'does not change'} what the model computes; a method whose attach does "
        f"says what by `alters()` (`bench.method.AltersFunction`), here it says {declared!r}"
    )


# Law 3
@pytest.mark.parametrize("steps", [11, 19, 40])
@pytest.mark.parametrize("name", NAMES)
def test_3_phases_spend_exactly_the_budget(name: str, steps: int) -> None:
    seen = list[Event]()
    training = toy_training(default(name), steps=steps, observers=[seen.append])
    train(training)
    assert [e.step for e in seen if e.kind == "step"] == list(range(1, steps + 1))
    assert sum(phase["steps"] for phase in training.at.phases) == steps


# Law 4
@pytest.mark.parametrize("method", DEFAULTS)
def test_4_same_seed_same_weights_whatever_the_global_generators_are(method: Method[Any]) -> None:
    torch.manual_seed(1)
    again = same(weights(train(toy_training(method, steps=STEPS))), trained(method).weights)
    assert again, "law 4: randomness comes from `clock.rng(purpose)` alone, but global generators changed the weights"
    other = same(weights(train(toy_training(method, steps=STEPS, seed=1))), trained(method).weights)
    assert not other, "law 4: another seed must give other weights, but they are the same"


# Law 5, and the first half of law 4 for every variant: each part begins with global generators of its own
@pytest.mark.parametrize(("method", "cuts"), [stopped(p) for p in ALL])
def test_5_stopped_anywhere_and_resumed_gives_the_same_weights(
    method: Method[Any], cuts: tuple[int, ...], tmp_path: Path
) -> None:
    expected = trained(method)
    for cut in cuts:
        torch.manual_seed(cut)
        part = toy_training(method, steps=STEPS, folder=tmp_path, stop_at=cut)
        with pytest.raises(Stopped):
            train(part)
        assert part.at.step == cut
    torch.manual_seed(STEPS)
    resumed = toy_training(method, steps=STEPS, folder=tmp_path)
    equal = same(weights(train(resumed)), expected.weights)
    assert equal, f"law 5: what changes in a run belongs to the State that `attach` makes; resumed at {cut} it differs"
    assert resumed.at.step == STEPS
    for one, other in zip(resumed.at.phases, expected.phases, strict=True):
        assert {**one, "time": 0} == {**other, "time": 0}


# Law 6
@pytest.mark.parametrize("method", ALL)
def test_6_the_masks_are_what_is_counted_after_every_step(method: Method[Any]) -> None:
    found = trained(method)
    assert not found.wrong
    for name, mask in found.masks.items():
        equal = torch.equal(dict(found.model.named_parameters())[name] != 0, mask)
        assert equal, f"law 6: `masks(state)` must name the weights that are zero, but {name} differs at the end"


# Law 7
@pytest.mark.parametrize("method", ALL)
def test_7_finish_leaves_a_plain_model_with_the_same_outputs(method: Method[Any]) -> None:
    finished, fresh = trained(method).model, ToyNet()
    kept = torch.allclose(finished(IMAGES), trained(method).outputs[-1], atol=1e-6)
    assert kept, "law 7: `finish` changes the form of the model, not its outputs; change weights in `end_phase`"
    assert [type(m) for m in finished.modules()] == [type(m) for m in fresh.modules()]
    assert finished.state_dict().keys() == fresh.state_dict().keys()
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    assert not any(getattr(m, hook) for m in finished.modules() for hook in hooks)
    assert not any("parametrizations" in name for name, _ in finished.named_modules())


# Law 8
@pytest.mark.parametrize("name", TARGETED)
def test_8_target_zero_is_dense_training_bit_for_bit(name: str) -> None:
    dense = same(weights(train(toy_training(aimed(name, 0.0), steps=STEPS))), trained(default("dense")).weights)
    assert dense, (
        f"law 8: with `{default(name).target}` 0 a method trains densely; `target` must name the field that says so"
    )


# Law 9
@pytest.mark.parametrize(
    ("sparsity", "steps"),
    [
        *((0.5, 41), (0.8, 17), (0.8, 29), (0.9, 17), (0.9, 41)),
        *(pytest.param(*rest, marks=pytest.mark.slow) for rest in ((0.5, 17), (0.5, 29), (0.8, 41), (0.9, 29))),
    ],
)
@pytest.mark.parametrize("name", TARGETED)
def test_9_what_was_asked_for_is_reached(name: str, sparsity: float, steps: int) -> None:
    method = aimed(name, sparsity)
    training = toy_training(method, steps=steps)
    try:
        model = train(training)
    except Ineffective:  # what cannot be removed is refused, by methods that remove, and before any training
        assert hasattr(method, "fallback")
        assert training.at.step == 0
        return
    facts, _ = measure.summary(
        model,
        prunable=method.prunable(model),
        example_shape=SHAPE,
        recipe=RECIPE,
        device=torch.device("cpu"),
        quick=True,
        dense=dense_reference(),
    )
    got = attained(method, facts)
    assert got is not None
    layers = method.prunable(model).values()  # where each layer has its own share, each is exact to one weight
    exact = 0.5 * len(layers) / sum(w.numel() for w in layers)
    assert abs(got - sparsity) <= (max(method.tolerance, one_channel(training.state)) if training.kept else exact)


@cache
def dense_reference() -> Any:
    return measure.reference(ToyNet(), SHAPE)


def one_channel(state: Any) -> float:
    """The share of the cost that the cheapest channel makes: where few layers lose channels, it can exceed a tolerance."""
    gone = [int(state.gone[g.root].sum()) for g in state.groups]
    fewer = [[n - (i == j) for j, n in enumerate(gone)] for i, n in enumerate(gone) if n]
    return min(state.costs.total(f) - state.costs.total(gone) for f in fewer) / state.costs.total([0] * len(gone))


# Law 10
@pytest.mark.parametrize("method", ALL)
def test_10_only_prunable_weights_are_zeroed(method: Method[Any]) -> None:
    model = trained(method).model
    allowed = set(masks.prunable(model, classifier=getattr(method, "classifier", False)))
    assert set(method.prunable(model)) <= allowed
    values = dict(model.named_parameters())
    others = [n for n, p in values.items() if n not in allowed and n != "bn1.bias" and bool((p == 0).any())]
    # In a tiny model, channels that are removed together can miss the budget. Then some stay in the smaller model, empty
    # (`Structured.chosen`): such a channel has neither weights nor bias, and nothing reads it.
    for name in others:
        if name == "head.weight":
            unread = (values[name] == 0).all(dim=0)
            assert torch.equal((values[name] == 0).any(dim=0), unread)
            assert not bool(values["fc.weight"][unread].any() or values["fc.bias"][unread].any())
            continue
        layer, kind = name.rsplit(".", 1)
        assert kind == "bias"
        assert not bool(values[f"{layer}.weight"][values[name] == 0].any())


# Law 11
@pytest.mark.parametrize("name", [n for n in NAMES if n != "dense"])
def test_11_a_method_that_matches_nothing_says_so(name: str) -> None:
    class Norms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm2d(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bn(x).mean(dim=(1, 2, 3), keepdim=True).flatten(1).expand(-1, 4)

    with pytest.raises(Ineffective):
        train(toy_training(default(name), steps=STEPS, model=Norms()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("recipe", [replace(RECIPE, optimizer="adamw"), replace(RECIPE, clip=0.1, micro_batches=2)])
def test_masks_hold_under_every_optimiser(name: str, recipe: Recipe) -> None:
    method, training = default(name), toy_training(default(name), steps=STEPS, recipe=recipe)
    model = train(training)
    for key, mask in method.masks(training.state).items():
        equal = torch.equal(dict(model.named_parameters())[key] != 0, mask)
        assert equal, f"`masks(state)` must name the weights that are zero under every optimizer, but {key} differs"


def test_the_hooks_are_called_in_the_documented_order() -> None:
    calls = list[str]()

    class Spy(type(default("dense"))):  # type: ignore[misc]
        def __getattribute__(self, hook: str) -> Any:
            value = super().__getattribute__(hook)
            watched = {"attach", "phase", "optimizer", "penalty", "after_backward", "after_step", "end_phase", "finish"}
            if hook in watched:
                calls.append(hook)
            return value

    training: Training = toy_training(Spy(), steps=2)
    train(training)
    step = ["penalty", "after_backward", "after_step"]
    assert calls == ["attach", "phase", "optimizer", *step, *step, "end_phase", "phase", "finish"]

"""Structured methods on models with too few removable channels: refused, or masked and labelled; the laws still hold."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import methods
from bench import measure
from bench.errors import Ineffective
from bench.method import Method, attained
from bench.training.loop import Event, Stopped, Training, train
from methods._structured import Structured
from tests.toys import RECIPE, StuckNet, ToyNet, same, toy_batch, toy_training, weights

STEPS = 23
EXAMPLE = (1, 1, 6, 6)
NAMES = ("depgraph", "otov2", "gate_decorator", "decay")
HOSTS = [methods.load("decay").METHOD(host=host) for host in NAMES[1:3]]
REFUSING: list[Method[Any]] = [*(methods.load(name).METHOD() for name in NAMES), *HOSTS]


class Stuck(StuckNet):
    """With a batch norm behind each layer, so that there are gates."""

    def __init__(self) -> None:
        super().__init__()
        self.bn2, self.bn3 = nn.BatchNorm2d(16), nn.BatchNorm1d(64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)).logcumsumexp(1))
        x = torch.relu(self.bn2(self.conv2(x)).logcumsumexp(1)).mean(dim=(2, 3))
        return self.head(self.dropout(torch.relu(self.bn3(self.fc(x)).logcumsumexp(1))))


def masking(method: Method[Any], **values: Any) -> Method[Any]:
    return replace(method, fallback="mask", **values)


MASKING = [masking(method) for method in REFUSING]
MASKING += [masking(method, budget=budget) for method in REFUSING[:2] for budget in ("params", "channels")]


def stuck_training(method: Method[Any], **more: Any) -> Training:
    return toy_training(method, steps=STEPS, model=Stuck(), **more)


@cache
def trained(method: Method[Any]) -> tuple[nn.Module, Training, list[str]]:
    """The finished model, its training, and where masks and weights did not agree after a step."""
    wrong = list[str]()

    def look(event: Event) -> None:
        parameters = dict(training.model.named_parameters())
        found = method.masks(training.state)
        wrong.extend(n for n, mask in found.items() if not torch.equal(parameters[n] != 0, mask))

    training = stuck_training(method, observers=[look])
    return train(training), training, wrong


def test_all_structured_methods_are_here() -> None:
    found = {n for n in methods.names() if isinstance(methods.load(n).METHOD(), Structured)}
    assert found | {"decay"} == set(NAMES)


@pytest.mark.parametrize("method", REFUSING)
def test_a_model_from_which_nothing_can_leave_is_refused_at_once(method: Method[Any]) -> None:
    with pytest.raises(Ineffective, match=r"channels.*, or fallback=mask$"):
        method.attach(Stuck(), toy_batch("refused")[0])


def test_masking_is_no_remedy_without_gates() -> None:
    class Plain(ToyNet):
        def __init__(self) -> None:
            super().__init__()
            self.bn1 = torch.nn.Identity()

    with pytest.raises(Ineffective, match=r"choose another model$"):
        methods.load("gate_decorator").METHOD(learn=0.0).attach(Plain(), toy_batch("refused")[0])


def test_a_model_that_cannot_lose_enough_is_refused_at_once() -> None:
    class Half(ToyNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.conv2(torch.relu(self.bn1(self.conv1(x))))).mean(dim=(2, 3))
            return self.head(torch.relu(self.fc(x.logcumsumexp(1)).logcumsumexp(1)))

    images, _ = toy_batch("refused")
    method = methods.load("depgraph").METHOD(budget="params", final=0.7)
    with pytest.raises(
        Ineffective, match=r"for 70.0% of the params, but those here make up 4.*%; lower `final`, or fallback=mask"
    ):
        method.attach(Half(), images)
    assert method.attach(ToyNet(), images).groups
    assert [g.root for g in replace(method, final=0.4).attach(Half(), images).groups] == ["conv1"]
    assert not any(g.removable for g in masking(method).attach(Half(), images).groups)


@pytest.mark.parametrize("method", MASKING)
def test_what_can_leave_is_removed_even_if_masking_is_allowed(method: Method[Any]) -> None:
    training = toy_training(method, steps=STEPS)
    model = train(training)
    assert training.label == ""
    assert training.kept
    assert same(weights(model), weights(train(toy_training(replace(method, fallback="refuse"), steps=STEPS))))


@pytest.mark.parametrize("method", MASKING)
def test_masked_channels_are_labelled_and_the_model_stays_as_large(method: Method[Any]) -> None:
    model, training, _ = trained(method)
    assert training.label == "masked channels"
    assert not training.kept
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in Stuck().named_parameters()}
    values = dict(model.named_parameters())
    for layer, norm in (("conv1", "bn1"), ("conv2", "bn2"), ("fc", "bn3")):
        live = values[f"{layer}.weight"].flatten(1).any(dim=1)
        assert torch.equal(live, values[f"{norm}.weight"] != 0)


@pytest.mark.parametrize("method", MASKING)
def test_what_was_asked_for_is_reached_by_masks(method: Method[Any]) -> None:
    model, training, _ = trained(method)
    facts, _ = measure.summary(
        model,
        prunable=method.prunable(model),
        example_shape=EXAMPLE,
        recipe=RECIPE,
        device=torch.device("cpu"),
        quick=True,
        dense=measure.reference(Stuck(), EXAMPLE),
    )
    got = attained(method, facts)
    if got is None:
        gone = sum(int(out.sum()) for out in training.state.gone.values())
        got = gone / sum(g.channels for g in training.state.groups)
    assert abs(got - 0.5) <= method.tolerance
    assert facts["params/all"] == facts["params/reference"]


@pytest.mark.parametrize("method", MASKING)
def test_masks_hold_after_every_step(method: Method[Any]) -> None:
    _, training, wrong = trained(method)
    assert not wrong
    assert method.masks(training.state)


@pytest.mark.parametrize("method", [*MASKING[:6], *(pytest.param(m, marks=pytest.mark.slow) for m in MASKING[6:])])
def test_stopped_and_resumed_it_gives_the_same_weights(method: Method[Any], tmp_path: Path) -> None:
    for cut in (12, 20):
        with pytest.raises(Stopped):
            train(stuck_training(method, folder=tmp_path, stop_at=cut))
    resumed = stuck_training(method, folder=tmp_path)
    assert same(weights(train(resumed)), weights(trained(method)[0]))
    assert resumed.label == "masked channels"


def test_a_gate_decorator_without_batch_norms_cannot_mask_either() -> None:
    class Plain(StuckNet):
        def __init__(self) -> None:
            super().__init__()
            self.bn1 = nn.Identity()  # type: ignore[assignment]

    with pytest.raises(Ineffective, match="gate_decorator needs batch norms of removable channels, but found none"):
        masking(REFUSING[2]).attach(Plain(), toy_batch("refused")[0])

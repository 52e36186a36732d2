"""Gate Decorator: the plan and the scores by hand, gates against a module that has them, what ticks freeze, the budget."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench import models
from bench.errors import BenchError, Ineffective
from bench.method import Budget, Clock, Phase
from bench.recipe import Recipe
from bench.training.loop import Event, train
from methods._structured import LAST
from methods.gate_decorator import GateDecorator, gates, plan, shift, spared, triangle, worth
from tests.toys import ToyNet, toy_batch, toy_training, weights

STEPS = 60
SHARES = {"learn": 0.3, "tick": 0.2, "tock": 0.3}


class Gated(ToyNet):
    """The toy with an explicit gate phi and shift b in the place of its batch norm's scale and shift."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.phi, self.b = nn.Parameter(torch.rand(8) + 0.5), nn.Parameter(torch.rand(8) - 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = F.batch_norm(x, None, None, training=True)
        x = torch.relu(self.phi[:, None, None] * (x + self.b[:, None, None]))
        x = torch.relu(self.conv2(x)).mean(dim=(2, 3))
        return self.head(torch.relu(self.fc(x)))


class Pair(nn.Module):
    """Two convolutions whose outputs are added, each with its batch norm, and one that reads the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 20, 3), nn.Conv2d(1, 20, 3), nn.Conv2d(20, 30, 3)
        self.bn_a, self.bn_b, self.bn_c = nn.BatchNorm2d(20), nn.BatchNorm2d(20), nn.BatchNorm2d(30)
        self.head = nn.Linear(30, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn_a(self.a(x)) + self.bn_b(self.b(x)))
        return self.head(torch.relu(self.bn_c(self.c(x))).mean(dim=(2, 3)))

    def get_classifier(self) -> nn.Module:
        return self.head


def toys() -> tuple[ToyNet, Gated]:
    """The two toys with the same weights: gamma is phi, beta is phi * b."""
    gated, plain = Gated(), ToyNet()
    plain.dropout.p = gated.dropout.p = 0.0
    with torch.no_grad():
        plain.bn1.weight.copy_(gated.phi)
        plain.bn1.bias.copy_(gated.phi * gated.b)
    return plain, gated


# The plan


def test_the_plan_by_hand() -> None:
    found = plan(100, rounds=2, ticks=2, **SHARES)
    ticks, tock = [("tick", 5), ("tick", 5)], ("tock", 10)
    assert found == ([("learn", 30), tock, *ticks, tock, *ticks, tock, ("fine-tune", 20)], 8)
    assert plan(10, rounds=5, ticks=5, learn=0.0, tick=0.5, tock=0.5) == (
        [("tock", 2), *[("tick", 1)] * 5, ("tock", 3)],
        7,
    )
    assert plan(1, rounds=2, ticks=5, **SHARES) == ([("tick", 1)], 1)


@given(
    st.integers(1, 300), st.integers(1, 9), st.integers(1, 9), st.floats(0, 0.4), st.floats(0, 0.3), st.floats(0, 0.3)
)
def test_the_plan_fits_any_run(steps: int, rounds: int, ticks: int, learn: float, tick: float, tock: float) -> None:
    parts, last = plan(steps, rounds=rounds, ticks=ticks, learn=learn, tick=tick, tock=tock)
    names = [name for name, _ in parts]
    assert sum(n for _, n in parts) == steps
    assert all(n > 0 for _, n in parts)
    assert 1 <= names.count("tick") <= rounds * ticks
    assert names[last:] in ([], ["fine-tune"])
    assert names[last - 1] == "tock" or "tock" not in names[names.index("tick") :]


def test_the_triangle_by_hand() -> None:
    assert [triangle(n, 4, 0.2) for n in range(4)] == pytest.approx([0.4, 0.8, 0.8, 0.4])
    assert triangle(0, 1, 0.1) == 1.0


# Gates


def test_shifts_and_spared_scores_by_hand() -> None:
    beta, gamma = torch.tensor([1.0, -3.0, 5.0, 0.0]), torch.tensor([2.0, 0.1, 0.0, 0.0])
    assert shift(beta, gamma).tolist() == [0.5, -10.0, 0.0, 0.0]
    scores = torch.tensor([3.0, 1.0, 2.0])
    assert spared(scores, 0.0).tolist() == [3, 1, 2]
    assert spared(scores, 0.5).tolist() == pytest.approx([LAST, 1, LAST])


def test_the_worth_of_a_gate_is_its_slope_times_itself() -> None:
    plain, gated = toys()
    images, labels = toy_batch("worth")
    for model in (plain, gated):
        F.cross_entropy(model(images), labels).backward()
    norm, phi = plain.bn1, gated.phi
    assert phi.grad is not None
    assert norm.weight.grad is not None
    assert norm.bias.grad is not None
    found = worth(norm.weight, norm.bias, norm.weight.grad, norm.bias.grad)
    assert torch.allclose(found, (phi.grad * phi).abs(), atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", ["tick", "tock"])
def test_a_norm_is_trained_as_a_gate(name: str, optimizer: str) -> None:
    plain, gated = toys()
    recipe, method = Recipe(optimizer=optimizer, lr=0.05, weight_decay=0.01), GateDecorator(lam=0.02)
    state, phase = method.attach(plain, toy_batch()[0]), Phase(name, 6)
    ours = method.optimizer(state, plain, recipe, phase)
    if name == "tick":
        gated.conv1.weight.requires_grad_(False)
        gated.conv2.requires_grad_(False)
    theirs = recipe.optimizer_for(
        [{"params": [p for n, p in gated.named_parameters() if p.requires_grad and "bn" not in n]}]
    )
    theirs.param_groups[0]["weight_decay"] = 0.01
    clock, total = Clock(0, Budget(6, 6, 7), phase, 0, 0, 0, ours), torch.zeros(8)
    for step in range(6):
        images, labels = toy_batch("gate", step)
        for model, optim in ((plain, ours), (gated, theirs)):
            optim.zero_grad()
            F.cross_entropy(model(images), labels).backward()
        theirs.param_groups[0]["lr"] = 0.05 * (0.1 if name == "tick" else triangle(step, 6, 0.1))
        assert gated.phi.grad is not None
        total += (gated.phi.grad * gated.phi).abs().detach()
        gated.phi.grad += 0.02 * gated.phi.detach().sign() * (name == "tock")
        method.after_backward(state, plain, clock)
        for optim in (ours, theirs):
            optim.step()
        clock.step, clock.phase_step = step + 1, step + 1
        if step < 5:  # the last one lets channels leave
            method.after_step(state, plain, clock)
    method._close_(state, plain)
    assert torch.allclose(plain.bn1.weight, gated.phi, atol=1e-4)
    assert torch.allclose(plain.bn1.bias, gated.phi * gated.b, atol=1e-4)
    assert torch.allclose(plain.conv1.weight, gated.conv1.weight, atol=1e-4)
    assert torch.equal(plain.conv1.weight, ToyNet().conv1.weight) == (name == "tick")
    if name == "tick":
        assert state.theta is not None
        assert torch.allclose(state.theta, total, rtol=1e-3, atol=1e-5)


def test_gates_that_must_leave_together_are_scored_together() -> None:
    model, method = Pair(), GateDecorator(spare=0.0)
    state = method.attach(model, torch.zeros(2, 1, 8, 8))
    assert gates(model, state.groups) == state.gates
    norms = dict(
        zip(
            state.gates,
            torch.arange(70.0).split([len(model.get_submodule(n).weight) for n in state.gates]),
            strict=True,
        )
    )
    state.theta = torch.arange(70.0)
    clock = Clock(0, Budget(1, 1, 1), Phase("tick", 1), 0, 1, 1, torch.optim.SGD(model.parameters()))
    found = method.scores(state, model, clock)
    roots = {g.channels: g.root for g in state.groups}
    assert torch.equal(found[roots[20]], norms["bn_a"] + norms["bn_b"])
    assert torch.equal(found[roots[30]], norms["bn_c"])


# Training


def watched(method: GateDecorator, model: nn.Module) -> tuple[nn.Module, list[tuple[str, dict[str, Tensor]]]]:
    seen = list[tuple[str, dict[str, Tensor]]]()

    def look(event: Event) -> None:
        if event.kind == "step":
            seen.append((event.phase, weights(training.model)))

    training = toy_training(method, steps=STEPS, model=model, observers=[look])
    return train(training), seen


def test_ticks_freeze_convolutions_and_nothing_stays_frozen() -> None:
    model, seen = watched(GateDecorator(rounds=1, ticks=1, tick=0.2), ToyNet())
    before, ticks = seen[26][1], [w for name, w in seen if name == "tick"]
    assert len(ticks) == 12
    for name in ("conv1.weight", "conv2.weight", "conv2.bias"):
        assert all(torch.equal(w[name], before[name]) for w in ticks[:-1])
    for name in ("bn1.weight", "bn1.bias", "fc.weight", "head.weight"):
        assert not torch.equal(ticks[-2][name], before[name])
    assert all(p.requires_grad for p in model.parameters())
    assert not torch.equal(seen[-1][1]["conv2.weight"], seen[-3][1]["conv2.weight"])


def test_only_groups_with_a_gate_lose_channels() -> None:
    model, _ = watched(GateDecorator(), ToyNet())
    assert model.conv1.out_channels < 8
    assert (model.conv2.out_channels, model.fc.out_features) == (16, 64)


@pytest.mark.parametrize("budget", ["macs", "params", "channels"])
def test_the_budget_is_met_and_the_best_of_each_group_stay(budget: str) -> None:
    method = GateDecorator(final=0.7, round_to=1, budget=budget)
    model, _ = watched(method, Pair())

    def cost(a: int, c: int) -> float:
        macs = 2 * 9 * a * 16 + 9 * a * c * 4 + 4 * c  # images 6x6
        return {"macs": macs, "params": 2 * 12 * a + 9 * a * c + 3 * c + 4 * c + 4, "channels": a + c}[budget]

    kept = model.a.out_channels, model.c.out_channels
    assert kept[0] == model.b.out_channels == model.c.in_channels
    finest = min(cost(*kept) - cost(kept[0] - 1, kept[1]), cost(*kept) - cost(kept[0], kept[1] - 1)) / cost(20, 30)
    assert abs(1 - cost(*kept) / cost(20, 30) - 0.7) <= max(0.01, finest)
    assert kept[0] >= 2
    assert kept[1] >= 3


def test_a_model_without_batch_norms_is_refused() -> None:
    model = models.create("test_vit", classes=4, channels=1, image_size=32, seed=0)[0]
    with pytest.raises(Ineffective, match="needs batch norms of removable channels, but found none"):
        GateDecorator().attach(model, torch.zeros(2, 1, 32, 32))


@pytest.mark.parametrize(
    "values", [{"learn": 0.5, "tick": 0.3}, {"ticks": 0}, {"low": 0.0}, {"lam": math.nan}, {"spare": 2}]
)
def test_bad_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BenchError, match="must"):
        GateDecorator(**values)

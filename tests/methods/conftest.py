"""A toy model, toy data and the plainest training loop that calls a method's hooks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import Budget, Clock, Method
from bench.recipe import Recipe
from tests import toys


@pytest.fixture(autouse=True)
def counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    toys.count_once(monkeypatch)


class ToyNet(nn.Module):
    """Convolutions of 54 and 144 weights, one linear layer of 96 and a classifier of 24."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 4, (3, 2), padding=1)
        self.hidden = nn.Linear(4, 24)
        self.fc = nn.Linear(24, 1)

    def get_classifier(self) -> nn.Module:
        return self.fc

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv1(x)))
        return self.fc(torch.relu(self.hidden(self.conv2(x).mean((2, 3)))))


def toy_model() -> ToyNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ToyNet()


@dataclass
class Trained:
    model: nn.Module
    state: Any
    phases: list[tuple[str, int]]


Look = Callable[[Clock, Any, nn.Module], None]


def train(method: Method[Any], *, steps: int = 24, optimizer: str = "sgd", look: Look | None = None) -> Trained:
    """Train the toy; ``look`` is called after each step and, with a fresh optimiser, at the start of each phase."""
    model, generator = toy_model(), torch.Generator().manual_seed(1)
    recipe = Recipe(optimizer=optimizer, lr=0.05 if optimizer == "sgd" else 0.01, weight_decay=0.01)
    x, y = torch.randn(16, 1, 5, 5, generator=generator), torch.randn(16, 1, generator=generator)
    state, step, index, phases = method.attach(model, x), 0, 0, []
    while (phase := method.phase(state, index, Budget(steps, steps - step, 4))) is not None:
        optim = method.optimizer(state, model, recipe, phase)
        clock = Clock(0, Budget(steps, steps - step, 4), phase, index, step, 0, optim)
        if look:
            look(clock, state, model)
        for _ in range(phase.steps):
            optim.zero_grad()
            F.mse_loss(model(x), y).backward()
            method.after_backward(state, model, clock)
            optim.step()
            clock.step, clock.phase_step = clock.step + 1, clock.phase_step + 1
            method.after_step(state, model, clock)
            if look:
                look(clock, state, model)
        method.end_phase(state, model, clock)
        phases.append((phase.name, phase.steps))
        step, index = clock.step, index + 1
    return Trained(method.finish(state, model), state, phases)


@pytest.fixture(name="train")
def _train() -> Callable[..., Trained]:
    return train


@pytest.fixture(name="toy_model")
def _toy_model() -> Callable[[], nn.Module]:
    return toy_model


@pytest.fixture
def same() -> Callable[[nn.Module, nn.Module], bool]:
    """Whether two models hold the same numbers, bit for bit."""

    def compare(a: nn.Module, b: nn.Module) -> bool:
        left, right = a.state_dict(), b.state_dict()
        return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)

    return compare

"""A toy model and toy data for tests of the loop and the methods: milliseconds a step, every kind of layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.channels import costs, groups
from bench.method import Method
from bench.recipe import Recipe
from bench.records.run_folder import RunFolder
from bench.seeds import generator
from bench.training.loop import Setup, Training

RECIPE = Recipe(lr=0.05, weight_decay=1e-3)


class ToyNet(nn.Module):
    """Two convolutions with batch norm, a hidden linear layer, dropout (global randomness), a classifier."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(8)
            self.conv2 = nn.Conv2d(8, 16, 3, padding=1)  # more than 1000 weights, as has the hidden layer
            self.fc = nn.Linear(16, 64)
            self.dropout = nn.Dropout(0.2)
            self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.conv2(x)).mean(dim=(2, 3))
        return self.head(self.dropout(torch.relu(self.fc(x))))

    def get_classifier(self) -> nn.Module:
        return self.head


class StuckNet(ToyNet):
    """The toy with sums along the channels, from which nothing can leave."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)).logcumsumexp(1))
        x = torch.relu(self.conv2(x).logcumsumexp(1)).mean(dim=(2, 3))
        return self.head(self.dropout(torch.relu(self.fc(x).logcumsumexp(1))))


class ToyBatches:
    """Four classes of 6x6 images, brighter in one corner each; 7 batches of 8 to an epoch."""

    steps = 7

    def epoch(self, index: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(skip, self.steps):
            yield toy_batch(index, step)


@cache
def toy_batch(*where: object, size: int = 8) -> tuple[Tensor, Tensor]:
    """The batch at an address. It is made once: nothing may change it in place."""
    source = generator("toy", *where)
    labels = torch.randint(0, 4, (size,), generator=source)
    images = 0.5 * torch.randn(size, 1, 6, 6, generator=source)
    for image, label in zip(images, labels, strict=True):
        row, column = 3 * (label // 2), 3 * (label % 2)
        image[0, row : row + 3, column : column + 3] += 1
    return images, labels


def toy_training(
    method: Method[Any],
    *,
    steps: int = 30,
    seed: int = 0,
    recipe: Recipe = RECIPE,
    model: nn.Module | None = None,
    folder: Path | None = None,
    stop_at: int | None = None,
    **more: Any,
) -> Training:
    """A training of the toy model; ``folder=`` makes it resumable, ``stop_at=`` stops it after so many steps."""

    def stop() -> bool:
        return stop_at is not None and training.at.step >= stop_at

    run_folder = None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        run_folder = RunFolder(folder)
    validation = [toy_batch("validation", i) for i in range(2)]
    setup = Setup(
        method,
        recipe,
        seed,
        ToyBatches(),
        lambda: validation,
        torch.device("cpu"),
        steps,
        folder=run_folder,
        stop=stop,
        **more,
    )
    training = Training(setup, ToyNet(seed) if model is None else model)
    return training


FOUND: dict[object, list[groups.Group]] = {}
COUNTED: dict[object, dict[str, int]] = {}
find, macs = groups.find, costs.macs


def _architecture(model: nn.Module) -> tuple[object, ...]:
    shapes = tuple((name, parameter.shape) for name, parameter in model.named_parameters())
    return type(model), tuple(type(module) for module in model.modules()), shapes


def found_before(model: nn.Module, example: Tensor) -> list[groups.Group]:
    """`groups.find`, once for each architecture of the toys."""
    if not isinstance(model, ToyNet):
        return find(model, example)
    key = _architecture(model)
    if key not in FOUND:
        FOUND[key] = find(model, example)
    return list(FOUND[key])


def counted_before(model: nn.Module, shape: tuple[int, int, int, int]) -> dict[str, int]:
    """`measure.macs`, once for each architecture of the toys and each shape of its images."""
    if not isinstance(model, ToyNet):
        return macs(model, shape)
    key = *_architecture(model), shape
    if key not in COUNTED:
        COUNTED[key] = macs(model, shape)
    return dict(COUNTED[key])


def count_once(patch: pytest.MonkeyPatch) -> None:
    """Groups and operations of the toys, which depend on their architecture only, are found once (both have own tests)."""
    patch.setattr(groups, "find", found_before)
    patch.setattr(costs, "macs", counted_before)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def replace_recipe(**values: Any) -> Recipe:
    """The toys' recipe with other values."""
    return replace(RECIPE, **values)

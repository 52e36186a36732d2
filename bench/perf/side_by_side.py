"""Times the suite's training loop and a minimal PyTorch loop in turns, on one machine."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import Method
from bench.recipe import Recipe
from bench.training.loop import Batches, Setup, Training, train

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Comparison:
    """Seconds of our work and of a reference, for a unit of work, in blocks that were timed in turns.

    The blocks of round r are ``2 * r`` and ``2 * r + 1``; ``wanted`` is the largest ratio that is good enough.
    """

    name: str
    reference: str
    wanted: float
    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Our seconds over the reference's, one for each round: below 1 where ours is faster."""
        ours, theirs = (np.reshape(blocks, (-1, 2)).sum(axis=1) for blocks in (self.ours, self.theirs))
        return [float(ratio) for ratio in ours / theirs]

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile of the ratios."""
        low, middle, high = np.percentile(self.ratios, (25, 50, 75))
        return float(low), float(middle), float(high)

    def to_dict(self) -> dict[str, Any]:
        """Returns the row of bench.json; seconds are medians over the blocks."""
        low, middle, high = self.quartiles
        return {
            "name": self.name,
            "reference": self.reference,
            "seconds": float(np.median(self.ours)),
            "reference_seconds": float(np.median(self.theirs)),
            "ratio": middle,
            "ratio_low": low,
            "ratio_high": high,
            "ratios": self.ratios,
            "wanted": self.wanted,
            "met": middle <= self.wanted,
        }


def compare(
    name: str, reference: str, wanted: float, ours: Callable[[], float], theirs: Callable[[], float], rounds: int
) -> Comparison:
    """Times blocks of work, which return their seconds, in the order A B B A, so that a drift of the machine's speed affects
    both alike. The first block of each is a warm-up and is not counted."""
    found: tuple[list[float], list[float]] = ([], [])
    theirs(), ours()
    for _ in range(rounds):
        found[1].append(theirs())
        found[0].extend((ours(), ours()))
        found[1].append(theirs())
    return Comparison(name, reference, wanted, tuple(found[0]), tuple(found[1]))


@dataclass(frozen=True)
class Repeated:
    """An epoch of ``steps`` batches that repeats some batches in memory."""

    batches: Sequence[Batch]
    steps: int

    def epoch(self, index: int, skip: int = 0) -> Iterator[Batch]:
        """Yields the batches from ``skip`` on."""
        for step in range(skip, self.steps):
            yield self.batches[step % len(self.batches)]

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)


def ours(method: Method[Any], model: nn.Module, recipe: Recipe, batches: Batches, device: torch.device) -> float:
    """Returns the seconds of one epoch in our loop, without evaluation, pruning between phases, and checkpoints."""
    example = next(iter(batches.epoch(0)))
    setup = Setup(method, recipe, 0, batches, lambda: [example], device, batches.steps)
    training = Training(setup, copy.deepcopy(model))
    train(training)
    return training.at.seconds


def plain(model: nn.Module, recipe: Recipe, batches: Iterable[Batch], device: torch.device) -> float:
    """Returns the seconds of a minimal loop on the same batches, in the same precision and memory format."""
    model = copy.deepcopy(model).to(device).to(memory_format=recipe.memory_format).train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
    )
    wait(device)
    began = time.perf_counter()
    for images, labels in batches:
        with recipe.autocast(device):
            loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    wait(device)
    return time.perf_counter() - began


def wait(device: torch.device) -> None:
    """Waits until the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

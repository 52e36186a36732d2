"""The configuration of a training, which never changes: what is trained, on which data, in which stages, and who looks on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from bench.method import Batch, Method
from bench.recipe import Recipe, Recovery
from bench.records.run_folder import RunFolder
from bench.training.recovery import Recover

SCORING = 1_000_000  # the first epoch of batches for scores: more than any training has


class Batches(Protocol):
    """Training batches with an address: epoch ``index`` is the same whenever it is asked for."""

    @property
    def steps(self) -> int:
        """Batches to an epoch."""
        ...

    def epoch(self, index: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (N, C, H, W) and labels (N,) of an epoch, without its first ``skip`` batches."""
        ...


@dataclass(frozen=True)
class Event:
    """What observers are told: ``kind`` is "step", "epoch" or "phase"; ``row`` is the newest row of the curves."""

    kind: str
    step: int
    steps: int
    phase: str
    row: Mapping[str, Any]


Observer = Callable[[Event], None]


class Stopped(Exception):
    """The run was asked to stop; a checkpoint holds all of its state."""


@dataclass(frozen=True)
class Stage:
    """A part of a run with a method and a recipe of its own: first the pruning method, then the recovery.

    Attributes:
        method: the pruning method, or `bench.training.recovery.Recover`.
        recipe: what the stage trains with.
        end: the step of the run at which its budget is spent.
        held: masks of weights whose zeros stay zero, whatever the method does (bool, False at a zero).
    """

    method: Method[Any]
    recipe: Recipe
    end: int
    held: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Setup:
    """The configuration of a training.

    Attributes:
        method: the pruning method.
        recipe: optimiser, schedule and precision.
        seed: of everything that is random.
        batches: the training data.
        validation: returns the batches to evaluate on.
        device: where the model is trained.
        steps: optimiser steps of the whole run, its recovery included.
        dense_weights: the count that the curves' weights_left is relative to; None: the model's own.
        held: masks of weights whose zeros stay zero while the method acts (bool, False at a zero), by parameter name.
        recovery: how the model is trained after the method has ended; None: not at all.
        folder: where curves and checkpoints are written; None: nothing is written.
        observers: called at each step, epoch and phase.
        checkpoint_seconds: the least time between two checkpoints.
        scored_on: makes the batches for scores by gradients; None: epochs of `batches` that no training reaches.
        stop: asked at each step; where it returns True, the run saves a checkpoint and raises `Stopped`.
    """

    method: Method[Any]
    recipe: Recipe
    seed: int
    batches: Batches
    validation: Callable[[], Any]
    device: torch.device
    steps: int
    dense_weights: int | None = None
    held: Mapping[str, Tensor] = field(default_factory=dict)
    recovery: Recovery | None = None
    folder: RunFolder | None = None
    observers: Sequence[Observer] = ()
    checkpoint_seconds: float = 30.0
    stop: Callable[[], bool] = lambda: False
    scored_on: Callable[[], Batches] | None = None

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The method's stage, and after it the recovery's where there is one."""
        held = {name: mask.to(self.device) for name, mask in self.held.items()}
        if self.recovery is None:
            return (Stage(self.method, self.recipe, self.steps, held),)
        end = self.steps - self.recovery.steps(self.steps)
        recover = Recover(self.method, self.recovery.peak(self.recipe, end))
        return (
            Stage(self.method, self.recipe, end, held),
            Stage(recover, self.recovery.recipe(self.recipe), self.steps),
        )

    def scoring(self, count: int) -> Iterator[Batch]:
        """``count`` batches of the training split in an order of their own (`bench.method.Scoring`)."""
        batches = self.batches if self.scored_on is None else self.scored_on()
        epochs = (batches.epoch(SCORING + index) for index in itertools.count())
        return itertools.islice(itertools.chain.from_iterable(epochs), count)

    @property
    def rewinds_to(self) -> int | None:
        """The step whose values the recovery rewinds to; None where it does not rewind."""
        return self.recovery.rewinds(self.steps) if self.recovery else None

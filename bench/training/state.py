"""What a run consists of while it goes on, and what it tells those that look on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bench.method import Budget, Method
from bench.recipe import Recipe, Recovery
from bench.records.run_folder import RunFolder


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
    """What observers are told: kind is "step", "epoch" or "phase"; ``row`` is the newest row of the curves."""

    kind: str
    step: int
    steps: int
    phase: str
    row: Mapping[str, Any]


Observer = Callable[[Event], None]


class Stopped(Exception):
    """The run was asked to stop; a checkpoint holds all of it."""


@dataclass
class Position:
    """How far a run is; plain values that a checkpoint stores."""

    step: int = 0
    index: int = 0
    phase_step: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    seconds: float = 0.0
    row: dict[str, Any] = field(default_factory=dict)
    phases: list[dict[str, Any]] = field(default_factory=list)
    pruned: dict[str, float] = field(default_factory=dict)  # metrics of what a recovery began with


@dataclass
class Training:
    """Everything that one run consists of while it goes on. First the method acts; then, if there is one, its `recovery`, and
    method, state and recipe are those of the recovery."""

    method: Method[Any]
    recipe: Recipe
    seed: int
    model: nn.Module
    batches: Batches
    validation: Callable[[], Any]
    device: torch.device
    steps: int
    dense_weights: int | None = None  # what the curves' weights_left is relative to; None: the model's own
    held: Mapping[str, Tensor] = field(default_factory=dict)  # masks of weights whose zeros stay, whatever the method
    recovery: Recovery | None = None
    folder: RunFolder | None = None
    observers: Sequence[Observer] = ()
    checkpoint_seconds: float = 30.0
    stop: Callable[[], bool] = lambda: False
    at: Position = field(default_factory=Position)
    state: Any = None
    saved: dict[str, Any] | None = None  # optimiser and generators of a checkpoint, until the phase takes them up
    measured: dict[int, dict[str, Any]] = field(default_factory=dict)  # rows of an earlier process, by step
    last_save: float = field(default_factory=time.monotonic)
    whole: dict[str, Tensor] = field(default_factory=dict)  # the tensors of the model before anything is taken from it
    origin: dict[str, Tensor] = field(default_factory=dict)  # their values that the recovery rewinds to
    recovering: bool = False
    kept: dict[str, Any] = field(
        default_factory=dict
    )  # channels that the method left (`Method.kept`), once it has ended
    label: str = ""  # what it says must stand beside the numbers

    @property
    def end(self) -> int:
        """The step at which the method, or after it the recovery, has spent its budget."""
        later = self.recovery.steps(self.steps) if self.recovery and not self.recovering else 0
        return self.steps - later

    @property
    def budget(self) -> Budget:
        """The budget as it stood when the present phase began: the method's, or all of it when the method has ended."""
        return Budget(self.end, self.end - self.at.step + self.at.phase_step, self.batches.steps)

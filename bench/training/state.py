"""The state of a training: everything that changes while a model is trained, and how all of it is saved and restored.

Each field of `Training` is saved, unless it says ``metadata=NOT_SAVED``: a new field is part of every checkpoint by itself.
A value is saved as torch saves it (`state_dict`), and a dataclass as its fields. A checkpoint has these keys:

    at           `Position`, plain values
    model        the model's tensors
    state        the fields of the method's state
    optimizer    the optimiser's state; None between two phases
    generators   states of the global generators: of the CPU, and of the CUDA device where there is one
    origin       values to rewind to, once they are kept; empty where a resumed run makes them again
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.method import Budget, Rebuilds
from bench.training.rewind import Origin
from bench.training.setup import Event, Setup, Stage

NOT_SAVED = {"saved": False}
_OF_A_PHASE = ("optimizer", "generators")  # restored once the phase that they belong to has its optimiser


@runtime_checkable
class Stateful(Protocol):
    """What saves and restores itself as torch's modules and optimisers do."""

    def state_dict(self) -> Any:
        """Tensors and plain values."""
        ...

    def load_state_dict(self, saved: Any) -> Any:
        """Take back what `state_dict` returned."""
        ...


@dataclass
class Position:
    """How far a run is: plain values.

    Attributes:
        step: optimiser steps done in the run.
        stage: index of the stage (`Setup.stages`): 0 while the method acts, 1 in the recovery.
        index: index of the phase, counted over both stages.
        phase_step: optimiser steps done in the phase.
        loss_sum: sum of the training losses since the last row of the curves, over ``loss_steps`` steps.
        seconds: time spent on training steps.
        row: the newest row of the curves.
        phases: one row for each phase that has ended.
        pruned: metrics of the pruned model before its recovery.
    """

    step: int = 0
    index: int = 0
    phase_step: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    seconds: float = 0.0
    row: dict[str, Any] = field(default_factory=dict)
    phases: list[dict[str, Any]] = field(default_factory=list)
    pruned: dict[str, float] = field(default_factory=dict)
    stage: int = 0


@dataclass(frozen=True)
class Generators:
    """The global generators, of the CPU and of a CUDA device."""

    device: torch.device

    def state_dict(self) -> list[Tensor]:
        """Their states."""
        states = [torch.get_rng_state()]
        if self.device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self.device))
        return states

    def load_state_dict(self, saved: list[Tensor]) -> None:
        """Set them to the states of a checkpoint."""
        torch.set_rng_state(saved[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(saved[1], self.device)


@dataclass(eq=False)
class Training:
    """A model in training: its configuration (``setup``), and all that changes.

    Attributes:
        setup: the configuration.
        model: trained in place; at the end the finished, plain model.
        at: how far the run is.
        state: of the stage's method.
        optimizer: of the phase under way; None between two phases.
        generators: the global generators.
        origin: the values that a recovery rewinds to.
        kept: the plan of the channels that the method left, once it has ended; empty where all are left.
        label: what must stand beside the numbers (`bench.method.Labels`), once the method has ended.
        measured: rows of the curves that an earlier process has written, by step.
        last_save: when the last checkpoint was written, by `time.monotonic`.
        resumed: the checkpoint that the run was resumed from, until its phase goes on.
    """

    setup: Setup = field(metadata=NOT_SAVED)
    model: nn.Module
    at: Position = field(default_factory=Position)
    state: Any = None
    optimizer: Optimizer | None = None
    generators: Generators = field(init=False)
    origin: Origin = field(default_factory=Origin)
    kept: dict[str, Any] = field(default_factory=dict, metadata=NOT_SAVED)
    label: str = field(default="", metadata=NOT_SAVED)
    measured: dict[int, dict[str, Any]] = field(default_factory=dict, metadata=NOT_SAVED)
    last_save: float = field(default_factory=time.monotonic, metadata=NOT_SAVED)
    resumed: Mapping[str, Any] | None = field(default=None, metadata=NOT_SAVED)

    def __post_init__(self) -> None:
        """The global generators are those of the training's device."""
        self.generators = Generators(self.setup.device)

    @property
    def stage(self) -> Stage:
        """The stage under way."""
        return self.setup.stages[self.at.stage]

    @property
    def recovering(self) -> bool:
        """Whether the method has ended and the recovery goes on, or has ended too."""
        return self.at.stage > 0

    @property
    def budget(self) -> Budget:
        """The stage's budget as it stood when the present phase began; the recovery's spans the whole run."""
        end = self.stage.end
        return Budget(end, end - self.at.step + self.at.phase_step, self.setup.batches.steps)

    def tell(self, kind: str, phase: str) -> None:
        """Tell the observers."""
        for observer in self.setup.observers:
            observer(Event(kind, self.at.step, self.setup.steps, phase, self.at.row))

    def state_dict(self) -> dict[str, Any]:
        """All of the state, as tensors and plain values."""
        return {f.name: _saved(getattr(self, f.name)) for f in fields(self) if f.metadata.get("saved", True)}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take back the state of a checkpoint, into a model as it was built, with the stage's method attached.

        The optimiser and the generators follow when the phase goes on (`resume_phase_`).
        """
        self._restore("state", saved)
        if isinstance(self.stage.method, Rebuilds):
            self.stage.method.rebuild(self.state, self.model)
        self.model.to(memory_format=self.stage.recipe.memory_format)  # as when it was saved: momentum has it too
        for name in saved:
            if name not in ("state", *_OF_A_PHASE):
                self._restore(name, saved)
        self.resumed = saved

    def resume_phase_(self) -> None:
        """In a resumed run, restore the optimiser (just made) and the generators as the checkpoint has them."""
        if self.resumed is not None:
            for name in _OF_A_PHASE:
                self._restore(name, self.resumed)
        self.resumed = None

    def _restore(self, name: str, saved: Mapping[str, Any]) -> None:
        value, current = saved[name], getattr(self, name)
        if value is None:  # no optimiser was under way, or the method has no state
            return
        if isinstance(current, Stateful):
            current.load_state_dict(value)
            return
        for key, part in value.items():
            setattr(current, key, to(part, self.setup.device))


def _saved(value: Any) -> Any:
    """A field of a training as tensors and plain values."""
    if value is None:
        return None
    if isinstance(value, Stateful):
        return value.state_dict()
    return {f.name: getattr(value, f.name) for f in fields(value) if f.metadata.get("saved", True)}


def to(value: Any, device: torch.device) -> Any:
    """Tensors inside plain containers, moved to a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {k: to(v, device) for k, v in value.items()}
    if isinstance(value, list):
        return [to(v, device) for v in value]
    return value

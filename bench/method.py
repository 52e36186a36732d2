"""The interface of a pruning method: hyper-parameters frozen in a dataclass, state apart, hooks at fixed points.

The loop (`bench.training.loop`) calls the hooks in this order:

    state = method.attach(model, example)
    for index in 0, 1, 2, ...:
        phase = method.phase(state, index, budget)            # None ends the run
        optimizer = method.optimizer(state, model, recipe, phase)
        repeat phase.steps times:
            loss = task loss + method.penalty(state, model, clock)
            loss.backward()
            method.after_backward(state, model, clock)        # before gradients are clipped
            optimizer.step()
            method.after_step(state, model, clock)
        method.end_phase(state, model, clock)
    plain = method.finish(state, model)

Tensor shapes change only in `end_phase` and `finish`. `clock.rng("purpose")` is the only source of randomness.

What only some methods need is a protocol beside `Method`; a method takes part by having the one function of the protocol:

    Rebuilds           the method changes the model's shapes or modules between phases
    RemovesChannels    the finished model has fewer channels
    Attains            the target is not a share of the prunable weights
    Labels             some results must be shown with a label
    FromTrained        from trained weights it is not the method of its paper
    EffectiveWeights   the model computes with other values than its parameters
    AltersFunction     attaching changes what the model computes
    ReplacesModel      another model is trained in place of the one that the run names
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench import masks, registry
from bench.config import Config
from bench.errors import BenchError
from bench.recipe import Recipe
from bench.seeds import generator

State = TypeVar("State")
Batch = tuple[Tensor, Tensor]
"""Images (N, C, H, W) and labels (N,)."""


@dataclass(frozen=True)
class Budget:
    """What a run may spend: ``steps`` in all, ``left`` of them now, ``epoch_steps`` to one pass over the data."""

    steps: int
    left: int
    epoch_steps: int

    @property
    def spent(self) -> int:
        """Steps already taken."""
        return self.steps - self.left

    def share(self, index: int, parts: int) -> int:
        """Steps of part ``index`` when the whole budget is cut into ``parts`` parts that differ by one step at most."""
        return self.steps * (index + 1) // parts - self.steps * index // parts


@dataclass(frozen=True)
class Phase:
    """One stretch of training with its own optimiser and learning-rate schedule, of which ``lr`` scales the rate."""

    name: str
    steps: int
    lr: float = 1.0


class Scoring(Protocol):
    """Where a method that scores weights by gradients gets its batches from."""

    def __call__(self, count: int) -> Iterator[Batch]:
        """``count`` batches of the training split, not augmented where the run has a task, the same whenever asked for."""
        ...


def no_scoring(count: int) -> Iterator[Batch]:
    """The `Scoring` of a clock that was made without one.

    Raises:
        BenchError: always.
    """
    raise BenchError(f"scores by gradients need batches, but got a clock without any ({count=}); set `Clock.scoring`")


@dataclass
class Clock:
    """Where the run is: counts of finished optimiser steps, in the run and in the phase; ``scoring`` gives batches."""

    seed: int
    budget: Budget
    phase: Phase
    index: int
    step: int
    phase_step: int
    optimizer: Optimizer
    scoring: Scoring = no_scoring

    def rng(self, purpose: str) -> torch.Generator:
        """A CPU generator made from (seed, step, purpose): the only randomness that a method may use."""
        return generator(self.seed, "method", purpose, self.step)

    @property
    def progress(self) -> float:
        """The share of the run's budget that is spent, 0 to 1."""
        return self.step / self.budget.steps


@dataclass(frozen=True)
class Method(Config, Generic[State], abc.ABC):
    """Base of every pruning method. Hooks do nothing by default; a method overrides those that it needs, and no other function.

    Attributes:
        target: the name of the field that holds the wanted sparsity; None where there is none.
        reconstruction: what in the method is ours because the paper could not be obtained; "" where nothing is.
        tolerance: a finished model that misses what was `wanted` by more than this share is not a result.
    """

    target: ClassVar[str | None] = None
    reconstruction: ClassVar[str] = ""
    tolerance: ClassVar[float] = 0.005

    @property
    def name(self) -> str:
        """The file's name: the same in the command line, in MLflow and in the plots."""
        return registry.name_of(registry.METHODS, self)

    @property
    def reconstructed(self) -> str:
        """What is ours in this method with these hyper-parameters, because the paper could not be obtained; or ""."""
        return self.reconstruction

    @property
    def wanted(self) -> float | None:
        """The sparsity asked for (share of prunable weights to remove), or None where the method has no target."""
        return None if self.target is None else getattr(self, self.target)

    def prunable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The weights that this method may remove, by parameter name: by default every convolution's and linear layer's
        weight that a mask reaches (`bench.layers`), except the classifier's."""
        return masks.prunable(model)

    @abc.abstractmethod
    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Make the state, and change the model in place where needed; ``example`` is one input batch (N, C, H, W).

        The function that the model computes must not change, unless the method declares it (`AltersFunction`).
        """

    def phase(self, state: State, index: int, budget: Budget) -> Phase | None:
        """The phase with this index, or None when the run is over; by default one phase of all steps.

        A resumed run asks again for the phase that it was in, with the same index.
        """
        return Phase("train", budget.steps) if index == 0 else None

    def optimizer(self, state: State, model: nn.Module, recipe: Recipe, phase: Phase) -> Optimizer:
        """The optimiser of a phase; by default the recipe's, the same for every method."""
        return recipe.make_optimizer(model)

    def penalty(self, state: State, model: nn.Module, clock: Clock) -> Tensor | None:
        """A scalar added to the task's loss."""
        return None

    def after_backward(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Called when gradients are computed and not yet clipped; ``clock.step`` steps are finished."""

    def after_step(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Called when the optimiser has updated the weights; ``clock.step`` counts the step just made."""

    def end_phase(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Called between phases: masks, rewinding, removing channels. The phase's optimiser is not used again."""

    def finish(self, state: State, model: nn.Module) -> nn.Module:
        """The plain model, without a trace of the method, that computes the same function.

        Raises:
            Ineffective: the target was missed (`bench.errors`).
        """
        return model

    def stats(self, state: State, model: nn.Module) -> Mapping[str, float]:
        """Numbers for the curves, read at the end of each epoch; never used as a measurement."""
        return {}

    def masks(self, state: State) -> Mapping[str, Tensor]:
        """The masks in force, by parameter name (bool, True = live); empty where the method has none. Tests compare them
        with the zeros that are counted in the weights."""
        return getattr(state, "masks", {})

    def to_dict(self) -> dict[str, Any]:
        """The fields with the method's name, as JSON values."""
        return {"name": self.name, **super().to_dict()}

    def identity(self) -> dict[str, Any]:
        """The name with the fields that differ from their defaults."""
        return {"name": self.name, **{k: v for k, v in super().identity().items() if k != "class"}}


@runtime_checkable
class Rebuilds(Protocol):
    """A method that changes the model's shapes or modules between phases."""

    def rebuild(self, state: Any, model: nn.Module) -> None:
        """In a resumed run, give a freshly attached model the shapes and modules that the restored state describes, before
        its weights are loaded."""
        ...


@runtime_checkable
class RemovesChannels(Protocol):
    """A method that makes the model smaller."""

    def kept(self, state: Any) -> Mapping[str, Any]:
        """Which positions of which tensors are left (a `bench.channels.groups.Plan`): the finished model is built again by
        it. Empty where all are left. Asked before `Method.finish`."""
        ...


@runtime_checkable
class Attains(Protocol):
    """A method whose target is not a share of the prunable weights."""

    def attained(self, metrics: Mapping[str, float]) -> float | None:
        """What a finished model's measurements say of what was `wanted`; None where they cannot tell."""
        ...


@runtime_checkable
class Labels(Protocol):
    """A method of which some results must be shown with a label."""

    def label(self, state: Any) -> str:
        """Two or three words that must stand beside the run's numbers wherever they are shown; "" where none must."""
        ...


@runtime_checkable
class FromTrained(Protocol):
    """A method that is its paper's only in a run that starts from an initialisation, not from trained weights."""

    def from_trained(self) -> str:
        """The label of its results in a run with trained starting weights, as of `Labels`; "" where it is its paper's too."""
        ...


@runtime_checkable
class EffectiveWeights(Protocol):
    """A method that masks or changes weights in the forward pass."""

    def effective(self, state: Any, model: nn.Module) -> Mapping[str, Tensor]:
        """The prunable weights as the model computes with them, by parameter name: what the curves count. Without this they
        count the parameters."""
        ...


@runtime_checkable
class AltersFunction(Protocol):
    """A method that can change what the model computes when it is attached."""

    def alters(self) -> str:
        """What attaching changes in the function that the model computes, in a few words; "" where nothing."""
        ...


@runtime_checkable
class ReplacesModel(Protocol):
    """A method that trains another model in place of the one that the run names."""

    def architecture(self, model: str, *, classes: int, channels: int, image_size: int) -> str:
        """The architecture to build for a run that names ``model``, both as text (see `bench.models`).

        Asked before anything is built; the method's target is then the share of the prunable weights to do without.
        ``image_size`` is the side of the model's input.
        """
        ...


def attained(method: Method[Any], metrics: Mapping[str, float]) -> float | None:
    """What a finished model's measurements say of what the method `wanted`: the sparsity of its prunable weights, unless the
    method says otherwise (`Attains`)."""
    if isinstance(method, Attains):
        return method.attained(metrics)
    return metrics["sparsity/prunable"]


def method_from(values: Mapping[str, Any]) -> Method[Any]:
    """The method that ``{"name": ..., field: value, ...}`` describes."""
    fields = dict(values)
    cls: type[Method[Any]] = registry.load(registry.METHODS, str(fields.pop("name"))).METHOD
    return cls.from_dict(fields)

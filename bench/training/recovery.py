"""Recovery: the second stage of a run, which trains the pruned model after its method has ended; the same for every method.

The method gets the first 1 - `share` of a run's steps as its whole budget and leaves a plain model, with zeros, smaller, or
both. The rest of the steps train that model as it is, with a new optimiser of the recipe:

    finetune   at a constant rate, the last one of the recipe's schedule, or `FLOOR` of the peak where that is more: a schedule
               that ends at zero has none to go on with (fine-tuning in Renda et al. 2020, arXiv:2003.02389)
    lr         with the whole schedule again, from its peak: learning-rate rewinding (Renda et al. 2020)
    weights    the same, after what is left was set back to the values that it had at the run's start, or after `rewind_to` of
               the method's steps: weight rewinding (Frankle and Carbin 2019, arXiv:1803.03635; Frankle et al. 2020,
               arXiv:1912.05671). Batch-norm statistics are set back too

What is zero stays zero: weights, and norms and biases where a method masked whole channels. Values to rewind to are
those of the whole model, and are cut by the plan of the channels that were kept.

In the papers the schedule is taken up at an early step and its rest is repeated, on top of what came before; here the whole
schedule spans the recovery's own steps, which come out of the run's budget, so that every kind of recovery costs the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from bench import masks
from bench.config import hp
from bench.errors import BenchError
from bench.method import Budget, Clock, Method, Phase


@dataclass
class Ended:
    """What a method left when it ended: the last ``stats`` of its curves, the plan of the channels ``kept`` (empty: all), its
    ``label``, and masks ``held`` of the zeros of the model (bool, False where a zero stays)."""

    stats: dict[str, float] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    held: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Recover(Method[Ended]):
    """Plain training in one phase after the method ``ended``, with the zeros of the model held."""

    ended: Method[Any]
    lr: float = hp(1.0, above=0, help="factor on the recipe's peak rate")

    def prunable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The method's prunable weights, over which its sparsity is counted."""
        return self.ended.prunable(model)

    def attach(self, model: nn.Module, example: Tensor) -> Ended:
        """Changes nothing."""
        return Ended()

    def rebuild(self, state: Ended, model: nn.Module) -> None:
        """Remove the channels that the method removed."""
        if state.kept:
            from bench.channels.kernels import shrink_  # here: it comes with the tracer, which takes a second to import

            shrink_(model, state.kept)

    def phase(self, state: Ended, index: int, budget: Budget) -> Phase | None:
        """One phase of all steps that are left."""
        if not budget.left:
            return None
        return Phase("recover", budget.left, self.lr)

    def after_backward(self, state: Ended, model: nn.Module, clock: Clock) -> None:
        """Hold the zeros."""
        hold_(model, state.held)

    def stats(self, state: Ended, model: nn.Module) -> Mapping[str, float]:
        """As the method left them."""
        return state.stats

    def kept(self, state: Ended) -> Mapping[str, Any]:
        """As the method left it."""
        return state.kept

    def label(self, state: Ended) -> str:
        """As the method left it."""
        return state.label


def hold_(model: nn.Module, held: Mapping[str, Tensor]) -> None:
    """Set gradients to zero where a zero is held: with a gradient of zero and no momentum, an optimiser leaves a zero at zero.

    Raises:
        BenchError: a mask does not fit its parameter, because channels were removed.
    """
    if not held:
        return
    values = dict(model.named_parameters())
    for name, mask in held.items():
        if values[name].shape != mask.shape:
            raise BenchError(
                f"zeros can be held in a model that keeps its size, but {name} has lost channels; leave `shape` out"
            )
    masks.mul_((values[name].grad for name in held), held.values())


def zeros(model: nn.Module) -> dict[str, Tensor]:
    """Masks of the zeros that must stay in a finished model, by parameter name (bool, False at a zero).

    They cover each convolution's and linear layer's weight, the biases of those rows of it that are zero as a whole, and scale
    and shift of a norm where both are zero. A bias that is zero alone is not held: it may not have learned yet.
    """
    names, found = {id(p): name for name, p in model.named_parameters()}, dict[str, Tensor]()
    for module in model.modules():
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        layer = isinstance(module, masks.LAYERS)
        if not isinstance(weight, nn.Parameter) or not (layer or (weight.dim() == 1 and bias is not None)):
            continue
        gone = weight.detach() == 0
        if isinstance(bias, nn.Parameter):
            rows = gone.flatten(1).all(1) if layer else gone
            empty = rows & (bias.detach() == 0)
            found[names[id(bias)]] = ~empty
            if not layer:
                gone = empty
        found[names[id(weight)]] = ~gone
    return {name: mask for name, mask in found.items() if not bool(mask.all())}

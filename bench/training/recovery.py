"""Recovery: what a pruned model is trained with once its method has ended. An axis of its own, the same for every method.

The method gets the first 1 - `share` of a run's steps as its whole budget and leaves a plain model, with zeros, smaller, or
both. The rest of the steps train that model as it is, the recipe's optimiser starting anew:

    finetune   at a constant rate, the last one of the recipe's schedule, or `FLOOR` of the peak where that is more: a schedule
               that ends at zero has none to go on with (fine-tuning in Renda et al. 2020, arXiv:2003.02389)
    lr         with the whole schedule again, from its peak: learning-rate rewinding (Renda et al. 2020)
    weights    the same, after what is left was put back to the values that it had at the run's start, or after `rewind_to` of
               the method's steps: weight rewinding (Frankle and Carbin 2019, arXiv:1803.03635; Frankle et al. 2020,
               arXiv:1912.05671). Batch-norm statistics are put back too

What is zero stays zero: weights, and norms and biases where a method masked whole channels. Values to rewind to are
those of the whole model, and are cut by the plan of the channels that were kept.

In the papers the schedule is taken up at an early step and its rest is repeated, on top of what came before; here the whole
schedule spans the recovery's own steps, which come out of the run's budget, so that every way costs the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench import masks
from bench.config import hp
from bench.errors import BenchError
from bench.method import Budget, Method, Phase
from bench.training.rewind import restore_


@dataclass
class Ended:
    """What a method's curves showed last: it does not act any more."""

    stats: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Recover(Method[Ended]):
    """The second part of a run: one phase of plain training after the method ``ended``; the loop holds the zeros."""

    ended: Method[Any]
    lr: float = hp(1.0, above=0, help="factor on the recipe's peak rate")

    def prunable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The method's, so that its sparsity is counted on."""
        return self.ended.prunable(model)

    def attach(self, model: nn.Module, example: Tensor) -> Ended:
        """Changes nothing."""
        return Ended()

    def phase(self, state: Ended, index: int, budget: Budget) -> Phase | None:
        """All that is left."""
        return Phase("recover", budget.left, self.lr) if budget.left else None

    def stats(self, state: Ended, model: nn.Module) -> Mapping[str, float]:
        """As the method left them."""
        return state.stats


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and those buffers that are saved, by name, each once: what can be put back."""
    saved = model.state_dict().keys()
    return {**dict(model.named_parameters()), **{n: b for n, b in model.named_buffers() if n in saved}}


def values(model: nn.Module, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of tensors that a whole, untouched model had by name (``found``, as from `tensors`), wherever they are in it now.

    Raises:
        BenchError: one is in it no more, because channels were removed.
    """
    present = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    for name, tensor in found.items():
        if id(tensor) not in present:
            raise BenchError(
                f"values to rewind to are kept while the model is whole, but {name} was cut before; lower `rewind_to`"
            )
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def zeros(model: nn.Module) -> dict[str, Tensor]:
    """Masks of what a finished model has lost, by parameter name (bool, False at a zero that must stay): of each convolution's
    and linear layer's weight, of their biases where a whole row of the weight is zero with it, and of scale and shift of a norm
    where both are zero. A bias that is zero alone has only not learned yet."""
    names, found = {id(p): name for name, p in model.named_parameters()}, dict[str, Tensor]()
    for module in model.modules():
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        layer = isinstance(module, masks.LAYERS)
        if not isinstance(weight, nn.Parameter) or not (layer or (weight.dim() == 1 and bias is not None)):
            continue
        gone = weight.detach() == 0
        if isinstance(bias, nn.Parameter):
            row = (gone.flatten(1).all(1) if layer else gone) & (bias.detach() == 0)
            found[names[id(bias)]], gone = ~row, gone if layer else row
        found[names[id(weight)]] = ~gone
    return {name: mask for name, mask in found.items() if not bool(mask.all())}


@torch.no_grad()
def rewind_(
    model: nn.Module, origin: Mapping[str, Tensor], kept: Mapping[str, Any], held: Mapping[str, Tensor]
) -> None:
    """Put what is left of a model back to the ``origin`` of the whole one, in place.

    Args:
        model: the finished, plain model.
        origin: values of the whole model, by name.
        kept: the plan of the channels that are left (`bench.channels.groups.Plan`); empty where all are.
        held: masks of its zeros.
    """
    cut = dict[str, Tensor]()
    for name, value in origin.items():
        for dim, positions in kept.get(name, {}).items():
            value = value.index_select(int(dim), torch.tensor(positions, device=value.device))
        cut[name] = value
    restore_(model, cut)
    for name, mask in held.items():
        model.get_parameter(name).mul_(mask)

"""Effective sparsity: zeros, and with them the weights that lie on no path from the image to an output any more.

A weight that is not zero is of no use when all that its unit reads is cut off, or when nothing reads its unit (Vysogorets and
Kempe 2021, arXiv:2107.02306). The paths are those of a linear stand-in: each weight that is left becomes the same positive
number, biases and whatever is added become 0, norms let everything pass. An image of positive numbers is sent through it, and a
weight is connected if, and only if, the sum of the outputs changes with it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bench import masks
from bench.measure.damage import _NORM
from bench.seeds import generator

FACTOR = 0.1  # of the mean that a layer computes: sums over many blocks then stay so small that no gate saturates
ADDED = ("bias", "pos", "token")  # in the names of parameters that are added to what passes
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.RMSNorm)


def effective(model: nn.Module, prunable: Iterable[str], shape: tuple[int, int, int]) -> dict[str, float]:
    """What of the prunable weights is zero or cut off.

    Args:
        model: a plain model; it is not changed.
        prunable: the names of the weights to count.
        shape: of an image, (C, H, W).

    Returns:
        "sparsity/effective" (0 to 1), and "weights/disconnected", the number of weights that are not zero and cut off; nothing
        where the stand-in cannot be computed, as of a model that takes no double precision.
    """
    names = list(prunable)
    live = {name: weight.detach().cpu() != 0 for name, weight in model.named_parameters() if name in names}
    total, left = sum(mask.numel() for mask in live.values()), sum(int(mask.sum()) for mask in live.values())
    if not total:
        return {}
    stand_in = _linear(copy.deepcopy(model).to("cpu", torch.float64).to(memory_format=torch.contiguous_format).eval())
    image = 0.5 + torch.rand(1, *shape, generator=generator("connected"), dtype=torch.float64)
    try:
        with torch.enable_grad():
            stand_in(image).sum().backward()
    except (RuntimeError, TypeError):
        return {}
    slopes = dict(stand_in.named_parameters())
    used = sum(int((mask & _moves(slopes[name])).sum()) for name, mask in live.items())
    return {"sparsity/effective": 1 - used / total, "weights/disconnected": left - used}


def _moves(weight: Tensor) -> Tensor:
    return weight.grad != 0 if weight.grad is not None else torch.zeros_like(weight, dtype=torch.bool)


@torch.no_grad()
def _linear(model: nn.Module) -> nn.Module:
    """The model with positive weights, whose units add up what they read; changed in place."""
    weights = {id(weight) for weight in masks.prunable(model, classifier=True).values()}
    for module in model.modules():
        if isinstance(module, NORMS):
            module.forward = _as_it_is  # type: ignore[method-assign]
        elif isinstance(module, _NORM) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.zero_()
            module.running_var.fill_(1.0)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(True)
        left = (parameter != 0).to(parameter.dtype)
        if id(parameter) in weights:
            reads = left.flatten(1).sum(1).clamp_min(1).reshape(-1, *[1] * (left.dim() - 1))
            parameter.copy_(FACTOR * left / reads)
        else:
            parameter.copy_(torch.zeros_like(left) if any(part in name for part in ADDED) else left)
    return model


def _as_it_is(x: Tensor) -> Tensor:
    return x

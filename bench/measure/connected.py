"""Effective sparsity: the share of weights that are zero or lie on no path of non-zero weights from the image to an output.

A non-zero weight has no effect when all inputs of its unit are disconnected, or when no unit reads its unit (Vysogorets and
Kempe 2021, arXiv:2107.02306). Paths are found with a linear copy of the model: all non-zero weights of a unit become one
positive number, biases and other added parameters become 0, and norms become the identity. On an image of positive numbers, a
weight is connected if, and only if, the gradient of the summed outputs with respect to it is not zero.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bench import layers
from bench.measure.damage import _NORM
from bench.seeds import generator

FACTOR = 0.1  # scales each layer's mean, so that sums over many blocks stay small and no gate saturates
ADDED = ("bias", "pos", "token")  # occur in the names of parameters that are added to activations
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.RMSNorm)


def effective(model: nn.Module, prunable: Iterable[str], shape: tuple[int, int, int]) -> dict[str, float]:
    """Counts the prunable weights that are zero or disconnected.

    Args:
        model: a plain model; it is not changed.
        prunable: the names of the weights to count.
        shape: (C, H, W) of an image.

    Returns:
        "sparsity/effective" (0 to 1), and "weights/disconnected", the number of non-zero weights that are disconnected; an
        empty dict where the linear copy cannot run, such as a model that does not accept double precision, or whose layers
        transform their weights.
    """
    names = list(prunable)
    live = {name: weight.detach().cpu() != 0 for name, weight in model.named_parameters() if name in names}
    total, left = sum(mask.numel() for mask in live.values()), sum(int(mask.sum()) for mask in live.values())
    if not total or any(layers.transforms(module) for users in layers.users(model).values() for _, module in users):
        return {}
    linear = _linear_(copy.deepcopy(model).to("cpu", torch.float64).to(memory_format=torch.contiguous_format).eval())
    image = 0.5 + torch.rand(1, *shape, generator=generator("connected"), dtype=torch.float64)
    try:
        with torch.enable_grad():
            linear(image).sum().backward()
    except (RuntimeError, TypeError):
        return {}
    parameters = dict(linear.named_parameters())
    used = sum(int((mask & _has_gradient(parameters[name])).sum()) for name, mask in live.items())
    return {"sparsity/effective": 1 - used / total, "weights/disconnected": left - used}


def _has_gradient(weight: Tensor) -> Tensor:
    """Returns which entries have a non-zero gradient (bool, of the weight's shape)."""
    if weight.grad is None:
        return torch.zeros_like(weight, dtype=torch.bool)
    return weight.grad != 0


@torch.no_grad()
def _linear_(model: nn.Module) -> nn.Module:
    """Makes a model linear with positive weights, in place: each unit computes a mean of its connected inputs."""
    weights = {id(weight) for weight in layers.weights(model).values()}
    for module in model.modules():
        if isinstance(module, NORMS):
            module.forward = _identity  # type: ignore[method-assign]
        elif isinstance(module, _NORM) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.zero_()
            module.running_var.fill_(1.0)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(True)
        nonzero = (parameter != 0).to(parameter.dtype)
        if id(parameter) in weights:
            inputs = nonzero.flatten(1).sum(1).clamp_min(1).reshape(-1, *[1] * (nonzero.dim() - 1))
            parameter.copy_(FACTOR * nonzero / inputs)
        elif any(part in name for part in ADDED):
            parameter.zero_()
        else:
            parameter.copy_(nonzero)
    return model


def _identity(x: Tensor) -> Tensor:
    return x

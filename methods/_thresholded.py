"""A layer that computes with its weights above a trainable threshold, for `methods.adaptive` (arXiv:2006.02768).

`sparsity_of` and `threshold_for` convert between a threshold, in standard deviations of normal weights, and the share of the
weights below it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench import masks
from bench.errors import BenchError

Number = TypeVar("Number", float, Tensor)


def sparsity_of(r: Number) -> Number:
    """The share of normally distributed weights within ``r`` standard deviations of their mean: erf(r / sqrt 2)."""
    if isinstance(r, Tensor):
        return torch.erf(r / math.sqrt(2))
    return math.erf(r / math.sqrt(2))


def threshold_for(sparsity: Number) -> Number:
    """The inverse of `sparsity_of`: sqrt 2 * erfinv(sparsity). Raises `BenchError` for a float outside [0, 1)."""
    if isinstance(sparsity, Tensor):
        return torch.erfinv(sparsity) * math.sqrt(2)
    if not 0 <= sparsity < 1:
        raise BenchError(
            f"`0 <= sparsity < 1` must hold, but got sparsity={sparsity!r}; no threshold prunes all weights"
        )
    return float(torch.erfinv(torch.tensor(sparsity, dtype=torch.float64))) * math.sqrt(2)


def centre_(weight: Tensor) -> Tensor:
    """Subtracts the mean in place, and returns the unbiased standard deviation, a scalar.

    It is computed as the norm of the rows' norms: on a CPU, torch's own function is as accurate and 10 to 60 times as slow.
    """
    with torch.no_grad():
        weight.sub_(weight.mean())
        rows = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.dim())))
        norm: Tensor = torch.linalg.vector_norm(rows)
        return norm / math.sqrt(weight.numel() - 1)


class _HardThreshold(torch.autograd.Function):
    """The weights above ``theta = r * sigma + 1e-6``, with the gradients of `methods.adaptive`; few passes over the weights."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, r: Tensor, sigma: Tensor) -> Tensor:
        theta = theta_of(r, sigma)
        kept = weight.abs().gt_(theta).mul_(weight)  # 0 and 1 as floats: several times as fast as a bool mask
        if ctx.needs_input_grad[1]:
            ctx.save_for_backward(kept - weight, sigma / theta)
        return kept

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        if not ctx.needs_input_grad[1]:
            return grads[0], None, None
        lost, slope = ctx.saved_tensors
        return grads[0], (grads[0] * lost).sum() * slope, None


def theta_of(r: Tensor, sigma: Tensor) -> Tensor:
    """The threshold in units of the weight; ``r`` is within its bounds."""
    return (r * sigma).add_(1e-6)


class Thresholded(nn.Module):
    """A convolution or linear layer that computes with its weights above a trainable threshold.

    Args:
        layer: the layer, which keeps its weight and its bias.
        r: the threshold in standard deviations of the weight; a parameter is used as it is, so that layers can share it.

    ``weight`` is the thresholded weight; attributes that the wrapper does not have are the layer's.
    """

    def __init__(self, layer: nn.Module, r: float | Tensor) -> None:
        super().__init__()
        self.layer = layer
        if not isinstance(r, nn.Parameter):
            r = nn.Parameter(layer.get_parameter("weight").new_tensor(float(r)))
        self.r = r

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    @property
    def weight(self) -> Tensor:
        """The weights above the threshold, 0 elsewhere. Subtracts the mean of the layer's weight in place."""
        weight = self.layer.get_parameter("weight")
        return cast(Tensor, _HardThreshold.apply(weight, self.r.clamp(0, 5), centre_(weight)))

    def ratios(self) -> Tensor:
        """Magnitudes in units of the threshold: weights above 1 stay. Subtracts the mean in place too."""
        weight = self.layer.get_parameter("weight").detach()
        return weight.abs() / theta_of(self.r.detach().clamp(0, 5), centre_(weight))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output with the thresholded weight."""
        return cast(Tensor, functional_call(self.layer, {"weight": self.weight}, (x,), tie_weights=False))


def wrap_(model: nn.Module, names: Iterable[str], r: float, *, train: bool = True) -> None:
    """Replaces the layers of the named weights by `Thresholded`, in place; layers that share a weight share its threshold."""
    weights = [model.get_parameter(name) for name in names]
    rs = {id(w): nn.Parameter(w.detach().new_tensor(r), requires_grad=train) for w in weights}
    made: dict[int, Thresholded] = {}
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, masks.LAYERS) and id(module.weight) in rs:
            wrapper = made.setdefault(id(module), Thresholded(module, rs[id(module.weight)]))
            model.set_submodule(path, wrapper)


def unwrap_(model: nn.Module) -> None:
    """Replaces the wrappers by their layers, in place."""
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, Thresholded):
            model.set_submodule(path, module.layer)

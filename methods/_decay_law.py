"""The equations of a decay (`methods.decay`): its laws, and the criteria by which a channel resists."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.errors import BenchError, one_of

LAWS = ("linear", "cosine", "multiplicative")
VARIANTS = ("gain", "relative", "remaining")


def fraction_left(step: Tensor | float, steps: int, law: str) -> Tensor:
    """The share of its length that a channel has after ``step`` of ``steps`` decay steps, 1 to 0."""
    progress = torch.as_tensor(step, dtype=torch.float64) / steps
    if law == "cosine":
        return 0.5 * (1 + torch.cos(math.pi * progress))
    return 1 - progress


def decayed_norm(initial: float, step: int, steps: int, law: str = "linear") -> float:
    """The length after decay step ``step`` of ``steps`` of a channel that had length ``initial``.

    Args:
        initial: the length when the decay began.
        step: decay steps done, 0 to ``steps``.
        steps: N, the steps of the whole decay.
        law: "linear", "cosine" or "multiplicative" (the product of its factors, which is the linear law where nothing is
            trained in between).

    Raises:
        BenchError: for an unknown law, or a step outside 0 to ``steps``.
    """
    if law not in LAWS:
        raise one_of("law", law, LAWS)
    if not 0 <= step <= steps or steps < 1:
        raise BenchError(f"`0 <= step <= steps` and `steps >= 1` must hold, but got ({step=}, {steps=})")
    if step == steps:
        return 0.0
    return initial * float(fraction_left(step, steps, law))


def resistance(
    weight: Tensor, grad: Tensor, *, initial: float, steps: int, lr: float, variant: str = "gain"
) -> tuple[float, float]:
    """C_rate and C_len of one channel (our reconstruction, see `methods.decay`).

    Args:
        weight: all parameters of the channel, any shape.
        grad: their gradients, the same shape.
        initial: the length when the decay began.
        steps: N, the steps of the decay.
        lr: the learning rate.
        variant: "gain", "relative" or "remaining".
    """
    if variant not in VARIANTS:
        raise one_of("variant", variant, VARIANTS)
    weight, grad = weight.detach(), grad.detach()
    dot, began = (weight * grad).sum(), torch.tensor(float(initial)).to(weight)
    rate, length = resistances(dot, weight.norm(), grad.norm(), began, steps, lr, variant)
    return float(rate), float(length)


def resistances(
    dot: Tensor, norm: Tensor, grad: Tensor, initial: Tensor, steps: int, lr: float, variant: str
) -> tuple[Tensor, Tensor]:
    """C_rate and C_len from inner products and lengths; 0 where a length is 0."""
    rho = ratio(-dot, norm)
    rate = ratio(rho, grad)
    if variant == "remaining":
        return rate, ratio(norm, initial)
    if variant == "relative":
        return rate, lr * ratio(rho, norm)
    return rate, lr * ratio(rho, initial / steps)


def ratio(top: Tensor, bottom: Tensor) -> Tensor:
    return torch.where(bottom > 0, top / bottom.clamp_min(torch.finfo(bottom.dtype).tiny), 0.0)

"""Mask kernels: which weights can be pruned, exact selection of the ones to keep, and applying masks without a sync.

A mask is a bool tensor of its weight's shape, True where the weight is live. Counts are exact and ties are broken by
position (the earlier element goes first), so the same scores give the same mask everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.errors import BenchError, one_of

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
SCOPES = ("neuron", "layer", "global")


def prunable(model: nn.Module, *, classifier: bool = False) -> dict[str, nn.Parameter]:
    """Weights of convolutions and linear layers by parameter name, in the model's order, without the classifier's unless
    asked. The classifier is what timm's `get_classifier` returns. A weight shared by two layers is listed once."""
    heads = set() if classifier else _classifier_parameters(model)
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        if isinstance(module, LAYERS) and id(module.weight) not in seen and id(module.weight) not in heads:
            seen.add(id(module.weight))
            found[f"{name}.weight" if name else "weight"] = module.weight
    return found


def _classifier_parameters(model: nn.Module) -> set[int]:
    get = getattr(model, "get_classifier", None)
    head = get() if callable(get) else None
    modules = head if isinstance(head, (list, tuple)) else [head]  # distilled models return two heads
    return {id(p) for m in modules if isinstance(m, nn.Module) for p in m.parameters()}


def drop_lowest(scores: Tensor, count: int | Tensor) -> Tensor:
    """A bool tensor of ``scores``' shape, False at exactly ``count`` smallest scores, ties by position."""
    flat = scores.reshape(-1)
    if count <= 0:
        return torch.ones_like(scores, dtype=torch.bool)
    if count >= flat.numel():
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = flat.kthvalue(int(count)).values  # linear time, where a sort is n log n
    below, tied = flat < threshold, flat == threshold
    dropped = below | (tied & (tied.cumsum(0) <= count - below.sum()))
    return ~dropped.view(scores.shape)


def keep_counts(scores: Mapping[str, Tensor], drop: Mapping[str, int]) -> dict[str, Tensor]:
    """Masks that drop exactly ``drop[name]`` lowest scores in each tensor."""
    return {name: drop_lowest(score, drop[name]) for name, score in scores.items()}


def keep_top(scores: dict[str, Tensor], sparsity: float, scope: str) -> dict[str, Tensor]:
    """Masks that keep the highest scores, with exact counts and ties by position.

    Args:
        scores: one score per weight, tensors of any shape, by name.
        sparsity: share to drop, 0 to 1; a unit of n scores drops ``round(sparsity * n)`` of them.
        scope: the unit: "neuron" (each slice of the first dimension), "layer" (each tensor) or "global" (all together).

    Returns:
        Bool masks of the scores' shapes, True = kept.

    Raises:
        BenchError: for a sparsity outside [0, 1], an unknown scope, or a score that is not a number.
    """
    if not 0 <= sparsity <= 1:
        raise BenchError(f"`0 <= sparsity <= 1` must hold, but got sparsity={sparsity!r}")
    if scope == "layer":
        return keep_counts(scores, {n: round(sparsity * s.numel()) for n, s in scores.items()})
    if scope == "global":
        flat = torch.cat([s.reshape(-1) for s in scores.values()]) if scores else torch.zeros(0)
        return split(drop_lowest(flat, round(sparsity * flat.numel())), scores)
    if scope == "neuron":
        return {
            n: torch.stack([drop_lowest(row, round(sparsity * row.numel())) for row in s.flatten(1)]).view(s.shape)
            for n, s in scores.items()
        }
    raise one_of("scope", scope, SCOPES)


def split(flat: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A flat tensor cut into pieces of the shapes of ``like``, in its order."""
    parts = flat.split([t.numel() for t in like.values()]) if like else ()
    return {name: part.view(t.shape) for (name, t), part in zip(like.items(), parts, strict=True)}


def erk(shapes: Mapping[str, Sequence[int]], sparsity: float) -> dict[str, int]:
    """Weights to drop per layer by Erdős-Rényi-Kernel densities (Evci et al. 2020, arXiv:1911.11134, section 3).

    A layer's density is proportional to the sum of its dimensions over their product; layers that this would make
    denser than 1 are left dense and the rest is scaled up. The counts add up to ``round(sparsity * all)`` exactly.
    """
    sizes = {n: math.prod(s) for n, s in shapes.items()}
    raw = {n: sum(s) / math.prod(s) for n, s in shapes.items()}
    total = sum(sizes.values())
    keep, dense = total - round(sparsity * total), set[str]()
    while True:
        free = keep - sum(sizes[n] for n in dense)
        weight = sum(raw[n] * sizes[n] for n in shapes if n not in dense)
        scale = free / weight if weight else 0.0
        over = {n for n in shapes if n not in dense and scale * raw[n] > 1}
        if not over:
            break
        dense |= over
    wanted = {n: float(sizes[n]) if n in dense else scale * raw[n] * sizes[n] for n in shapes}
    return {n: sizes[n] - k for n, k in _largest_remainder(wanted, keep).items()}


def _largest_remainder(wanted: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers next to ``wanted`` that add up to ``total``; what is over goes to the largest remainders."""
    floors = {n: math.floor(w + 1e-9) for n, w in wanted.items()}
    order = sorted(wanted, key=lambda n: floors[n] - wanted[n])
    for name in order[: total - sum(floors.values())]:
        floors[name] += 1
    return floors


def mul_(tensors: Iterable[Tensor | None], masks: Iterable[Tensor]) -> None:
    """Multiply tensors by masks in place, without a host synchronisation; None entries are skipped."""
    pairs = [(t, m) for t, m in zip(tensors, masks, strict=True) if t is not None]
    if pairs:
        torch._foreach_mul_([t for t, _ in pairs], [m for _, m in pairs])


def clear_(optimizer: Optimizer, weights: Iterable[Tensor], masks: Iterable[Tensor]) -> None:
    """Zero the optimiser's memory (momentum, second moments) of masked entries, so that they stand still from now on."""
    for weight, mask in zip(weights, masks, strict=True):
        for value in optimizer.state.get(weight, {}).values():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                value.mul_(mask)


def zeros(masks: Mapping[str, Tensor]) -> float:
    """The share of masked entries over all masks, 0 to 1."""
    total = sum(m.numel() for m in masks.values())
    return sum(int((~m).sum()) for m in masks.values()) / total if total else 0.0

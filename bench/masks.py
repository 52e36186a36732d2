"""Masks: which weights can be pruned, exact selection of those to keep, and masks applied without a host synchronisation.

A mask is a bool tensor of its weight's shape, True where the weight is live. Counts are exact and ties are broken by
position (the earlier element is dropped first), so the same scores give the same mask on every machine.

Once the weight, the gradient and the optimiser's memory of an entry are 0, SGD and AdamW leave it at exactly 0 (weight
decay of 0 is 0). The cost of a mask is therefore one multiplication of the gradients per step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.allocation import apportion as apportion
from bench.allocation import erk as erk
from bench.allocation import lamp as lamp
from bench.allocation import uniform as uniform
from bench.allocation import uniform_plus as uniform_plus
from bench.errors import BenchError, one_of
from bench.layers import LAYERS as LAYERS
from bench.layers import classifier_modules as classifier_modules
from bench.layers import prunable as prunable

SCOPES = ("neuron", "layer", "global")
ALLOCATIONS = ("uniform", "global", "erk", "uniform+", "lamp")
"""How layers share the sparsity, see `choose`."""


def drop_lowest(scores: Tensor, count: int) -> Tensor:
    """A bool tensor of ``scores``' shape, False at exactly the ``count`` smallest scores, ties by position."""
    flat = scores.reshape(-1)
    if count <= 0:
        return torch.ones_like(scores, dtype=torch.bool)
    count = min(count, flat.numel())
    threshold = flat.kthvalue(count).values  # linear time, where a sort is n log n
    return _above(flat, threshold, count).view(scores.shape)


def drop_lowest_rows(scores: Tensor, counts: Tensor) -> Tensor:
    """A bool tensor of ``scores``' shape (n, ...), False at the ``counts[i]`` smallest scores of slice i, ties by position.

    ``counts`` (n,) is an integer tensor on the scores' device.
    """
    rows = scores.reshape(len(scores), -1)
    places = (counts - 1).clamp(0, rows.shape[1] - 1)[:, None]
    threshold = rows.sort(dim=1).values.gather(1, places)
    return _above(rows, threshold, counts[:, None]).view(scores.shape)


def _above(rows: Tensor, threshold: Tensor, counts: int | Tensor) -> Tensor:
    below, tied = rows < threshold, rows == threshold
    return ~(below | (tied & (tied.cumsum(-1, dtype=torch.int32) <= counts - below.sum(-1, keepdim=True))))


def keep_counts(scores: Mapping[str, Tensor], drop: Mapping[str, int]) -> dict[str, Tensor]:
    """Masks that drop exactly the ``drop[name]`` lowest scores of each tensor."""
    return {name: drop_lowest(score, drop[name]) for name, score in scores.items()}


def keep_top(scores: dict[str, Tensor], sparsity: float, scope: str) -> dict[str, Tensor]:
    """Masks that keep the highest scores, with exact counts and ties by position.

    Args:
        scores: one score per weight, tensors of any shape, by name.
        sparsity: share to drop, 0 to 1; of a unit of n scores, ``round(sparsity * n)`` are dropped.
        scope: the unit: "neuron" (each slice of the first dimension), "layer" (each tensor; counts as in `uniform`, so that
            one weight stays in each) or "global" (all together).

    Returns:
        Bool masks of the scores' shapes, True = kept.

    Raises:
        BenchError: for a sparsity outside [0, 1], an unknown scope, or a score that is not a number.
    """
    if not 0 <= sparsity <= 1:
        raise BenchError(f"`0 <= sparsity <= 1` must hold, but got sparsity={sparsity!r}")
    if scores and bool(torch.stack([s.isnan().any() for s in scores.values()]).any()):
        bad = next(n for n, s in scores.items() if bool(s.isnan().any()))
        raise BenchError(
            f"scores must be numbers, but {bad!r} holds NaN; look for a loss that diverged before this step"
        )
    if scope == "layer":
        counts = uniform([score.numel() for score in scores.values()], sparsity)
        return keep_counts(scores, dict(zip(scores, counts, strict=True)))
    if scope == "global":
        if not scores:
            return {}
        flat = torch.cat([s.reshape(-1) for s in scores.values()])
        return split(drop_lowest(flat, round(sparsity * flat.numel())), scores)
    if scope == "neuron":
        return {n: drop_lowest_rows(s, _same_count(s, sparsity)) for n, s in scores.items()}
    raise one_of("scope", scope, SCOPES)


def _same_count(scores: Tensor, sparsity: float) -> Tensor:
    return torch.full((len(scores),), round(sparsity * scores[0].numel()), device=scores.device)


def choose(
    scores: dict[str, Tensor], sparsity: float, allocation: str, *, first: str = "", last: Collection[str] = ()
) -> dict[str, Tensor]:
    """Masks that keep the highest scores of each layer; ``allocation`` says how many weights each layer loses.

    Args:
        scores: one score per weight, by the name of the layer's weight; below 0 where a weight is masked already.
        sparsity: share to drop over all layers, 0 to 1.
        allocation: "uniform" drops the same share of each layer (`uniform`), "uniform+" too, but none of the first layer and at
            most 80 % of the last (`uniform_plus`), "global" ranks all scores together, "lamp" ranks `lamp` scores together,
            "erk" drops the counts of `erk`.
        first: the name of the model's first convolution.
        last: the names of the classifier's weights.
    """
    shapes = {name: score.shape for name, score in scores.items()}
    if allocation == "erk":
        return keep_counts(scores, erk(shapes, sparsity))
    if allocation == "uniform+":
        return keep_counts(scores, uniform_plus(shapes, sparsity, first, last))
    if allocation == "lamp":
        return keep_top({name: lamp(score) for name, score in scores.items()}, sparsity, "global")
    if allocation == "uniform":
        return keep_top(scores, sparsity, "layer")
    return keep_top(scores, sparsity, allocation)


def to_drop(sizes: Sequence[int], sparsity: float, *, by_layer: bool) -> int:
    """How many weights of layers of ``sizes`` weights go at a sparsity: rounded in each layer, or once for all layers."""
    if by_layer:
        return sum(uniform(sizes, sparsity))
    return round(sparsity * sum(sizes))


def magnitudes(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scores |w|, and -1 where a weight is masked already: masked weights stay masked, and are dropped first."""
    return {name: weight.detach().abs().where(masks[name], -1.0) for name, weight in weights.items()}


def random_scores(like: Mapping[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """A score drawn from [0, 1) for each weight, on the weight's device; drawn on the CPU, so the same on every device."""
    return {name: torch.rand(w.shape, generator=rng).to(w.device) for name, w in like.items()}


def split(flat: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cuts a flat tensor into tensors of the shapes of ``like``, in its order."""
    if not like:
        return {}
    parts = torch.split(flat, [t.numel() for t in like.values()])
    return {name: part.view(t.shape) for (name, t), part in zip(like.items(), parts, strict=True)}


_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def factor(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as whole numbers 0 and 1 with as many bytes and the memory layout of ``like``: what `mul_` is fastest with."""
    return torch.empty_like(like, dtype=_BITS[like.element_size()], requires_grad=False).copy_(mask)


def mul_(tensors: Iterable[Tensor | None], masks: Iterable[Tensor]) -> None:
    """Sets masked entries to 0 in place, without a host synchronisation; skips entries of ``tensors`` that are None.

    The bits of each number are multiplied as a whole number by 0 or 1, which costs what a product of floats does. That product
    would turn an infinite entry behind a mask into NaN. ``masks`` are bool, or better each a `factor`.
    """
    pairs = [(t, m) for t, m in zip(tensors, masks, strict=True) if t is not None]
    if pairs:
        bits = [t.detach().view(_BITS[t.element_size()]) for t, _ in pairs]
        torch._foreach_mul_(bits, [m.to(b.dtype) for (_, m), b in zip(pairs, bits, strict=True)])


def clear_(optimizer: Optimizer, weights: Iterable[Tensor], masks: Iterable[Tensor]) -> None:
    """Zeros the optimiser's memory (momentum, second moments) of masked entries, so that no later step moves them."""
    found = [
        (value, mask)
        for weight, mask in zip(weights, masks, strict=True)
        for value in optimizer.state.get(weight, {}).values()
        if isinstance(value, Tensor) and value.shape == weight.shape
    ]
    mul_([value for value, _ in found], [mask for _, mask in found])


@dataclass
class Masked:
    """The state of a method with masks, or its base class. Assign ``masks`` as a whole; never change a part of it.

    The tensors that each step needs are prepared once per set of masks: the weights, and the masks as `factor`s.
    """

    masks: dict[str, Tensor]
    ready: tuple[dict[str, Tensor], nn.Module, list[nn.Parameter], list[Tensor]] | None = field(
        default=None, init=False, repr=False, compare=False, metadata={"saved": False}
    )

    def weights(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The masked parameters by name."""
        return {name: model.get_parameter(name) for name in self.masks}

    def mask_gradients_(self, model: nn.Module) -> None:
        """Zeros the gradients of masked entries: all that a mask costs per step."""
        weights, factors = self._factors(model)
        mul_([w.grad for w in weights], factors)

    @torch.no_grad()
    def mask_weights_(self, model: nn.Module, optimizer: Optimizer | None = None) -> None:
        """Sets masked weights to 0 (never -0, which compresses badly), and clears the optimiser's memory of them."""
        weights, factors = self._factors(model)
        for weight, mask in zip(weights, self.masks.values(), strict=True):
            weight.masked_fill_(~mask, 0.0)
        if optimizer is not None:
            clear_(optimizer, weights, factors)

    def _factors(self, model: nn.Module) -> tuple[list[nn.Parameter], list[Tensor]]:
        if self.ready is None or self.ready[0] is not self.masks or self.ready[1] is not model:
            weights = list(self.weights(model).values())
            factors = [factor(mask, weight) for weight, mask in zip(weights, self.masks.values(), strict=True)]
            self.ready = self.masks, model, weights, factors
        return self.ready[2], self.ready[3]


def all_live(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Masks that keep every weight."""
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}


def count(masks: Mapping[str, Tensor]) -> int:
    """How many entries are masked."""
    return sum(int((~m).sum()) for m in masks.values())


def zeros(masks: Mapping[str, Tensor]) -> float:
    """The share of masked entries over all masks, 0 to 1."""
    total = sum(m.numel() for m in masks.values())
    return count(masks) / total if total else 0.0

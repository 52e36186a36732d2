"""How layers share a sparsity: counts of weights to drop per layer, and scores that can be ranked across layers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from bench.errors import BenchError

LAST = 0.8  # largest sparsity of the last layer under "uniform+"


def uniform(sizes: Sequence[int], sparsity: float) -> list[int]:
    """How many weights to drop of each layer: ``round(sparsity * size)``, but at a sparsity below 1 one weight stays in each.

    The weights that stay for that are dropped elsewhere, one of each layer from the largest on, so that their sum is that of
    the rounded counts, as far as one weight stays everywhere. No layer's count falls when the sparsity rises.
    """
    counts = [round(sparsity * size) for size in sizes]
    if sparsity >= 1:
        return counts
    most = [max(0, size - 1) for size in sizes]
    missing = sum(max(0, count - limit) for count, limit in zip(counts, most, strict=True))
    counts = [min(count, limit) for count, limit in zip(counts, most, strict=True)]
    by_size = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    while missing and (free := [i for i in by_size if counts[i] < most[i]]):
        for i in free[:missing]:
            counts[i] += 1
        missing -= min(missing, len(free))
    return counts


def uniform_plus(
    shapes: Mapping[str, Sequence[int]], sparsity: float, first: str, last: Collection[str]
) -> dict[str, int]:
    """How many weights to drop per layer by "uniform+" (Gale et al. 2019, arXiv:1902.09574, section 5.2): none of the layer
    ``first``, at most 80 % of those in ``last``, and of the others the share with which all add up to exactly
    ``round(sparsity * all)``; one weight stays in each.

    Raises:
        BenchError: the sparsity cannot be met so.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    least = {name: min(1, size) for name, size in sizes.items()}
    least |= {name: sizes[name] - math.floor(LAST * sizes[name]) for name in last if name in sizes}
    least |= {name: sizes[name] for name in (first,) if name in sizes}
    live = sum(sizes.values()) - round(sparsity * sum(sizes.values()))
    if live < sum(least.values()):
        raise BenchError(
            f"uniform+ keeps the first layer, a fifth of the last and a weight of each other, but sparsity={sparsity:g} "
            f"leaves {live} weights for {sum(least.values())}; lower it, or choose another allocation"
        )
    counts = list(sizes.values())
    keep = apportion(counts, counts, live, list(least.values()))
    return {name: size - kept for (name, size), kept in zip(sizes.items(), keep, strict=True)}


def lamp(scores: Tensor) -> Tensor:
    """LAMP scores of a layer: each score's square divided by the sum of the squares ranked at or above it; float64, 0 to 1.

    Lee et al. 2021 (arXiv:2010.07611). Equal scores are ranked by position, the later one above. The order within the layer
    stays the same, and the highest LAMP score is 1 (all are 0 where all scores are 0). Scores below 0 stand for weights
    that are masked already: they count as 0 in the sums, and their LAMP score is -1.
    """
    flat = scores.reshape(-1).double()
    order = flat.argsort(stable=True)
    squares = flat[order].clamp(min=0).square()
    above = squares.flip(0).cumsum(0).flip(0)
    shares = squares / above.where(above > 0, 1.0)
    found = torch.empty_like(flat).scatter_(0, order, shares)
    return found.where(flat >= 0, -1.0).view(scores.shape)


def erk(shapes: Mapping[str, Sequence[int]], sparsity: float) -> dict[str, int]:
    """How many weights to drop per layer by Erdős-Rényi-Kernel densities (Evci et al. 2020, arXiv:1911.11134, section 3).

    A layer's density is proportional to the sum of its dimensions divided by their product. A layer that this would make
    denser than 1 is left dense, and the densities of the others are scaled up. The counts add up to exactly
    ``round(sparsity * all)``, and no layer's count falls when the sparsity rises. One weight stays in each layer; with fewer
    weights than layers, one in as many as that.
    """
    sizes = [math.prod(s) for s in shapes.values()]
    live, one = sum(sizes) - round(sparsity * sum(sizes)), [min(1, size) for size in sizes]
    shares = [sum(s) for s in shapes.values()]
    keep = apportion(shares, sizes, live, one) if live >= sum(one) else apportion(shares, one, live)
    return {name: size - kept for name, size, kept in zip(shapes, sizes, keep, strict=True)}


def apportion(
    weights: Sequence[float], caps: Sequence[int], total: int, floors: Sequence[int] | None = None
) -> list[int]:
    """Integers proportional to ``weights``, none above its cap or below its floor (0), that add up to ``total``.

    Webster's method: ``round(scale * weight)`` between floor and cap, at the one scale that gives the total, ties by position.
    Unlike the method of largest remainders it is monotone: with a larger total, no number gets smaller.

    Raises:
        ValueError: the caps and floors do not allow the total.
    """
    least = np.asarray([0] * len(caps) if floors is None else floors, dtype=np.int64)
    if total == least.sum():
        return [int(count) for count in least]
    share, cap = np.asarray(weights, dtype=float), np.asarray(caps, dtype=np.int64)

    def at(scale: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.clip(np.floor(scale * share + 0.5), least, cap).astype(np.int64)

    low, high = 0.0, float(max(((c + 1) / w for c, w in zip(caps, weights, strict=True) if w > 0), default=0.0))
    if not least.sum() <= total <= at(high).sum():
        raise ValueError(f"caps allow {at(high).sum()} and floors {least.sum()}, but the total is {total}")
    while (middle := (low + high) / 2) not in (low, high):
        if at(middle).sum() <= total:
            low = middle
        else:
            high = middle
    counts = at(low)
    tied = np.flatnonzero(at(high) > counts)
    counts[tied[: total - counts.sum()]] += 1
    return [int(c) for c in counts]

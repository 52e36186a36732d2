"""The PQ index, a measure of a vector's sparsity (Diao et al. 2023, arXiv:2302.05601, definition 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.errors import BenchError


def pq_index(
    weights: Tensor, p: float, q: float, dim: int | tuple[int, ...] | None = None, *, live: Tensor | None = None
) -> Tensor:
    """Returns the PQ index ``1 - d^(1/q - 1/p) * |w|_p / |w|_q``: 0 where all magnitudes are equal, larger where they differ.

    It equals one minus a ratio of power means, ``1 - mean(|w|^p)^(1/p) / mean(|w|^q)^(1/q)``, and is computed so on a
    logarithmic scale in float64: no magnitude overflows or underflows.

    Args:
        weights: a tensor of any shape and real type.
        p: order of the smaller norm; ``0 < p < q``.
        q: order of the larger norm.
        dim: dimensions to reduce over; None for all of them. ``d`` is the number of entries reduced over.
        live: bool, of the weights' shape; other entries count neither in the norms nor in ``d``.

    Returns:
        float64, without the reduced dimensions, in [0, 1); 0 for a vector of zeros or without entries.

    Raises:
        BenchError: unless ``0 < p < q``.
    """
    if not 0 < p < q:
        raise BenchError(f"`0 < p < q` must hold, but got ({p=}, {q=})")
    if dim is None:
        dim = tuple(range(weights.dim()))
    sizes = weights.detach().abs().double()
    if live is not None:
        sizes = sizes.where(live, 0.0)
    if sizes.numel() == 0:
        return sizes.sum(dim)
    peak = sizes.amax(dim, keepdim=True)
    scaled = sizes / peak.where(peak != 0, 1.0)
    count: Tensor | int = sizes.numel() // peak.numel()
    if live is not None:
        count = live.sum(dim)
    log_means = [(scaled.pow(order).sum(dim) / count).log() / order for order in (p, q)]
    index = -torch.expm1(log_means[0] - log_means[1])
    return index.clamp(min=0.0).where(peak.view(index.shape) != 0, 0.0)

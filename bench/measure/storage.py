"""A model's size in bytes: dense, in sparse storage (computed as in the paper), and compressed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from safetensors.torch import save
from torch import Tensor, nn

from bench import layers


def sparse_bytes(total: int, nonzero: int) -> int:
    """Returns the bytes of a weight with ``total`` entries in sparse storage, or in dense storage where that is smaller.

    Sparse storage takes 4 bytes for each non-zero entry, and for the positions the smaller of a bit mask (total / 8) and
    4-bit relative indices (nonzero / 2): Zhu & Gupta 2017 (arXiv:1710.01878), tables 5 and 6. As in the paper, gaps that are
    too long for an index cost nothing.
    """
    positions = min(-(-total // 8), -(-nonzero // 2))
    return min(4 * total, 4 * nonzero + positions)


def size(model: nn.Module, *, compress: bool = True) -> dict[str, float]:
    """Counts the parameters and bytes of a model; a tensor that two layers share counts once.

    Returns:
        "params/all", "params/nonzero" (where a layer transforms its weight: in what it computes with); "bytes/dense": 4 for
        each parameter, and the saved buffers; "bytes/sparse": the same with each convolution and linear weight in sparse
        storage (`sparse_bytes`); "bytes/compressed": zlib at level 6 over the safetensors file, only with ``compress``.
    """
    stored = _stored(model)
    parameters = [t for t in stored.values() if isinstance(t, nn.Parameter)]
    dense = _dense_bytes(stored)
    weights = layers.weights(model)
    used = {id(weights[name]): value for name, value in layers.computed(model).items() if name in weights}
    saved = sum(4 * w.numel() - sparse_bytes(w.numel(), count_nonzero(w)) for w in weights.values())
    found: dict[str, float] = {
        "params/all": sum(p.numel() for p in parameters),
        "params/nonzero": sum(count_nonzero(used.get(id(p), p)) for p in parameters),
        "bytes/dense": dense,
        "bytes/sparse": dense - saved,
    }
    if compress:
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in stored.items()}
        found["bytes/compressed"] = len(zlib.compress(save(contiguous), level=6))
    return found


def plain_size(model: nn.Module) -> tuple[int, int]:
    """Returns the parameters and bytes that `size` counts ("params/all", "bytes/dense"), without reading values."""
    stored = _stored(model)
    return sum(t.numel() for t in stored.values() if isinstance(t, nn.Parameter)), _dense_bytes(stored)


def count_nonzero(tensor: Tensor) -> int:
    """Returns the exact number of non-zero entries."""
    return int(torch.count_nonzero(tensor))


def _dense_bytes(stored: Mapping[str, Tensor]) -> int:
    parameters = [t.numel() for t in stored.values() if isinstance(t, nn.Parameter)]
    buffers = [t.nbytes for t in stored.values() if not isinstance(t, nn.Parameter)]
    return 4 * sum(parameters) + sum(buffers)


def _stored(model: nn.Module) -> dict[str, Tensor]:
    """Returns parameters and saved buffers by name, each tensor once, under its first name."""
    state = model.state_dict(keep_vars=True)
    first = {id(t): name for name, t in reversed(state.items()) if isinstance(t, Tensor)}
    return {name: t for name, t in state.items() if first.get(id(t)) == name}

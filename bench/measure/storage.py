"""How many bytes a model takes: dense, in sparse storage (by the paper's arithmetic) and really compressed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from safetensors.torch import save
from torch import Tensor, nn

from bench import masks


def sparse_bytes(total: int, nonzero: int) -> int:
    """Bytes of a weight of ``total`` entries: 4 per non-zero entry, and for their positions the smaller of a bit mask
    (total / 8) and 4-bit relative indices (nonzero / 2); 4 per entry where that is less.

    Zhu & Gupta 2017 (arXiv:1710.01878), tables 5 and 6. Like there, gaps longer than an index can tell cost nothing.
    """
    positions = min(-(-total // 8), -(-nonzero // 2))
    return min(4 * total, 4 * nonzero + positions)


def size(model: nn.Module, *, compress: bool = True) -> dict[str, float]:
    """Parameters and bytes of a model; a tensor that two layers share counts once.

    Returns:
        "params/all", "params/nonzero"; "bytes/dense": 4 per parameter, and the buffers that are saved; "bytes/sparse":
        the same with each convolution and linear weight in `sparse_bytes`; "bytes/compressed": zlib at level 6 over the
        safetensors file, unless ``compress`` is off.
    """
    stored = _stored(model)
    parameters = [t for t in stored.values() if isinstance(t, nn.Parameter)]
    dense = _dense_bytes(stored)
    weights = masks.prunable(model, classifier=True).values()
    saved = sum(4 * w.numel() - sparse_bytes(w.numel(), count_nonzero(w)) for w in weights)
    found: dict[str, float] = {
        "params/all": sum(p.numel() for p in parameters),
        "params/nonzero": sum(count_nonzero(p) for p in parameters),
        "bytes/dense": dense,
        "bytes/sparse": dense - saved,
    }
    if compress:
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in stored.items()}
        found["bytes/compressed"] = len(zlib.compress(save(contiguous), level=6))
    return found


def plain_size(model: nn.Module) -> tuple[int, int]:
    """Parameters and bytes as `size` counts them ("params/all", "bytes/dense"), without a look at any value."""
    stored = _stored(model)
    return sum(t.numel() for t in stored.values() if isinstance(t, nn.Parameter)), _dense_bytes(stored)


def count_nonzero(tensor: Tensor) -> int:
    """The exact number of entries that are not zero."""
    return int(torch.count_nonzero(tensor))


def _dense_bytes(stored: Mapping[str, Tensor]) -> int:
    return sum(4 * t.numel() if isinstance(t, nn.Parameter) else t.nbytes for t in stored.values())


def _stored(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and saved buffers by name, each tensor once, under its first name."""
    state = model.state_dict(keep_vars=True)
    first = {id(t): name for name, t in reversed(state.items()) if isinstance(t, Tensor)}
    return {name: t for name, t in state.items() if first.get(id(t)) == name}

"""Zeros counted in the weights themselves, and the PQ index of what is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench import masks
from bench.errors import BenchError
from bench.measure.pq_index import pq_index
from bench.measure.storage import count_nonzero

P, Q = 0.5, 1.0
"""Norms of the PQ index in every record (the defaults of Diao et al. 2023, arXiv:2302.05601)."""


def layers(model: nn.Module, names: Iterable[str], macs: Mapping[str, int]) -> list[dict[str, Any]]:
    """One row per convolution or linear weight, the classifier's included, in the model's order.

    A row has: name, shape, weights (entries), nonzero, sparsity (0 to 1), macs (of ``macs``, see `bench.measure.macs`),
    macs_left (macs times the share of non-zero weights), pq (PQ index of the non-zero entries, 0 where there are none)
    and prunable (whether it is among ``names``, the parameter names that the method may remove).
    """
    chosen = {id(parameter) for parameter in _named(model, names)}
    return [
        _row(name, weight, macs.get(name, 0)) | {"prunable": id(weight) in chosen}
        for name, weight in masks.prunable(model, classifier=True).items()
    ]


def _row(name: str, weight: Tensor, macs: int) -> dict[str, Any]:
    nonzero, total = count_nonzero(weight), weight.numel()
    return {
        "name": name,
        "shape": list(weight.shape),
        "weights": total,
        "nonzero": nonzero,
        "sparsity": 1 - nonzero / total,
        "macs": macs,
        "macs_left": macs * nonzero / total,
        "pq": float(pq([weight])),
    }


def pq(weights: Iterable[Tensor]) -> Tensor:
    """PQ index (p = 0.5, q = 1) of the non-zero entries of some tensors together, a scalar; 0 where there are none."""
    flat = [weight.detach().reshape(-1) for weight in weights]
    together = torch.cat(flat) if flat else torch.zeros(0)
    return pq_index(together, P, Q, live=together != 0)


def progress_point(
    model: nn.Module,
    prunable: Iterable[str],
    effective: Mapping[str, Tensor] | None = None,
    dense_weights: int | None = None,
) -> dict[str, float]:
    """For the curves: "sparsity" (share of zeros in the parameters named ``prunable``), "weights_left" (non-zeros in all
    convolution and linear weights, as a share of ``dense_weights``, by default of their entries) and "pq" (PQ index of
    those non-zeros), after one wait.

    ``effective`` holds the values that stand for some parameters, where the model computes with others than it stores.
    """
    known = dict(model.named_parameters())
    instead = {id(known[name]): value for name, value in (effective or {}).items()}
    chosen, weights = (
        [instead.get(id(p), p) for p in parameters]
        for parameters in (_named(model, prunable), masks.prunable(model, classifier=True).values())
    )
    index = pq(weights)
    live = [_live(tensors, index.device) for tensors in (chosen, weights)]
    live_chosen, live_weights, unequal = torch.stack([*live, index]).tolist()
    total_chosen, entries = (sum(t.numel() for t in tensors) for tensors in (chosen, weights))
    total_weights = entries if dense_weights is None else dense_weights
    return {
        "sparsity": 1 - live_chosen / total_chosen if total_chosen else 0.0,
        "weights_left": live_weights / total_weights if total_weights else 1.0,
        "pq": unequal,
    }


def _live(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """How many entries are not zero, as a float64 scalar (exact to 2^53) that nobody has waited for."""
    counts = [torch.count_nonzero(tensor) for tensor in tensors]
    return (torch.stack(counts).sum() if counts else torch.zeros((), device=device)).double()


def _named(model: nn.Module, names: Iterable[str]) -> list[nn.Parameter]:
    """Parameters by name, each once; a name that the model does not have is an error."""
    known = dict(model.named_parameters(remove_duplicate=False))
    wanted = list(names)
    if missing := [name for name in wanted if name not in known]:
        raise BenchError(f"prunable names must be parameters of the finished model, but it has no {missing[0]!r}")
    return list({id(known[name]): known[name] for name in wanted}.values())

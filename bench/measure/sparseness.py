"""Counts of zeros in the weights, and the PQ index of the non-zero weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.layers import computed
from bench.measure.pq_index import pq_index
from bench.measure.storage import count_nonzero
from bench.records.run_record import LayerRow

P, Q = 0.5, 1.0
"""Orders of the norms of the PQ index in every record (the defaults of Diao et al. 2023, arXiv:2302.05601)."""


def zero_share(nonzero: float, total: float) -> float:
    """Returns the share of zeros (0 to 1) among ``total`` entries; 0 for no entries."""
    if not total:
        return 0.0
    return 1 - nonzero / total


def share_left(left: float, reference: float) -> float:
    """Returns what is left as a share of a reference; 1 where the reference is 0."""
    if not reference:
        return 1.0
    return left / reference


def layers(model: nn.Module, names: Iterable[str], macs: Mapping[str, int]) -> list[LayerRow]:
    """Returns one row for each convolution or linear weight, the classifier's included, in the model's order.

    Args:
        model: a plain model.
        names: the names of the parameters that the method may prune; their rows are marked as prunable.
        macs: multiply-accumulates of one image by weight name, from `bench.measure.macs`.

    Returns:
        Rows without their ``kind``. ``macs_left`` is ``macs`` times the share of non-zero weights; ``pq`` is the PQ index of
        the non-zero entries, 0 where there are none. A layer that transforms its parameter is counted after that.
    """
    prunable, known = {id(parameter) for parameter in _named(model, names)}, dict(model.named_parameters())
    weights = computed(model)
    return [_row(name, weight, macs.get(name, 0), id(known.get(name)) in prunable) for name, weight in weights.items()]


def _row(name: str, weight: Tensor, macs: int, prunable: bool) -> LayerRow:
    nonzero, total = count_nonzero(weight), weight.numel()
    return LayerRow(
        name=name,
        shape=tuple(weight.shape),
        weights=total,
        nonzero=nonzero,
        sparsity=1 - nonzero / total,
        macs=macs,
        macs_left=macs * nonzero / total,
        pq=float(pq([weight])),
        prunable=prunable,
    )


def pq(weights: Iterable[Tensor]) -> Tensor:
    """Returns the PQ index (p = 0.5, q = 1) of all non-zero entries of some tensors, a scalar; 0 where there are none."""
    flat = [weight.detach().reshape(-1) for weight in weights]
    if not flat:
        return torch.zeros((), dtype=torch.float64)
    together = torch.cat(flat)
    return pq_index(together, P, Q, live=together != 0)


def progress_point(
    model: nn.Module,
    prunable: Iterable[str],
    effective: Mapping[str, Tensor] | None = None,
    dense_weights: int | None = None,
) -> dict[str, float]:
    """Returns the sparsity of a model in training, for one row of the curves; waits for the device once.

    Args:
        model: in training or finished.
        prunable: the names of the parameters that the method may prune.
        effective: the values that the model computes with, for parameters whose stored values differ from them.
        dense_weights: the reference of "weights_left"; by default the number of convolution and linear weights here.

    Returns:
        "sparsity", the share of zeros in the prunable parameters; "weights_left", the non-zeros of all convolution and linear
        weights as a share of the reference; "pq", the PQ index of these non-zeros.
    """
    known, used = dict(model.named_parameters()), computed(model)
    instead = {id(known[name]): value for name, value in used.items() if name in known}
    instead |= {id(known[name]): value for name, value in (effective or {}).items() if value is not known[name]}
    chosen = [instead.get(id(parameter), parameter) for parameter in _named(model, prunable)]
    weights = [instead.get(id(known.get(name)), value) for name, value in used.items()]
    index = pq(weights)
    live = [_live(tensors, index.device) for tensors in (chosen, weights)]
    live_chosen, live_weights, unequal = torch.stack([*live, index]).tolist()
    if dense_weights is None:
        dense_weights = sum(t.numel() for t in weights)
    return {
        "sparsity": zero_share(live_chosen, sum(t.numel() for t in chosen)),
        "weights_left": share_left(live_weights, dense_weights),
        "pq": unequal,
    }


def _live(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """Returns the number of non-zero entries as a float64 scalar (exact to 2^53), without a wait for the device."""
    if not tensors:
        return torch.zeros((), device=device, dtype=torch.float64)
    return torch.stack([torch.count_nonzero(tensor) for tensor in tensors]).sum().double()


def _named(model: nn.Module, names: Iterable[str]) -> list[nn.Parameter]:
    """Returns parameters by name, each once.

    Raises:
        BenchError: the model has no parameter of some name.
    """
    known = dict(model.named_parameters(remove_duplicate=False))
    wanted = list(names)
    missing = [name for name in wanted if name not in known]
    if missing:
        raise BenchError(f"prunable names must be parameters of the finished model, but it has no {missing[0]!r}")
    return list({id(known[name]): known[name] for name in wanted}.values())

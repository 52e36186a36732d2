"""Measurements of a finished, plain model: how well it predicts, and what it costs. No number comes from the method.

Each share names its denominator: "prunable" (the weights that the method may prune), "weights" (all convolution and linear
weights, the classifier's included) or "all" (all parameters). A weight that two layers share counts once.

"sparsity/*" are shares of zeros within the finished model. "weights_left", "macs/fraction" and "speedup/theoretical" are
relative to a reference, the dense model that the run names. So masked models, models with removed channels and models that
were built smaller are compared on one axis.

A record holds more than the accuracy of a pruned model: on "val", and on "test" where it was opened, the loss, the
calibration error, the worst class and the agreement with the dense model that the run started from (`accuracy`);
"val/top1_bn", the accuracy with re-estimated batch-norm statistics (`reestimated`); "val/top1_pruned", the accuracy before a
recovery; and the layers that have collapsed (`collapsed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from bench.layers import computed
from bench.measure.connected import effective
from bench.measure.damage import collapsed, reestimated
from bench.measure.operations import macs
from bench.measure.parts import kinds, others
from bench.measure.quality import accuracy
from bench.measure.reference import Reference, reference
from bench.measure.sparseness import layers, pq, progress_point, share_left, zero_share
from bench.measure.storage import size, sparse_bytes
from bench.measure.timing import latency
from bench.recipe import Recipe
from bench.records.run_record import LayerRow

__all__ = [
    "Reference",
    "accuracy",
    "collapsed",
    "latency",
    "layers",
    "macs",
    "progress_point",
    "reestimated",
    "reference",
    "size",
    "sparse_bytes",
    "summary",
]


def summary(
    model: nn.Module,
    *,
    prunable: Iterable[str],
    example_shape: tuple[int, int, int, int],
    recipe: Recipe,
    device: torch.device,
    dense: Reference | None = None,
    quick: bool = False,
) -> tuple[dict[str, float], list[LayerRow]]:
    """Returns what a finished model costs: metrics by key, and one row for each convolution or linear weight.

    Args:
        model: a plain model on ``device``.
        prunable: the names of the parameters that the method may prune.
        example_shape: (N, C, H, W) of a full batch.
        recipe: gives the precision and the memory format in which latency is measured.
        device: where latency is measured.
        dense: the reference of all relative shares; by default the model itself, unpruned.
        quick: skip slow measurements and so the keys latency/*, bytes/compressed, sparsity/effective and
            weights/disconnected.
    """
    prunable, dense = list(prunable), dense or reference(model, example_shape)
    counts = macs(model, example_shape)
    kind = kinds(model)
    table = [replace(row, kind=kind[row.name]) for row in layers(model, prunable, counts)]
    metrics = _sparsities(table, dense) | {"pq": float(pq(computed(model).values()))}
    metrics |= size(model, compress=not quick) | others(model) | _operations(table, counts, dense)
    metrics |= {"params/reference": dense.params, "bytes/reference": dense.bytes}
    metrics["sparsity/all"] = zero_share(metrics["params/nonzero"], metrics["params/all"])
    if not quick:
        metrics |= effective(model, prunable, example_shape[1:])
        for name, batch in (("batch1", 1), ("full", example_shape[0])):
            times = latency(model, (batch, *example_shape[1:]), recipe, device)
            metrics |= {f"latency/{name}_{key}": times[key] for key in ("median_ms", "p95_ms")}
        metrics["latency/full_batch"] = example_shape[0]
    return metrics, table


def _sparsities(table: Sequence[LayerRow], dense: Reference) -> dict[str, float]:
    weights, nonzero = sum(row.weights for row in table), sum(row.nonzero for row in table)
    prunable = [row for row in table if row.prunable]
    prunable_weights, prunable_nonzero = sum(row.weights for row in prunable), sum(row.nonzero for row in prunable)
    return {
        "sparsity/prunable": zero_share(prunable_nonzero, prunable_weights),
        "sparsity/weights": zero_share(nonzero, weights),
        "weights/prunable": prunable_weights,
        "weights/all": weights,
        "weights/nonzero": nonzero,
        "weights/reference": dense.weights,
        "weights_left": share_left(nonzero, dense.weights),
    }


def _operations(table: Sequence[LayerRow], counts: Mapping[str, int], dense: Reference) -> dict[str, float]:
    left = counts[""] + sum(row.macs_left for row in table)
    speedup = 1.0
    if dense.macs:
        speedup = dense.macs / max(left, 1)  # a model of zeros only would be infinitely fast: one operation is assumed
    return {
        "macs/dense": dense.macs,
        "macs/left": left,
        "macs/fraction": share_left(left, dense.macs),
        "speedup/theoretical": speedup,
    }

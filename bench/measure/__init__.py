"""Measuring a finished, plain model: how well it predicts, and what it costs. Nothing here is told by a method.

Every share names its denominator: "prunable" (the weights that the method may remove), "weights" (all convolution and
linear weights, the classifier's included) and "all" (all parameters). A weight shared by two layers counts once.

"sparsity/*" are zeros within the model as it is. What is left of a model ("weights_left", "macs/fraction") and its
theoretical speed-up are relative to a reference, the dense model that the run names, so that a model with zeros, one with
channels removed and one that was smaller from the start stand on one axis.

Damage is more than accuracy lost: a record has for "val" and, where it was opened, "test" the loss, the calibration error,
the worst class and the agreement with the dense model that the run started from (`accuracy`); of the model as the method
finished it "val/top1_bn", with batch-norm statistics of its own (`reestimated`), and where a recovery followed
"val/top1_pruned", as it was; and which layers have collapsed (`collapsed`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from bench import masks
from bench.measure.connected import effective
from bench.measure.damage import collapsed, reestimated
from bench.measure.operations import macs
from bench.measure.parts import kinds, others
from bench.measure.quality import accuracy
from bench.measure.reference import Reference, reference
from bench.measure.sparseness import layers, pq, progress_point
from bench.measure.storage import size, sparse_bytes
from bench.measure.timing import latency
from bench.recipe import Recipe

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
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """What a finished model costs, as flat metrics and as a table with one row per convolution or linear weight.

    Args:
        model: a plain model on ``device``.
        prunable: the parameter names that the method may remove.
        example_shape: (N, C, H, W) of a full batch.
        recipe: its precision and memory format are those of the latency.
        device: where latency is measured.
        dense: what shares are relative to; by default the model itself with nothing taken from it.
        quick: leave out what takes seconds, and so these keys: latency/*, bytes/compressed, and what is cut off
            (`bench.measure.connected`).
    """
    prunable, dense = list(prunable), dense or reference(model, example_shape)
    counts = macs(model, example_shape)
    kind = kinds(model)
    table = [{**row, "kind": kind[row["name"]]} for row in layers(model, prunable, counts)]
    metrics = _sparsities(table, dense) | {"pq": float(pq(masks.prunable(model, classifier=True).values()))}
    metrics |= size(model, compress=not quick) | others(model) | _operations(table, counts, dense)
    metrics |= {"params/reference": dense.params, "bytes/reference": dense.bytes}
    metrics["sparsity/all"] = 1 - metrics["params/nonzero"] / metrics["params/all"] if metrics["params/all"] else 0.0
    if not quick:
        metrics |= effective(model, prunable, example_shape[1:])
        for name, batch in (("batch1", 1), ("full", example_shape[0])):
            times = latency(model, (batch, *example_shape[1:]), recipe, device)
            metrics |= {f"latency/{name}_{key}": times[key] for key in ("median_ms", "p95_ms")}
        metrics["latency/full_batch"] = example_shape[0]
    return metrics, table


def _sparsities(table: list[dict[str, Any]], dense: Reference) -> dict[str, float]:
    weights, nonzero = (sum(row[key] for row in table) for key in ("weights", "nonzero"))
    chosen = [row for row in table if row["prunable"]]
    total, live = (sum(row[key] for row in chosen) for key in ("weights", "nonzero"))
    return {
        "sparsity/prunable": 1 - live / total if total else 0.0,
        "sparsity/weights": 1 - nonzero / weights if weights else 0.0,
        "weights/prunable": total,
        "weights/all": weights,
        "weights/nonzero": nonzero,
        "weights/reference": dense.weights,
        "weights_left": nonzero / dense.weights if dense.weights else 1.0,
    }


def _operations(table: list[dict[str, Any]], counts: dict[str, int], dense: Reference) -> dict[str, float]:
    """A model of zeros only would be infinitely fast; as a finite number, one operation is taken as left."""
    left = counts[""] + sum(row["macs_left"] for row in table)
    return {
        "macs/dense": dense.macs,
        "macs/left": left,
        "macs/fraction": left / dense.macs if dense.macs else 1.0,
        "speedup/theoretical": dense.macs / max(left, 1) if dense.macs else 1.0,
    }

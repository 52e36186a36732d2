"""Damage of pruning that accuracy does not show: collapsed layers, and batch-norm statistics that are out of date."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bench.layers import users
from bench.measure.quality import accuracy, device_of, evaluating
from bench.recipe import Recipe
from bench.records.run_record import Collapsed, LayerRow

FEWEST = 0.01  # a layer with a smaller share of non-zero weights counts as collapsed
IMAGES = 64  # whose outputs are compared
SPREAD = 1e-6  # relative to the largest output: smaller differences are rounding
BATCHES = 20  # from which new statistics are computed, at most one epoch
_NORM = nn.modules.batchnorm._BatchNorm


class Training(Protocol):
    """Training batches by epoch."""

    def epoch(self, index: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields images (N, C, H, W) and labels (N,)."""
        ...


def collapsed(
    model: nn.Module, layers: Sequence[LayerRow], batches: Iterable[tuple[Tensor, Tensor]], recipe: Recipe
) -> list[Collapsed]:
    """Returns the layers that have collapsed, each with its reason.

    A layer has collapsed when none of its weights is left, when fewer than 1 % of them are left, or when its outputs do not
    depend on the image: at each position they are equal over the first 64 images of ``batches`` (in fp32). For layer
    collapse see Tanaka et al. 2020 (arXiv:2006.05467).

    Args:
        model: a finished, plain model.
        layers: its layers, from `bench.measure.summary`.
        batches: images (N, C, H, W) with their labels; only the first batch is used.
        recipe: gives the memory format.
    """
    images = next(iter(batches))[0][:IMAGES].to(device_of(model), memory_format=recipe.memory_format)
    constant, found = _constant(model, images), list[Collapsed]()
    for row in layers:
        left = row.nonzero / row.weights
        if not left:
            found.append(Collapsed(row.name, "no weights left"))
        elif left < FEWEST:
            found.append(Collapsed(row.name, f"{100 * left:.2g} % of its weights left"))
        elif row.name in constant:
            found.append(Collapsed(row.name, "constant outputs"))
    return found


def _constant(model: nn.Module, images: Tensor) -> set[str]:
    """Returns the names of weights whose layers ran and had the same outputs for all images in all of their calls."""
    if len(images) < 2:
        return set()
    names = {module: name for name, found in users(model).items() for _, module in found}
    varies = dict[str, list[Tensor]]()

    def compare(module: nn.Module, args: Any, output: Tensor) -> None:
        if len(output) > 1:
            spread, size = (output.amax(0) - output.amin(0)).amax(), output.abs().amax()
            varies.setdefault(names[module], []).append(spread > SPREAD * size)

    handles = [module.register_forward_hook(compare) for module in names]
    try:
        with evaluating(model), torch.inference_mode():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    if not varies:
        return set()
    seen = torch.stack([torch.stack(calls).any() for calls in varies.values()]).tolist()
    return {name for name, differs in zip(varies, seen, strict=True) if not differs}


def reestimated(
    model: nn.Module, batches: Training, evaluation: Iterable[tuple[Tensor, Tensor]], recipe: Recipe
) -> dict[str, float]:
    """Measures a model's accuracy with re-estimated batch-norm statistics; pruning does not update the stored ones.

    A copy runs the first batches of the run's first epoch, at most 20, with only its batch norms in training mode; their
    statistics become the plain averages over these batches (adaptive batch norm, Li et al. 2020, arXiv:2007.02491).

    Returns:
        "top1_bn", the top-1 of the copy on ``evaluation`` in per cent; an empty dict for a model without such statistics.
    """
    if not any(_has_statistics(module) for module in model.modules()):
        return {}
    replica = copy.deepcopy(model).eval()
    for module in replica.modules():
        if isinstance(module, _NORM) and _has_statistics(module):
            module.reset_running_stats()
            module.momentum = None  # the plain average over all batches
            module.train()
    device = device_of(replica)
    with torch.no_grad():
        for images, _ in islice(batches.epoch(0), BATCHES):
            with recipe.autocast(device):
                replica(images.to(device, memory_format=recipe.memory_format))
    return {"top1_bn": accuracy(replica, evaluation, recipe)["top1"]}


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module, _NORM) and module.running_mean is not None

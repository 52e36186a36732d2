"""Damage that accuracy does not show: layers that have collapsed, and batch-norm statistics that do not fit any more."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bench import masks
from bench.measure.quality import accuracy, device_of, evaluating
from bench.recipe import Recipe

FEWEST = 0.01  # share of a layer's weights below which it counts as collapsed
IMAGES = 64  # that outputs are compared over
SPREAD = 1e-6  # of the largest output: what rounding may make of equal ones
BATCHES = 20  # for new statistics, and no more than an epoch
_NORM = nn.modules.batchnorm._BatchNorm


class Training(Protocol):
    """Training batches by epoch."""

    def epoch(self, index: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (N, C, H, W) and labels (N,)."""
        ...


def collapsed(
    model: nn.Module, layers: Sequence[Mapping[str, Any]], batches: Iterable[tuple[Tensor, Tensor]], recipe: Recipe
) -> list[dict[str, str]]:
    """The layers through which little or nothing passes any more: "name", of the weight, and "reason".

    A layer has collapsed when none of its weights is left, when fewer than 1 % of them are, or when its outputs do not
    depend on the image: they are the same, at each position, over the first 64 images of ``batches`` (in fp32). Collapse of
    layers: Tanaka et al. 2020 (arXiv:2006.05467).

    Args:
        model: a finished, plain model.
        layers: its table, from `bench.measure.summary`.
        batches: images (N, C, H, W) with their labels; the first batch is looked at.
        recipe: its memory format is used.
    """
    images = next(iter(batches))[0][:IMAGES].to(device_of(model), memory_format=recipe.memory_format)
    constant, found = _constant(model, images), list[dict[str, str]]()
    for row in layers:
        left = row["nonzero"] / row["weights"]
        if not left:
            found.append({"name": row["name"], "reason": "no weights left"})
        elif left < FEWEST:
            found.append({"name": row["name"], "reason": f"{100 * left:.2g} % of its weights left"})
        elif row["name"] in constant:
            found.append({"name": row["name"], "reason": "constant outputs"})
    return found


def _constant(model: nn.Module, images: Tensor) -> set[str]:
    """The weights of layers that were run, and whose outputs did not differ from image to image in any of their calls."""
    if len(images) < 2:
        return set()
    names = {id(weight): name for name, weight in masks.prunable(model, classifier=True).items()}
    varies = dict[str, list[Tensor]]()

    def look(module: nn.Module, args: Any, output: Tensor) -> None:
        if len(output) > 1:
            spread, size = (output.amax(0) - output.amin(0)).amax(), output.abs().amax()
            varies.setdefault(names[id(module.weight)], []).append(spread > SPREAD * size)

    watched = [m for m in model.modules() if isinstance(m, masks.LAYERS) and id(m.weight) in names]
    handles = [module.register_forward_hook(look) for module in watched]
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
    """The accuracy that a model would have with batch-norm statistics of its own, which pruning leaves as they were before.

    A copy runs the first batches of the run's first epoch, 20 at most, with everything but its batch norms in eval mode;
    their statistics become the plain averages over these batches (Li et al. 2020, arXiv:2007.02491, adaptive batch norm).

    Returns:
        "top1_bn", the top-1 of the copy on ``evaluation`` in per cent; nothing for a model without such statistics.
    """
    if not any(_has_statistics(module) for module in model.modules()):
        return {}
    replica = copy.deepcopy(model).eval()
    for module in replica.modules():
        if isinstance(module, _NORM) and _has_statistics(module):
            module.reset_running_stats()
            module.momentum = None  # the average over all batches, each as heavy as the next
            module.train()
    device = device_of(replica)
    with torch.no_grad():
        for images, _ in islice(batches.epoch(0), BATCHES):
            with recipe.autocast(device):
                replica(images.to(device, memory_format=recipe.memory_format))
    return {"top1_bn": accuracy(replica, evaluation, recipe)["top1"]}


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module, _NORM) and module.running_mean is not None

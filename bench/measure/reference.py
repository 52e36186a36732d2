"""What the shares of a run are relative to: the dense model that it names, whatever is built or left of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from bench import masks
from bench.measure.operations import macs
from bench.measure.storage import plain_size


@dataclass(frozen=True)
class Reference:
    """Counts of a dense model: convolution and linear ``weights`` (the classifier's included), all ``params``, ``bytes``
    (4 per parameter, and the buffers that are saved), and the ``macs`` of one image."""

    weights: int
    params: int
    bytes: int
    macs: int


def reference(model: nn.Module, example_shape: tuple[int, int, int, int]) -> Reference:
    """The counts of a model before anything is taken from it, which may be on the meta device; ``example_shape`` is
    (any, C, H, W)."""
    weights = sum(weight.numel() for weight in masks.prunable(model, classifier=True).values())
    params, size = plain_size(model)
    return Reference(weights, params, size, sum(macs(model, example_shape).values()))

"""The reference of a run's shares: the counts of the dense model that the run names."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from bench.layers import computed
from bench.measure.operations import macs
from bench.measure.storage import plain_size


@dataclass(frozen=True)
class Reference:
    """Counts of a dense model: convolution and linear ``weights`` (the classifier's included), all ``params``, ``bytes``
    (4 for each parameter, and the saved buffers), and the ``macs`` of one image."""

    weights: int
    params: int
    bytes: int
    macs: int


def reference(model: nn.Module, example_shape: tuple[int, int, int, int]) -> Reference:
    """Counts an unpruned model, which may be on the meta device; ``example_shape`` is (any, C, H, W)."""
    weights = sum(weight.numel() for weight in computed(model).values())
    params, size = plain_size(model)
    return Reference(weights, params, size, sum(macs(model, example_shape).values()))

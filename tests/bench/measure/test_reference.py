"""What shares are relative to: a dense model that need not be there."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from bench import masks, models
from bench.measure import Reference, progress_point, reference, summary
from bench.recipe import Recipe

CPU, SHAPE = torch.device("cpu"), (2, 3, 32, 32)


def summarise(model: nn.Module, dense: Reference | None = None) -> dict[str, float]:
    found, _ = summary(model, prunable=[], example_shape=SHAPE, recipe=Recipe(), device=CPU, dense=dense, quick=True)
    return found


def test_counts_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 5, bias=False))
    weights, rest = 3 * 4 * 9 + 64 * 5, 4 + 2 * 4
    buffers = 4 * (4 + 4) + 8  # two statistics, and the number of batches in 64 bits
    found = reference(model, (1, 3, 4, 4))
    assert found == Reference(weights, weights + rest, 4 * (weights + rest) + buffers, 3 * 4 * 9 * 16 + 64 * 5)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "cifar_resnet20"])
def test_without_storage_the_counts_are_those_of_the_model(name: str) -> None:
    model, empty = timm.create_model(name), models.empty(name, classes=10, channels=3, image_size=32)
    real = models.create(name, classes=10, channels=3, image_size=32, seed=0)[0]
    found = reference(real, SHAPE)
    assert reference(empty, SHAPE) == found
    metrics = summarise(real)
    assert (metrics["params/reference"], metrics["bytes/reference"]) == (found.params, found.bytes)
    assert (metrics["params/all"], metrics["bytes/dense"]) == (found.params, found.bytes)
    assert (metrics["weights/all"], metrics["macs/dense"]) == (found.weights, found.macs)
    assert reference(model, SHAPE).params >= found.params  # a thousand classes


def test_a_smaller_model_stands_beside_a_pruned_one() -> None:
    dense = models.empty("cifar_resnet20", classes=10, channels=3, image_size=32)
    known = reference(dense, SHAPE)
    small = models.create("cifar_resnet20:width=0.5", classes=10, channels=3, image_size=32, seed=0)[0]
    own, found = summarise(small), summarise(small, known)
    shares = {"weights_left", "macs/dense", "macs/fraction", "speedup/theoretical"}
    assert {key for key in own if own[key] != found[key]} == shares | {
        f"{k}/reference" for k in ("weights", "params", "bytes")
    }
    assert own["weights_left"] == own["macs/fraction"] == 1
    assert found["weights_left"] == found["weights/nonzero"] / known.weights == pytest.approx(0.25, abs=0.01)
    assert found["macs/fraction"] == found["macs/left"] / known.macs == pytest.approx(1 / found["speedup/theoretical"])
    assert found["sparsity/weights"] == 0
    point = progress_point(small, masks.prunable(small), None, known.weights)
    assert point["weights_left"] == found["weights_left"]

"""Smaller siblings: the nearest in weights, of the same family, on the same images."""

from __future__ import annotations

import math

import pytest

from bench import models
from bench.errors import BenchError
from bench.models.siblings import alike, count

SHAPE = {"classes": 10, "channels": 3, "image_size": 32}


def weights(model: str) -> int:
    return count(model, **SHAPE)


def sibling(model: str, share: float) -> tuple[str, float]:
    """The sibling with about a share of the weights, and by what factor it misses that."""
    wanted = round(share * weights(model))
    found = models.smaller(model, wanted, **SHAPE)
    assert weights(found.model) == found.weights < weights(model)
    return found.model, found.weights / wanted


def test_weights_by_hand() -> None:
    convolutions = 3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64
    assert weights("cifar_resnet20") == 9 * convolutions + 64 * 10
    assert weights("cifar_resnet20:width=-1") == 0  # cannot be built


@pytest.mark.parametrize(
    ("model", "share", "miss"),
    [
        *(("cifar_resnet20", share, 0.02) for share in (0.5, 0.2, 0.1)),
        *(("test_resnet", share, 0.03) for share in (0.5, 0.2, 0.05)),
        ("resnet18", 0.2, 0.005),
        ("test_efficientnet", 0.2, 0.05),
        pytest.param("test_vit", 0.2, 0.05, marks=pytest.mark.slow),
        pytest.param("mobilenetv3_large_100", 0.2, 0.02, marks=pytest.mark.slow),
        ("cifar_vgg16_bn", 0.2, 0.01),
    ],
)
def test_a_width_is_found(model: str, share: float, miss: float) -> None:
    found, factor = sibling(model, share)
    assert found.startswith(f"{model}:width=0.")
    assert factor == pytest.approx(1, abs=miss)


@pytest.mark.slow
def test_no_width_on_the_grid_is_nearer() -> None:
    wanted = 7000
    best = min(
        (weights(f"lenet_300_100:width={step / 1000}") for step in range(1, 1000)),
        key=lambda n: abs(math.log(n / wanted)),
    )
    assert models.smaller("lenet_300_100", wanted, **SHAPE).weights == best


def test_a_width_that_is_there_already_is_scaled() -> None:
    found, factor = sibling("cifar_resnet56:width=0.5", 0.2)
    assert found.startswith("cifar_resnet56:width=0.2")
    assert factor == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("share", "named"), [(0.2, "mobilevit_xxs"), (0.4, "mobilevit_xs")])
def test_elsewhere_an_architecture_named_alike(share: float, named: str) -> None:
    assert sibling("mobilevit_s", share)[0] == named


@pytest.mark.parametrize(
    ("one", "other", "are"),
    [
        ("regnety_032", "regnety_008", True),
        ("vgg16_bn", "vgg11_bn", True),
        ("vgg16_bn", "vgg11", False),
        ("swin_base_patch4_window7_224", "swin_tiny_patch4_window7_224", True),
        ("swin_base_patch4_window7_224", "swin_tiny_patch4_window12_224", False),
        ("mobilevit_s", "mobilevitv2_050", False),
        ("inception_v4", "inception_v3", False),
        ("densenet201", "densenet121", True),
        ("dla60x", "dla60", False),
    ],
)
def test_names_alike_differ_in_sizes_only(one: str, other: str, are: bool) -> None:
    assert alike(one, other) == alike(other, one) == are


def test_without_a_sibling_one_line() -> None:
    with pytest.raises(BenchError, match="must be known, but mixer_s16_224 takes no width") as caught:
        models.smaller("mixer_s16_224", 10_000, **SHAPE)
    assert "\n" not in str(caught.value)

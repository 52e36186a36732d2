"""Input sizes: the task's own, or the next that the architecture can process."""

import pytest
from torch import nn

from bench.errors import BenchError
from bench.models import sizes
from bench.models.sizes import _patch, input_size, on_meta, refusal, told, usual, wanted


@pytest.mark.parametrize(
    ("name", "image_size", "size"),
    [
        ("test_efficientnet", 32, 32),
        ("test_resnet", 32, 32),
        ("test_vit", 32, 32),
        ("resnet18", 28, 28),
        ("convnext_atto", 32, 32),
        ("mobilenetv3_small_050", 32, 32),
        ("mixer_s16_224", 32, 32),
        ("vit_tiny_patch16_224", 32, 32),
        ("vit_tiny_patch16_224", 28, 112),  # 28 and 56 are no multiples of the patch: pixels would be lost
        ("swin_tiny_patch4_window7_224", 32, 32),
        ("efficientformer_l1", 32, 224),  # works at the size that it was made for only
        ("cifar_vgg16_bn", 28, 32),  # five poolings need 32 pixels
        ("cifar_resnet20", 64, 64),
        ("lenet5", 28, 28),
        ("sap_mlp", 8, 8),
    ],
)
def test_the_input_is_the_tasks_size_or_what_the_model_needs(name: str, image_size: int, size: int) -> None:
    assert input_size(name, 3, image_size) == size


def test_why_an_architecture_cannot_be_trained() -> None:
    assert refusal("cifar_resnet20", 3, 32) is None
    assert refusal("vit_tiny_patch16_224", 3, 30) == "its patches of 16 pixels do not cover the image"
    assert "LeNet-5 needs at least 16" in str(refusal("lenet5", 1, 8))


def test_a_wanted_size_is_checked() -> None:
    assert wanted("vit_tiny_patch16_224", 3, 64) == 64
    with pytest.raises(BenchError, match="set image_size=0 to have a size chosen"):
        wanted("vit_tiny_patch16_224", 3, 30)


def test_an_architecture_that_fits_no_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "refusal", lambda name, channels, size: f"not {size}")
    with pytest.raises(
        BenchError, match=r"lenet5 takes 1 x 4 x 4 at none of the sizes 4, 8, 16, 28 \(not 28\); choose"
    ):
        input_size.__wrapped__("lenet5", 1, 4)  # past its cache


def test_shapes_without_values() -> None:
    model = on_meta("lenet5", classes=3, channels=1, size=28)
    assert all(p.is_meta for p in model.parameters())
    assert usual("lenet5") == 28
    assert usual("vit_tiny_patch16_224") == 224


def test_the_patch_is_that_of_the_first_convolution() -> None:
    assert _patch(nn.Sequential(nn.Conv2d(3, 4, 16, 16))) == 16
    assert _patch(nn.Sequential(nn.Conv2d(3, 4, 3, 1))) == 1
    assert _patch(nn.Linear(2, 2)) == 1


def test_errors_are_told_in_one_sentence() -> None:
    assert told(ValueError("too small. Enlarge it\nor not")) == "ValueError: too small"
    assert len(told(ValueError("x" * 999))) == 150

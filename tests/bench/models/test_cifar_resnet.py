"""CIFAR ResNets: shortcut A, and the width of the stages."""

import pytest
import timm
import torch

from bench.models.cifar_resnet import PadShortcut


def test_shortcut_a_takes_every_second_pixel_and_pads_channels_on_both_sides() -> None:
    x = torch.arange(32.0).view(1, 2, 4, 4)
    y = PadShortcut(2, 4, stride=2)(x)
    assert y[0, :, 0, 0].tolist() == [0, 0, 16, 0]
    assert y[0, 1].tolist() == [[0, 2], [8, 10]]
    assert y[0, 3].count_nonzero() == 0


@pytest.mark.parametrize(("width", "stages"), [(0.25, [4, 8, 16]), (1 / 3, [5, 11, 21]), (2.0, [32, 64, 128])])
def test_width_scales_all_stages(width: float, stages: list[int]) -> None:
    model = timm.create_model("cifar_resnet20", width=width)
    assert [s[-1].conv2.out_channels for s in (model.layer1, model.layer2, model.layer3)] == stages
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)

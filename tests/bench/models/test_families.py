"""The families of the papers: sizes as published, timm's interface, trainable on the inputs that they are for."""

import pytest
import timm
import torch
from torch import nn

from bench import models
from bench.models.cifar_resnet import CifarResNet

SIZES = {
    "cifar_resnet20": 269_722,  # He et al. 2016, table 6: 0.27 M, 0.46 M, 0.66 M, 0.85 M, 1.7 M
    "cifar_resnet32": 464_154,
    "cifar_resnet44": 658_586,
    "cifar_resnet56": 853_018,
    "cifar_resnet110": 1_727_962,
    "cifar_resnet20b": 269_722 + 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64,  # two projections with their batch norms
    "cifar_vgg16_bn": 14_724_042,
    "cifar_wrn16_8": 10_961_370,  # Zagoruyko & Komodakis 2016, table 4: 11.0 M
    "cifar_wrn28_8": 23_354_842,
    "lenet_300_100": 266_200 + 410,
    "lenet5": 430_500 + 580,
    "sap_mlp": (3072 + 1) * 128 + (128 + 1) * 256 + (256 + 1) * 10,
}
SMALL = [n for n in models.families() if n.startswith(("lenet", "sap", "cifar_resnet20"))]


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("name", "count"), SIZES.items())
def test_sizes_are_those_of_the_papers(name: str, count: int) -> None:
    with torch.device("meta"):
        assert parameters(timm.create_model(name)) == count


@pytest.mark.parametrize("name", models.families())
def test_families_speak_timms_interface(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=7, in_chans=2)
    cfg = model.default_cfg
    images = torch.empty(2, 2, *cfg["input_size"][1:], device="meta")
    assert model(images).shape == (2, 7)
    assert list(model.state_dict())[-1] == "linear.bias"  # layers are listed in the order of the computation
    assert model.get_submodule(cfg["first_conv"]).weight.shape[1] in (2, images[0].numel())
    assert model.get_classifier().weight.shape == (7, model.num_features)
    model.reset_classifier(3)
    assert model.num_classes == 3
    assert model.get_classifier().weight.is_meta
    assert model.get_classifier().weight.shape == (3, model.num_features)


@pytest.mark.parametrize("name", SMALL)
def test_every_weight_gets_a_gradient(name: str) -> None:
    model = timm.create_model(name)
    model(torch.randn(2, *model.default_cfg["input_size"])).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", models.families())
def test_every_family_takes_a_width(name: str) -> None:
    with torch.device("meta"):
        plain, same, narrow = (timm.create_model(name, **more) for more in ({}, {"width": 1.0}, {"width": 0.25}))
    assert [p.shape for p in plain.parameters()] == [p.shape for p in same.parameters()]
    assert 4 * narrow.num_features == plain.num_features
    assert narrow(torch.empty(2, *narrow.default_cfg["input_size"], device="meta")).shape == (2, 10)
    scale = 16 if any(isinstance(m, nn.Conv2d) for m in plain.modules()) else 4  # an MLP's inputs are as many as before
    assert parameters(plain) / parameters(narrow) == pytest.approx(scale, rel=0.1)


def test_convolutions_are_drawn_as_the_papers_say() -> None:
    weight = CifarResNet(3, False).layer3[0].conv1.weight  # 64 filters over 32 channels: fan in 288, fan out 576
    assert weight.std().item() == pytest.approx((2 / 288) ** 0.5, rel=0.05)
    weight = timm.create_model("sap_cnn").blocks[4].weight  # 128 filters over 64 channels: fan out 1152
    assert weight.std().item() == pytest.approx((2 / 1152) ** 0.5, rel=0.05)

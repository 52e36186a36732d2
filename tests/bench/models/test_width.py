"""A width scales what the family scales: sizes as published, and nothing is left behind in timm."""

from __future__ import annotations

import pytest
import timm
from timm.models import efficientnet
from torch import nn

from bench import masks, models
from bench.models import sizes


def empty(model: str, classes: int = 10) -> nn.Module:
    return models.empty(model, classes=classes, channels=3, image_size=sizes.usual(model))


def count(model: str, classes: int = 10) -> int:
    return sum(w.numel() for w in masks.prunable(empty(model, classes), classifier=True).values())


@pytest.mark.parametrize(("width", "millions"), [(0.25, 0.46), (0.5, 1.32), (0.75, 2.57), (1.0, 4.21)])
def test_mobilenet_widths_have_the_weights_of_zhu_and_guptas_table_2(width: float, millions: float) -> None:
    assert count(f"mobilenetv1_100:width={width}", 1000) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(
    ("wide", "width", "same"),
    [("mobilenetv2_100", 0.5, "mobilenetv2_050"), ("mobilenetv3_small_100", 0.75, "mobilenetv3_small_075")],
)
def test_a_width_is_timms_own_multiplier(wide: str, width: float, same: str) -> None:
    one, other = empty(f"{wide}:width={width}"), empty(same)
    assert [p.shape for p in one.parameters()] == [p.shape for p in other.parameters()]


def test_timm_builds_as_before_once_a_width_was_built() -> None:
    plain = efficientnet.round_channels
    before = [p.shape for p in empty("test_efficientnet").parameters()]
    narrow = [p.shape for p in empty("test_efficientnet:width=0.5").parameters()]
    with pytest.raises(TypeError):
        empty("test_efficientnet:width=0.5,no_such=1")
    assert efficientnet.round_channels is plain
    assert [p.shape for p in empty("test_efficientnet").parameters()] == before != narrow


def channels(model: nn.Module) -> list[int]:
    return [stage["num_chs"] for stage in model.feature_info]  # type: ignore[union-attr]


def test_resnets_scale_stages_and_a_deep_stem() -> None:
    assert channels(empty("resnet50:width=0.25")) == [64, 64, 128, 256, 512]  # the stem as timm fixes it
    assert channels(empty("test_resnet")) == [32, 32, 48, 192, 96]  # the third stage is a bottleneck: four times 48
    assert channels(empty("test_resnet:width=0.5")) == [16, 16, 24, 96, 48]
    assert channels(empty("resnet50_gn:width=0.3")) == [64, 128, 128, 256, 640]  # planes in whole groups of 32


def test_convnexts_scale_stages_and_transformers_their_embedding() -> None:
    assert channels(empty("convnext_atto:width=0.5")) == [20, 40, 80, 160]
    vit = empty("vit_tiny_patch16_224:width=0.4")
    assert (vit.embed_dim, vit.blocks[0].attn.num_heads) == (78, 3)  # type: ignore[index,union-attr]


def test_a_width_goes_with_other_arguments() -> None:
    assert channels(empty("resnet18:channels=(8,16,24,32),width=0.5")) == [64, 4, 8, 12, 16]
    assert empty("convnext_atto:width=0.5,drop_rate=0.25").head.drop.p == 0.25  # type: ignore[union-attr]


def test_width_one_is_the_architecture_itself() -> None:
    for name in ("test_efficientnet", "test_resnet", "test_convnext", "test_vit", "mobilenetv3_small_100"):
        shapes = [p.shape for p in timm.create_model(name, num_classes=10).parameters()]
        assert [p.shape for p in empty(f"{name}:width=1").parameters()] == shapes, name

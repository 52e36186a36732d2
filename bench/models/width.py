"""The argument ``width``, a factor on all numbers of channels, for our architectures and many of timm's.

Each family rounds its numbers of channels in its own way:

    ours                          to whole channels
    EfficientNets and MobileNets  as timm's width multiplier does: to multiples of 8; some heads keep their width
    ResNets                       to whole channels (whole groups, under a group norm); a plain stem stays 64 wide
    ConvNeXts                     to whole channels
    vision transformers           the embedding, to multiples of the number of heads, which stays

This must not change: stored models are rebuilt from their width.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import Any

import timm
import torch
from timm.models import ConvNeXt, EfficientNet, MobileNetV3, ResNet, VisionTransformer
from torch import nn

from bench.models.family import scaled
from bench.models.seeding import seeded

ROUNDING = ("timm.models.efficientnet", "timm.models.mobilenetv3")
"""Modules whose architectures have a fixed width multiplier, and round all channels by the function `round_channels`."""

Channels = dict[str, tuple[tuple[int, ...] | int, int]]
"""Arguments of an architecture that are numbers of channels: their values at width 1, and the number they are multiples of."""


def build(name: str, arguments: dict[str, Any]) -> nn.Module:
    """`timm.create_model`, with ``width`` for the families above; other architectures get it as an argument of their own.

    Raises:
        ValueError: the width is not a number above 0 and at most 100.
    """
    if "width" not in arguments:
        return _create(name, arguments)
    rest, width = {key: value for key, value in arguments.items() if key != "width"}, arguments["width"]
    if isinstance(width, bool) or not isinstance(width, (int, float)) or not 0 < width <= 100:
        raise ValueError(f"`0 < width <= 100` must hold, but got width={width!r}")
    scalable = _scalable(name, tuple(sorted((key, value) for key, value in rest.items() if key != "pretrained")))
    if scalable is None:
        return _create(name, arguments)
    if isinstance(scalable, ModuleType):
        with _multiplied(scalable, width):
            return _create(name, rest)
    return _create(name, {**rest, **{key: _times(*value, width) for key, value in scalable.items()}})


def _create(name: str, arguments: dict[str, Any]) -> nn.Module:
    model: nn.Module = timm.create_model(name, **arguments)
    return model


@lru_cache(maxsize=64)
def _scalable(name: str, arguments: tuple[tuple[str, Any], ...]) -> ModuleType | Channels | None:
    """What a width scales: the channels that a module rounds, or arguments; None for an architecture of no family above."""
    if name.partition(".")[0].endswith("_pruned"):
        return None  # timm cuts these to listed shapes
    with seeded(0), torch.device("meta"):
        dense = _create(name, dict(arguments))
    if isinstance(dense, (EfficientNet, MobileNetV3)):
        module = timm.models.model_entrypoint(name).__module__
        return sys.modules[module] if module in ROUNDING else None
    if isinstance(dense, ResNet):
        return _resnet(dense)
    if isinstance(dense, ConvNeXt):
        return {"dims": (tuple(int(stage["num_chs"]) for stage in _stages(dense)), 1)}
    if isinstance(dense, VisionTransformer):
        heads: Any = dense.blocks[0].attn
        return {"embed_dim": (int(dense.embed_dim), int(heads.num_heads))}
    return None


def _resnet(dense: ResNet) -> Channels:
    groups = max((m.num_groups for m in dense.modules() if isinstance(m, nn.GroupNorm)), default=1)
    stages = [(stage["num_chs"], getattr(dense, stage["module"])[0]) for stage in _stages(dense)[1:]]
    found: Channels = {"channels": (tuple(int(outputs // block.expansion) for outputs, block in stages), groups)}
    if isinstance(dense.conv1, nn.Sequential):
        last: Any = dense.conv1[-1]
        found["stem_width"] = int(last.out_channels) // 2, 1
    return found


def _stages(dense: nn.Module) -> list[dict[str, Any]]:
    """The facts of timm about the stages: channels ("num_chs") and name ("module") of each."""
    info: Any = dense.feature_info
    return list(info)


def _times(value: tuple[int, ...] | int, multiple: int, width: float) -> tuple[int, ...] | int:
    if isinstance(value, tuple):
        return tuple(multiple * scaled(v // multiple, width) for v in value)
    return multiple * scaled(value // multiple, width)


@contextmanager
def _multiplied(module: ModuleType, width: float) -> Iterator[None]:
    """Makes a module of timm round channels as if its multiplier were ``width`` times as large, inside the block.

    The architectures have no argument for that multiplier. Squeeze layers round without a multiplier and are unchanged.
    """
    plain = module.round_channels

    def wider(channels: float, multiplier: float | None = None, *rest: Any, **more: Any) -> Any:
        if multiplier is None:
            return plain(channels, 1.0, *rest, **more)
        return plain(channels, multiplier * width, *rest, **more)

    module.round_channels = wider  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.round_channels = plain  # type: ignore[attr-defined]

"""The input size of an architecture: the task's own where the architecture can process it, else the next that works."""

from __future__ import annotations

from functools import cache
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg
from torch import nn

from bench.errors import BenchError
from bench.models import width
from bench.models.architecture import parse
from bench.models.seeding import seeded

PROBE = (2, 7)
"""Images and classes of a test pass: unusual numbers, so that no other output has this shape by chance."""


def _configuration(name: str) -> PretrainedCfg:
    return timm.get_pretrained_cfg(name) or PretrainedCfg()  # an outside package may register a model without one


def build(model: str, *, classes: int, channels: int, size: int, **more: Any) -> nn.Module:
    """The architecture with its own arguments; an architecture of a fixed input size also gets ``img_size``."""
    name, arguments = parse(model)
    arguments = {**arguments, "num_classes": classes, "in_chans": channels}
    if _configuration(name).fixed_input_size:
        arguments["img_size"] = size
    return width.build(name, arguments | more)


def on_meta(model: str, *, classes: int, channels: int, size: int) -> nn.Module:
    """The architecture on the meta device: shapes without values."""
    with seeded(0), torch.device("meta"):
        return build(model, classes=classes, channels=channels, size=size)


def usual(model: str) -> int:
    """The side of the images that an architecture was designed for."""
    return int(_configuration(parse(model)[0]).input_size[-1])


@cache
def refusal(name: str, channels: int, size: int) -> str | None:
    """Why an architecture cannot be trained on (channels, size, size) images, or None where it can.

    The architecture is built on the meta device and gets two images in training mode: this checks shapes only.
    """
    images, classes = PROBE
    try:
        with seeded(0), torch.no_grad():
            model = on_meta(name, classes=classes, channels=channels, size=size)
            found = model.train()(torch.empty(images, channels, size, size, device="meta"))
    except Exception as error:  # for an impossible shape, timm and torch raise whatever the layer raises
        return told(error)
    patch = _patch(model)
    if size % patch:
        return f"its patches of {patch} pixels do not cover the image"
    if not isinstance(found, torch.Tensor) or found.shape != PROBE:
        return "it does not end in one score per class"
    return None


def _patch(model: nn.Module) -> int:
    """The side of the patches of the first layer, 1 where it has none; timm ignores pixels beyond the last whole patch."""
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None or first.kernel_size != first.stride:
        return 1
    return int(first.kernel_size[0])


def told(error: Exception) -> str:
    """The class of an error and the first sentence of its message, on one line."""
    text = f"{type(error).__name__}: {error}".split("\n")[0].split(". ")[0]
    return text.rstrip(" .:")[:150]


@cache
def input_size(name: str, channels: int, image_size: int) -> int:
    """The side of the square input, in pixels, for a task of ``image_size``.

    Tries ``image_size``, its doubles below the size that the architecture was designed for, and that size.

    Raises:
        BenchError: the architecture can process none of them.
    """
    largest = usual(name)
    sizes = [image_size]
    while 2 * sizes[-1] < largest:
        sizes.append(2 * sizes[-1])
    sizes.append(largest)
    for size in sizes:
        if refusal(name, channels, size) is None:
            return size
    raise BenchError(
        f"a model must process the task's images, but {name} takes {channels} x {sizes[0]} x {sizes[0]} at none of the "
        f"sizes {', '.join(map(str, sizes))} ({refusal(name, channels, sizes[-1])}); choose another model"
    )


def wanted(name: str, channels: int, size: int) -> int:
    """The wanted ``size``. Raises `BenchError` where the architecture cannot process it."""
    reason = refusal(name, channels, size)
    if reason is not None:
        raise BenchError(
            f"`image_size` must suit the model, but {name} cannot process {channels} x {size} x {size} ({reason}); "
            f"set image_size=0 to have a size chosen"
        )
    return size

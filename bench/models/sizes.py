"""Which input size an architecture is fed: the task's own where it can process it, else the smallest multiple."""

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
"""Images and classes of a trial pass; odd on purpose, so that nothing else has this shape by chance."""


def _configuration(name: str) -> PretrainedCfg:
    return timm.get_pretrained_cfg(name) or PretrainedCfg()  # an outside package may register a model without one


def build(model: str, *, classes: int, channels: int, size: int, **more: Any) -> nn.Module:
    """The architecture, with its own arguments; only those of a fixed input size are told it, as ``img_size``."""
    name, arguments = parse(model)
    fixed = {"img_size": size} if _configuration(name).fixed_input_size else {}
    return width.build(name, {**arguments, "num_classes": classes, "in_chans": channels, **fixed, **more})


def on_meta(model: str, *, classes: int, channels: int, size: int) -> nn.Module:
    """The architecture without storage: shapes and counts, no values."""
    with seeded(0), torch.device("meta"):
        return build(model, classes=classes, channels=channels, size=size)


def usual(model: str) -> int:
    """The side of the images that an architecture was made for."""
    return int(_configuration(parse(model)[0]).input_size[-1])


@cache
def refusal(name: str, channels: int, size: int) -> str | None:
    """Why an architecture cannot be trained on (channels, size, size) images, or None where it can.

    It is built on the meta device and fed two images in training mode: shapes are checked, nothing is computed.
    """
    images, classes = PROBE
    try:
        with seeded(0), torch.no_grad():
            model = on_meta(name, classes=classes, channels=channels, size=size)
            found = model.train()(torch.empty(images, channels, size, size, device="meta"))
    except Exception as error:  # timm and torch tell an impossible shape by whatever the layer happens to raise
        return told(error)
    patch = _patch(model)
    if size % patch:
        return f"its patches of {patch} pixels do not cover the image"
    if not isinstance(found, torch.Tensor) or found.shape != PROBE:
        return "it does not end in one score per class"
    return None


def _patch(model: nn.Module) -> int:
    """The side of the patches that the first layer cuts; where they do not tile the image, timm drops what is over."""
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    return int(first.kernel_size[0]) if first is not None and first.kernel_size == first.stride else 1


def told(error: Exception) -> str:
    """The kind of an error and its first sentence, on one line."""
    text = f"{type(error).__name__}: {error}".split("\n")[0].split(". ")[0]
    return text.rstrip(" .:")[:150]


@cache
def input_size(name: str, channels: int, image_size: int) -> int:
    """The side of the square input, in pixels, for a task of ``image_size``.

    Tries ``image_size``, its doubles below the size that the architecture was made for, and that size.

    Raises:
        BenchError: where none of them works.
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
    """``size``, the user's wish, or a `BenchError` where the architecture cannot process it."""
    reason = refusal(name, channels, size)
    if reason is not None:
        raise BenchError(
            f"`image_size` must suit the model, but {name} cannot process {channels} x {size} x {size} ({reason}); "
            f"set image_size=0 to have one chosen"
        )
    return size

"""Models by name: timm's architectures and ours, with initial weights drawn from a seed.

``model`` is always the text of an architecture (`bench.models.architecture`): a name, and arguments after a colon.
"""

from __future__ import annotations

import inspect
from functools import cache

import timm
from torch import nn

from bench.errors import BenchError, MissingData, one_of
from bench.models import sizes
from bench.models.architecture import OURS, parse
from bench.models.seeding import seeded
from bench.seeds import address


def names(pattern: str = "*") -> list[str]:
    """The architectures, ours included, whose names match a shell pattern."""
    found: list[str] = timm.list_models(pattern)
    return found


def families() -> list[str]:
    """The architectures that this project adds to timm's registry."""
    found: list[str] = timm.list_models(module="family")
    return found


def check(model: str) -> None:
    """Refuses an unknown architecture, unknown weights after its dot, and arguments that it does not take, each with the
    nearest name. A model with arguments is built, on the meta device.

    Raises:
        BenchError: the model cannot be built.
    """
    name, arguments = parse(model)
    architecture, dot, _ = name.partition(".")
    known = names()
    if architecture not in known:
        raise one_of("model", name, known, see="`bench list models`")
    tagged = timm.list_models(architecture, include_tags=True)
    if dot and name not in tagged:
        raise one_of("model", name, [architecture, *tagged])
    if arguments:
        _check_arguments(model)


@cache
def _check_arguments(model: str) -> None:
    name, arguments = parse(model)
    shape = {"classes": sizes.PROBE[1], "channels": 3, "size": sizes.usual(model)}
    try:
        sizes.on_meta(model, **shape)
    except Exception as error:  # an architecture that cannot be built raises whatever its layers raise
        known = set(inspect.signature(type(sizes.on_meta(name, **shape)).__init__).parameters) - {"self", *OURS}
        if isinstance(error, TypeError) and (unknown := sorted(arguments.keys() - known)):
            raise one_of(f"argument of {name}", unknown[0], known) from None
        raise BenchError(
            f"arguments must suit their model, but {model} cannot be built ({sizes.told(error)}); change them"
        ) from None


def input_size(model: str, *, channels: int, image_size: int, wanted_size: int = 0) -> int:
    """The side in pixels of a model's input: ``wanted_size``, or where that is 0 the task's own ``image_size`` or the size that
    the model needs. Raises `BenchError` where the model cannot process it."""
    if wanted_size:
        return sizes.wanted(model, channels, wanted_size)
    return sizes.input_size(model, channels, image_size)


def create(
    model: str,
    *,
    classes: int,
    channels: int,
    image_size: int,
    seed: int,
    wanted_size: int = 0,
    pretrained: bool = False,
) -> tuple[nn.Module, int]:
    """A model (fp32, on the CPU, in training mode) and its `input_size`.

    Weights are drawn from the address (seed, "init"), independently of the global generators, or are timm's if ``pretrained``.

    Raises:
        BenchError: the name is unknown, the model cannot process the input size, or timm has no weights for it.
        MissingData: pretrained weights could not be fetched.
    """
    check(model)
    name, arguments = parse(model)
    if pretrained and not timm.models.is_model_pretrained(name):
        raise BenchError(f"start=timm needs weights in timm, but {name} has none there; give a .safetensors file")
    size = input_size(model, channels=channels, image_size=image_size, wanted_size=wanted_size)
    with seeded(address(seed, "init")):
        if not pretrained:
            return sizes.build(model, classes=classes, channels=channels, size=size), size
        try:
            return sizes.build(model, classes=classes, channels=channels, size=size, pretrained=True), size
        except Exception as error:  # the hub's client raises errors of several libraries
            if arguments and isinstance(error, RuntimeError):  # torch raises it for weights of other shapes
                raise BenchError(
                    f"start=timm needs the shapes that timm trained, but {model} has others ({sizes.told(error)}); "
                    "leave the arguments out, or start from nothing"
                ) from None
            raise MissingData(
                f"start=timm must reach the pretrained weights of {name}, but got {sizes.told(error)}; "
                f"check the network, or give a .safetensors file"
            ) from None


def empty(model: str, *, classes: int, channels: int, image_size: int) -> nn.Module:
    """The architecture on the meta device, without values; ``image_size`` is its input size."""
    return sizes.on_meta(model, classes=classes, channels=channels, size=image_size)

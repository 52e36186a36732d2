"""Models by name: timm's architectures and ours, initialised from an address, and rebuilt from a stored plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import nn

from bench.errors import BenchError, Corrupt, MissingData, one_of
from bench.models import sizes
from bench.models.seeding import seeded
from bench.seeds import address

PLAN = ("model", "classes", "channels", "image_size")
"""The keys of a plan: the architecture, its number of classes, its input channels and its input's side in pixels."""


def names(pattern: str = "*") -> list[str]:
    """All architectures, ours among them, whose name matches a shell pattern."""
    found: list[str] = timm.list_models(pattern)
    return found


def families() -> list[str]:
    """The architectures that this project adds to timm's."""
    found: list[str] = timm.list_models(module="family")
    return found


def check(name: str) -> None:
    """Refuse an unknown architecture, or unknown weights after the dot, with the nearest name; builds nothing."""
    architecture, dot, _ = name.partition(".")
    known = names()
    if architecture not in known:
        raise one_of("model", name, known)
    tagged = timm.list_models(architecture, include_tags=True)
    if dot and name not in tagged:
        raise one_of("model", name, [architecture, *tagged])


def create(
    name: str,
    *,
    classes: int,
    channels: int,
    image_size: int,
    seed: int,
    wanted_size: int = 0,
    pretrained: bool = False,
) -> tuple[nn.Module, int]:
    """A model (fp32, on the CPU, in training mode) and the side in pixels of the images that it is to be fed.

    ``image_size`` is the task's own; ``wanted_size`` overrides it, 0 leaves the choice to `sizes.input_size`. Weights
    are drawn from (seed, "init"), whatever the global generators are, or are timm's where ``pretrained``.

    Raises:
        BenchError: unknown name, an input size that the model cannot process, no pretrained weights.
        MissingData: pretrained weights that could not be fetched.
    """
    check(name)
    if pretrained and not timm.models.is_model_pretrained(name):
        raise BenchError(f"start=timm needs weights in timm, but {name} has none there; give a .safetensors file")
    size = sizes.wanted(name, channels, wanted_size) if wanted_size else sizes.input_size(name, channels, image_size)
    arguments = sizes.arguments(name, classes=classes, channels=channels, size=size)
    with seeded(address(seed, "init")):
        if not pretrained:
            return timm.create_model(name, **arguments), size
        try:
            return timm.create_model(name, pretrained=True, **arguments), size
        except Exception as error:  # the hub's client raises errors of several libraries
            raise MissingData(
                f"start=timm must reach the pretrained weights of {name}, but got {sizes.told(error)}; "
                f"check the network, or give a .safetensors file"
            ) from None


def plan(model: nn.Module, name: str, *, classes: int, channels: int, image_size: int) -> dict[str, Any]:
    """What `rebuild` needs, as JSON values; ``image_size`` is the input size that `create` returned.

    Raises:
        BenchError: where ``model`` has not the weights of that architecture, so that the plan would describe another.
    """
    made = dict(zip(PLAN, (name, classes, channels, image_size), strict=True))
    with torch.device("meta"):
        expected = {k: v.shape for k, v in _build(made).state_dict().items()}
    differing = [k for k, v in model.state_dict().items() if expected.get(k) != v.shape]
    differing += [k for k in expected if k not in model.state_dict()]
    if differing:
        raise BenchError(f"a plan must describe its model, but {', '.join(differing[:3])} are not as in {name}")
    return made


def rebuild(plan: Mapping[str, Any]) -> nn.Module:
    """The architecture of a plan, always with the same arbitrary weights; the stored ones are loaded afterwards."""
    if sorted(plan) != sorted(PLAN):
        raise Corrupt(f"a plan must have the keys {', '.join(PLAN)}, but got {', '.join(plan) or 'none'}")
    check(plan["model"])
    return _build(plan)


def _build(plan: Mapping[str, Any]) -> nn.Module:
    arguments = sizes.arguments(
        plan["model"], classes=plan["classes"], channels=plan["channels"], size=plan["image_size"]
    )
    with seeded(address("rebuild")):
        model: nn.Module = timm.create_model(plan["model"], **arguments)
    return model

"""Plans: a finished model as an architecture's name, its arguments and its kept channels, from which it is rebuilt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from bench.errors import BenchError, Corrupt
from bench.models import check, sizes
from bench.models.architecture import frozen, parse, spell
from bench.models.seeding import seeded
from bench.seeds import address

PLAN = ("model", "arguments", "classes", "channels", "image_size")
"""The keys of a plan: the architecture's name and arguments (older plans lack them), its number of classes, its input
channels, and the side of its input in pixels."""

OPTIONAL: Mapping[str, Any] = {"arguments": {}, "kept": {}, "names": []}
"""Keys that a plan may lack, with what that means: ``names`` are those of the classes, in the order of the outputs."""


def plan(
    built: nn.Module,
    model: str,
    *,
    classes: int,
    channels: int,
    image_size: int,
    kept: Mapping[str, Any] | None = None,
    names: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns the plan of a model as JSON values, for `rebuild`.

    ``image_size`` is the input size that `create` returned; ``kept`` holds the kept positions where channels were removed (a
    `bench.channels.groups.Plan`); ``names`` are those of the classes, where they are known.

    Raises:
        BenchError: ``built`` does not have the weights of that architecture.
    """
    name, arguments = parse(model)
    made = dict(zip(PLAN, (name, arguments, classes, channels, image_size), strict=True))
    if kept:
        made["kept"] = dict(kept)
    if names:
        made["names"] = list(names)
    with torch.device("meta"):
        expected = {k: v.shape for k, v in rebuild(made).state_dict().items()}
    differing = [k for k, v in built.state_dict().items() if expected.get(k) != v.shape]
    differing += [k for k in expected if k not in built.state_dict()]
    if differing:
        raise BenchError(f"a plan must describe its model, but {', '.join(differing[:3])} are not as in {model}")
    return made


def rebuild(plan: Mapping[str, Any]) -> nn.Module:
    """Builds the architecture of a plan, always with the same arbitrary weights; stored weights are loaded afterwards.

    Raises:
        Corrupt: the plan lacks a key or has an unknown one.
    """
    whole = {**OPTIONAL, **plan}
    if sorted(whole) != sorted({*PLAN, *OPTIONAL}):
        raise Corrupt(f"a plan must have the keys {', '.join(PLAN)}, but got {', '.join(plan) or 'none'}")
    check(_text(whole))
    model = _build(whole)
    if whole["kept"]:
        from bench.channels.groups import shrink_  # here, because importing the tracer takes a second

        shrink_(model, whole["kept"])
    return model


def _text(plan: Mapping[str, Any]) -> str:
    return spell(plan["model"], {key: frozen(value) for key, value in plan["arguments"].items()})


def _build(plan: Mapping[str, Any]) -> nn.Module:
    with seeded(address("rebuild")):
        return sizes.build(_text(plan), classes=plan["classes"], channels=plan["channels"], size=plan["image_size"])

"""Plans: a finished model as an architecture's name, its arguments and the channels that are left, from which it is
built again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from bench.errors import BenchError, Corrupt
from bench.models import check, sizes
from bench.models.architecture import frozen, parse, spell
from bench.models.seeding import seeded
from bench.seeds import address

PLAN = ("model", "arguments", "classes", "channels", "image_size")
"""The keys of a plan: the architecture's name and arguments (older plans have none), its number of classes, its input
channels and its input's side in pixels."""


def plan(
    built: nn.Module, model: str, *, classes: int, channels: int, image_size: int, kept: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What `rebuild` needs, as JSON values; ``image_size`` is the input size that `create` returned, ``kept`` what is left
    of the architecture's channels, where some were removed (a `bench.channels.groups.Plan`).

    Raises:
        BenchError: where ``built`` has not the weights of that architecture, so that the plan would describe another.
    """
    name, arguments = parse(model)
    made = dict(zip(PLAN, (name, arguments, classes, channels, image_size), strict=True))
    made |= {"kept": dict(kept)} if kept else {}
    with torch.device("meta"):
        expected = {k: v.shape for k, v in rebuild(made).state_dict().items()}
    differing = [k for k, v in built.state_dict().items() if expected.get(k) != v.shape]
    differing += [k for k in expected if k not in built.state_dict()]
    if differing:
        raise BenchError(f"a plan must describe its model, but {', '.join(differing[:3])} are not as in {model}")
    return made


def rebuild(plan: Mapping[str, Any]) -> nn.Module:
    """The architecture of a plan, always with the same arbitrary weights; the stored ones are loaded afterwards."""
    whole = {"arguments": {}, "kept": {}, **plan}
    if sorted(whole) != sorted([*PLAN, "kept"]):
        raise Corrupt(f"a plan must have the keys {', '.join(PLAN)}, but got {', '.join(plan) or 'none'}")
    check(_text(whole))
    model = _build(whole)
    if whole["kept"]:
        from bench.channels.groups import (
            shrink_,  # here, because the tracer that it comes with takes a second to import
        )

        shrink_(model, whole["kept"])
    return model


def _text(plan: Mapping[str, Any]) -> str:
    return spell(plan["model"], {key: frozen(value) for key, value in plan["arguments"].items()})


def _build(plan: Mapping[str, Any]) -> nn.Module:
    with seeded(address("rebuild")):
        return sizes.build(_text(plan), classes=plan["classes"], channels=plan["channels"], size=plan["image_size"])

"""Channel groups: which slices of which tensors must be removed together. Groups are found by a trace, then verified.

The removal of one output channel of a convolution also removes its position in the batch norm after it, in each tensor that is
added to its output, and in each layer that reads it. `bench.channels.couplings` finds these coupled slices: a `Group` of C
channels lists its members, each a set of positions along one dimension of a named parameter or buffer, with the channel of each
position. Each group is verified on the model itself (`sound`) before it is used.
"""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from bench.channels.couplings import Group, Member, Traced, outputs, sites, trace
from bench.channels.kernels import (
    Kept,
    Plan,
    dots,
    forget_,
    keep,
    norms,
    reorder_,
    scale_,
    shrink_,
    tensors,
    then,
    zero_,
)
from bench.errors import Ineffective
from bench.seeds import generator

__all__ = [
    "Group",
    "Kept",
    "Member",
    "Plan",
    "dots",
    "find",
    "forget_",
    "keep",
    "norms",
    "outputs",
    "prove",
    "ready",
    "reorder_",
    "same",
    "scale_",
    "shrink_",
    "sound",
    "tensors",
    "then",
    "unsound",
    "zero_",
]

T = TypeVar("T")


def find(model: nn.Module, example: Tensor) -> list[Group]:
    """Finds all groups of removable channels, in the model's order, without the classifier's outputs.

    A group that fails verification (`sound`) is dropped; the rest of the model can still be pruned.

    Args:
        model: on any device; its mode, weights and gradients do not change.
        example: images (N, C, H, W).

    Raises:
        Ineffective: the model cannot be traced, with the reason, or it has no removable channels.
    """
    try:
        replica, images = ready(model, example)
        traced = trace(replica, images)
        found, reason = prove(replica, images, traced), f"none of {len(traced.groups)} groups can be removed"
    except Exception as error:  # a model that cannot be traced may raise any error
        found, reason = [], _one_line(error)
    if not found:
        raise Ineffective(
            f"structured pruning needs removable channels, but got {reason}; "
            "choose another model, or a method that masks weights"
        )
    return found


def ready(model: nn.Module, example: Tensor) -> tuple[nn.Module, Tensor]:
    """Returns a randomised copy in eval mode and two images (2, C, H, W), on the CPU, for trace and verification.

    Both are float64, so that tolerances can be small, unless the model's code runs in another precision only.
    """
    replica, images = _stirred(model), torch.cat([example[:1], example[-1:].flip(-1)]).detach().cpu()
    double = copy.deepcopy(replica).double()
    try:
        with torch.no_grad():
            double(images.double())
    except RuntimeError:
        return replica, images
    return double, images.double()


def prove(model: nn.Module, images: Tensor, found: Traced) -> list[Group]:
    """Returns the traced groups that are `sound` together; in place of one that is not, its alternatives that are."""
    proved = _largest_sound(model, images, found.groups, [])
    missing = [g for g in found.groups if g.root not in {p.root for p in proved}]
    instead = list({g.root: g for m in missing for g in found.instead[m.root]}.values())
    if instead:
        proved += _largest_sound(model, images, instead, proved)
    proved = needed(model, images, proved)
    order = {name: place for place, (name, _) in enumerate(model.named_modules())}
    return sorted(proved, key=lambda g: order[g.root.partition("/")[0]])


def _largest_sound(model: nn.Module, images: Tensor, tried: Sequence[Group], before: Sequence[Group]) -> list[Group]:
    """Returns the groups that are sound together with those ``before``: all at once, or else by halves.

    Groups whose names differ only in numbers, such as the layers of one stack, are split last, and only if the first or the
    last of them is sound.
    """
    if not tried or sound(model, images, [*before, *tried]):
        return list(tried)
    kinds = defaultdict[str, list[Group]](list)
    for group in tried:
        kinds[re.sub(r"\d+", "#", group.root)].append(group)
    if len(kinds) > 1:
        parts = [[g for k in half for g in kinds[k]] for half in _halves(list(kinds))]
    elif len(tried) > 2 and not any(sound(model, images, [*before, g]) for g in (tried[0], tried[-1])):
        return []
    elif len(tried) > 1:
        parts = _halves(list(tried))
    else:
        return []
    found = list[Group]()
    for part in parts:
        found += _largest_sound(model, images, part, [*before, *found])
    return found


def _halves(items: list[T]) -> list[list[T]]:
    return [items[: len(items) // 2], items[len(items) // 2 :]]


def needed(model: nn.Module, images: Tensor, groups: Sequence[Group]) -> list[Group]:
    """Returns the groups without the sites whose code computes the right sizes by itself after any removal."""
    wrong = set[str]()
    for losing in _separated(groups):
        smaller = copy.deepcopy(model)
        shrink_(smaller, keep(smaller, groups, uneven(losing)))
        names = {id(module): name for name, module in smaller.named_modules()}

        def note(module: sites.Sited, site: str, asked: list[int], got: list[tuple[Tensor, int]]) -> None:
            name = names[id(module)]  # noqa: B023
            for place, (tensor, dim) in enumerate(got):
                if place >= len(asked) or asked[place] not in (-1, tensor.shape[dim]):
                    wrong.add(f"{name}.@{site}:{place}".removeprefix("."))

        with torch.no_grad(), sites.watch(smaller, note):
            smaller(images)
    return [replace(g, members=tuple(m for m in g.members if "@" not in m.name or m.name in wrong)) for g in groups]


def _separated(groups: Sequence[Group]) -> list[list[Group]]:
    """Returns all groups with sites, and parts of them in which no two groups have sites in one module.

    Removed together, two small groups could have equal sizes by chance; the parts show which of them a site depends on.
    """
    owners = {g.root: {m.name.partition("@")[0] for m in g.members if "@" in m.name} for g in groups}
    sited, parts = [g for g in groups if owners[g.root]], list[list[Group]]()
    for group in sited:
        free = (p for p in parts if not any(owners[group.root] & owners[other.root] for other in p))
        part = next(free, None)
        if part is None:
            parts.append([group])
        else:
            part.append(group)
    if len(parts) > 1:
        return [sited, *parts]
    return parts


def uneven(groups: Sequence[Group]) -> dict[str, Tensor]:
    """Returns about half of the channels of each group, a different share of each, so that wrongly separated groups show."""
    found = dict[str, Tensor]()
    for group in groups:
        source = generator("groups", "uneven", group.root)
        count = max(1, round(group.channels * (0.3 + 0.4 * float(torch.rand((), generator=source)))))
        found[group.root] = torch.randperm(group.channels, generator=source)[:count].sort().values
    return found


def _stirred(model: nn.Module) -> nn.Module:
    """Returns a copy in eval mode whose scales, shifts and statistics differ between channels. Initial ones are equal, often
    zero, and would hide a wrong coupling."""
    replica, source = copy.deepcopy(model).cpu().eval(), generator("groups", "stir")
    with torch.no_grad():
        for tensor in tensors(replica).values():
            if not tensor.is_floating_point():
                continue
            if tensor.dim() <= 1:
                tensor.mul_(0.5 + torch.rand(tensor.shape, generator=source))
                tensor.add_(0.1 + 0.1 * torch.rand(tensor.shape, generator=source))
            elif isinstance(tensor, nn.Parameter) and tensor.numel() > 1 and float(tensor.std()) < 1e-3:
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=source))
    return replica


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no reason'])[0][:120]}"


def sound(model: nn.Module, images: Tensor, groups: Sequence[Group]) -> bool:
    """Verifies on a model in eval mode that some groups contain all coupled slices.

    Reordering the channels of each group in all its members must not change the outputs (this holds through layer norms too,
    unlike masking). After removal of about half of the channels the model must run forward and backward, and forward if
    channels are removed from every other group only.
    """
    return unsound(model, images, groups) is None


def unsound(model: nn.Module, images: Tensor, groups: Sequence[Group]) -> str | None:
    """Returns why some groups are not `sound`, or None where they are."""
    try:
        with torch.no_grad():
            before, reordered = model(images), copy.deepcopy(model)
            for group in groups:
                reorder_(reordered, group, torch.arange(group.channels).roll(1))
            forget_(reordered)
            if not same(reordered(images), before):
                return "reordering changes what the model computes"
        parts = [groups]
        if len(groups) > 1:
            parts += [groups[::2], groups[1::2]]
        for part in parts:
            smaller = copy.deepcopy(model)
            shrink_(smaller, keep(smaller, part, uneven(part)))
            with torch.set_grad_enabled(part is groups):
                out = smaller(images)
            if part is groups:
                out.sum().backward()
    except Exception as error:  # layers raise different errors for shapes that do not match
        return f"made smaller, the model fails: {_one_line(error)}"
    return None


def same(one: Tensor, other: Tensor) -> bool:
    """Returns whether two outputs of whole networks are equal up to rounding."""
    rtol, atol = 1e-3, 1e-4
    if other.dtype == torch.float64:
        rtol, atol = 1e-5, 1e-6
    return torch.allclose(one, other, rtol=rtol, atol=atol * float(other.abs().max()))

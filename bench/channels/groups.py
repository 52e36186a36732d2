"""Channel groups: which slices of which tensors must leave together, and what can be done to such a group.

Removing one output channel of a convolution also removes its place in the batch norm behind it, in whatever is added to
it, and in every layer that reads it. `bench.channels.couplings` finds these couplings and tells them as plain data:
a `Group` of C
channels lists its members, each a set of positions along one dimension of a named parameter or buffer, with the channel
that each position belongs to. Nothing is believed before it is proved on the model itself (`sound`).
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
    """All groups of a model that can lose channels, in the model's order; the classifier's outputs are not among them.

    A group that fails the proof (`sound`) is left out; the rest of the model can still be pruned.

    Args:
        model: on any device; its mode, weights and gradients are left as they were.
        example: images (N, C, H, W).

    Raises:
        Ineffective: where the model cannot be followed, with the reason, or where no group is left.
    """
    try:
        replica, images = ready(model, example)
        traced = trace(replica, images)
        found, reason = prove(replica, images, traced), f"none of {len(traced.groups)} groups here can leave"
    except Exception as error:  # whatever a model happens to raise that is not made to be followed
        found, reason = [], _told(error)
    if not found:
        raise Ineffective(
            f"structured pruning needs channels that can leave, but got {reason}; "
            "choose another model, or a method that masks weights"
        )
    return found


def ready(model: nn.Module, example: Tensor) -> tuple[nn.Module, Tensor]:
    """What is traced and proved on: a stirred copy in eval mode and two images (2, C, H, W), on the CPU. Both are float64,
    where tolerances are sharp, unless the model's code insists on another precision."""
    replica, images = _stirred(model), torch.cat([example[:1], example[-1:].flip(-1)]).detach().cpu()
    double = copy.deepcopy(replica).double()
    try:
        with torch.no_grad():
            double(images.double())
    except RuntimeError:
        return replica, images
    return double, images.double()


def prove(model: nn.Module, images: Tensor, found: Traced) -> list[Group]:
    """Those of the traced groups that are `sound`, all together; where one is not, what could leave instead of it."""
    proved = _sound_ones(model, images, found.groups, [])
    missing = [g for g in found.groups if g.root not in {p.root for p in proved}]
    instead = list({g.root: g for m in missing for g in found.instead[m.root]}.values())
    if instead:
        proved += _sound_ones(model, images, instead, proved)
    proved = needed(model, images, proved)
    order = {name: place for place, (name, _) in enumerate(model.named_modules())}
    return sorted(proved, key=lambda g: order[g.root.partition("/")[0]])


def _sound_ones(model: nn.Module, images: Tensor, tried: Sequence[Group], before: Sequence[Group]) -> list[Group]:
    """The groups that are sound together with those ``before``: all at once, or else one half after the other. Groups
    that differ in their numbers only, as the layers of one stack do, are halved last, and only if an end of them is sound.
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
    else:
        parts = _halves(list(tried)) if len(tried) > 1 else []
    found = list[Group]()
    for part in parts:
        found += _sound_ones(model, images, part, [*before, *found])
    return found


def _halves(items: list[T]) -> list[list[T]]:
    return [items[: len(items) // 2], items[len(items) // 2 :]]


def needed(model: nn.Module, images: Tensor, groups: Sequence[Group]) -> list[Group]:
    """The groups without the sites whose code works out the right sizes by itself, whatever leaves."""
    wrong = set[str]()
    for losing in _apart(groups):
        smaller = copy.deepcopy(model)
        shrink_(smaller, keep(smaller, groups, uneven(losing)))
        names = {id(module): name for name, module in smaller.named_modules()}

        def note(module: sites.Sited, site: str, asked: list[int], got: list[tuple[Tensor, int]]) -> None:
            name = names[id(module)]  # noqa: B023
            for place, (tensor, dim) in enumerate(got):
                if place >= len(asked) or asked[place] not in (-1, tensor.shape[dim]):
                    wrong.add(f"{name}.@{site}:{place}" if name else f"@{site}:{place}")

        with torch.no_grad(), sites.watch(smaller, note):
            smaller(images)
    return [replace(g, members=tuple(m for m in g.members if "@" not in m.name or m.name in wrong)) for g in groups]


def _apart(groups: Sequence[Group]) -> list[list[Group]]:
    """The groups with sites together, and such parts of them that of any two with sites in one module each leaves in a part
    without the other: two of a few channels each may be left with as many by chance."""
    owners = {g.root: {m.name.partition("@")[0] for m in g.members if "@" in m.name} for g in groups}
    sited, parts = [g for g in groups if owners[g.root]], list[list[Group]]()
    for group in sited:
        clear = (p for p in parts if not any(owners[group.root] & owners[other.root] for other in p))
        part = next(clear, None)
        if part is None:
            parts.append(part := [])
        part.append(group)
    return [sited, *parts] if len(parts) > 1 else parts


def uneven(groups: Sequence[Group]) -> dict[str, Tensor]:
    """About half of the channels of each group, of each another number: what two groups must share shows."""
    found = dict[str, Tensor]()
    for group in groups:
        source = generator("groups", "uneven", group.root)
        count = max(1, round(group.channels * (0.3 + 0.4 * float(torch.rand((), generator=source)))))
        found[group.root] = torch.randperm(group.channels, generator=source)[:count].sort().values
    return found


def _stirred(model: nn.Module) -> nn.Module:
    """A copy in eval mode whose scales, shifts and statistics differ from channel to channel: fresh ones are all alike,
    often zero, and would hide a wrong coupling."""
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


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no reason'])[0][:120]}"


def sound(model: nn.Module, images: Tensor, groups: Sequence[Group]) -> bool:
    """Whether some groups hold all that belongs together, seen on a model in eval mode: reordering the channels of each
    group in all its members leaves the outputs as they are (also through layer norms, which masking does not), and the
    model that has lost about half of them runs forward and backward, and forward where every other group is whole."""
    return unsound(model, images, groups) is None


def unsound(model: nn.Module, images: Tensor, groups: Sequence[Group]) -> str | None:
    """Why some groups are not `sound`, or None where they are."""
    try:
        with torch.no_grad():
            before, reordered = model(images), copy.deepcopy(model)
            for group in groups:
                reorder_(reordered, group, torch.arange(group.channels).roll(1))
            forget_(reordered)
            if not same(reordered(images), before):
                return "reordering changes what the model computes"
        for part in (groups, groups[::2], groups[1::2]) if len(groups) > 1 else (groups,):
            smaller = copy.deepcopy(model)
            shrink_(smaller, keep(smaller, part, uneven(part)))
            with torch.set_grad_enabled(part is groups):
                out = smaller(images)
            if part is groups:
                out.sum().backward()
    except Exception as error:  # shapes that do not fit any more, told by whatever the layer happens to raise
        return f"made smaller, the model fails: {_told(error)}"
    return None


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs are equal but for rounding, in whole networks."""
    rtol, atol = (1e-5, 1e-6) if other.dtype == torch.float64 else (1e-3, 1e-4)
    return torch.allclose(one, other, rtol=rtol, atol=atol * float(other.abs().max()))

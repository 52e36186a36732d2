"""Channel groups from a trace: which slices of which tensors, and which numbers in a model's code, change together.

Each axis that the trace (`bench.channels.couplings.flow`) leaves free becomes a group, with a member for each tensor that has
the axis and for each size that the code states explicitly (`bench.channels.couplings.sites`). Some dimensions are products of
axes, such as heads and the channels of a head, or the groups of a grouped convolution and the channels of a group. Only one of
these axes can lose positions: the outer one, or the inner one where the outer one fails verification.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn

from bench import masks
from bench.channels.couplings import sites
from bench.channels.couplings.axes import Axis, Dim, Factor, Sum, extent, free, length, resolve
from bench.channels.couplings.flow import Flow, follow

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.PReLU)


@dataclass(frozen=True)
class Member:
    """Positions ``index`` (m,) along ``dim`` of the tensor ``name``; position i belongs to channel ``channel[i]``.

    ``kind`` is "out" (a layer's output rows and biases), "in" (a layer's input columns), "norm" (scale, shift and running
    statistics of a normalisation), "other" (a parameter outside of layers, such as a layer scale), or "size". A "size" is not
    a tensor but a number: an attribute of a module (``blocks.0.attn.num_heads``) or a site in its code
    (``blocks.0.attn.@forward:2:1``), which is ``size`` before channels are removed.
    """

    name: str
    dim: int
    index: Tensor
    channel: Tensor
    kind: str
    size: int = 0


@dataclass(frozen=True)
class Group:
    """``channels`` that can be removed one by one. ``root`` is the name of a layer whose outputs they are, followed by "/2"
    and so on where that layer's outputs form several groups.

    A channel is what is removed as a whole: a channel of a convolution, a head of an attention, a group of a grouped
    convolution. Where a group is ``exact``, masking a channel by zeros equals its removal; otherwise an operation that reads
    all channels at once, such as a layer norm, makes a difference. A group that is not ``removable`` can only be masked: the
    model does not get smaller, and no speed-up may be claimed.
    """

    root: str
    channels: int
    members: tuple[Member, ...]
    exact: bool = True
    removable: bool = True


@dataclass
class Traced:
    """The groups of a model, the alternatives to each (``instead``, by root), the output dimension of each weight (``rows``),
    and how often each operation without a rule occurred (``unknown``)."""

    groups: list[Group]
    instead: dict[str, list[Group]]
    rows: dict[str, Dim] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)


_Calls: TypeAlias = dict[tuple[str, str], list[tuple[int, Dim]]]
_Names: TypeAlias = Mapping[tuple[str, str], list[str]]


def trace(model: nn.Module, images: Tensor) -> Traced:
    """Traces a model in eval mode on the first of several images (N, C, H, W), and returns its channel groups.

    A second run on all images finds the sizes that depend on the number of images.
    """
    calls: _Calls = defaultdict(list)
    names = {id(module): name for name, module in model.named_modules()}

    def note(module: sites.Sited, site: str, asked: list[int], got: list[tuple[Tensor, int]]) -> None:
        for place, (size, (tensor, dim)) in enumerate(zip(asked, got, strict=False)):
            if tensor.shape[dim] > 1:
                calls[names[id(module)], f"{site}:{place}"].append((size, flow.known[id(tensor)][1][dim]))

    def compare(module: sites.Sited, site: str, asked: list[int], got: list[tuple[Tensor, int]]) -> None:
        for place, size in enumerate(asked):
            seen = calls.get((names[id(module)], f"{site}:{place}"), [])
            for index, (before, dim) in enumerate(seen):
                if size != before:
                    seen[index] = (-1, dim)

    flow = Flow(model)
    with sites.watch(model, note):
        found = [(names[id(m)], m) for m in model.modules() if isinstance(m, sites.Sited)]
        named: _Names = {(n, site): names for n, m in found for site, names in m._attributes.items()}
        follow(flow, images[:1])
    with torch.no_grad(), sites.watch(model, compare):
        model(images)
    parts = _tensors(model, flow)
    members = {axis: list[Member]() for _, _, dim in parts for axis in free(dim)}
    for name, d, dim in parts:
        owner = model.get_submodule(name.rpartition(".")[0])
        for axis, index, channel in positions(dim):
            members[axis].append(Member(name, d, index, channel, _kind(owner, d)))
    inside = {axis: {"", *(p for m in found for p in _above(m.name))} for axis, found in members.items()}
    for name, dim in _sizes(model, calls, named):
        _count(name, dim, members, inside)
    return _chosen(model, flow, parts, members)


def _above(name: str) -> Iterable[str]:
    """Yields the names of the modules that contain a tensor, from the inside outwards."""
    name = name.rpartition(".")[0]
    while name:
        yield name
        name = name.rpartition(".")[0]


def _count(name: str, dim: Dim, members: dict[Axis, list[Member]], inside: Mapping[Axis, set[str]]) -> None:
    """Adds a size in the code to the members of its axes.

    Other axes in the same module get an empty member for it, because their removal must not change it:
    ``C // self.num_heads`` is the size of a head even after C has changed.
    """
    size, along = extent(dim), positions(dim)
    for axis, index, channel in along:
        if axis in members:
            members[axis].append(Member(name, 0, index, channel, "size", size))
    module, site, _ = name.partition("@")
    if not site:
        return
    none = torch.zeros(0, dtype=torch.int64)
    for axis in members:
        if all(axis is not other for other, _, _ in along) and module.rstrip(".") in inside[axis]:
            members[axis].append(Member(name, 0, none, none, "size", size))


def _tensors(model: nn.Module, flow: Flow) -> list[tuple[str, int, Dim]]:
    """Returns each dimension of each parameter and buffer that the trace has read, in the model's order."""
    found, seen = list[tuple[str, int, Dim]](), set[int]()
    for module_name, module in model.named_modules():
        for leaf, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if id(tensor) in flow.read and id(tensor) not in seen:
                seen.add(id(tensor))
                name = f"{module_name}.{leaf}".removeprefix(".")
                found += [(name, d, dim) for d, dim in enumerate(flow.of(tensor))]
    return found


def positions(dim: Dim) -> list[tuple[Axis, Tensor, Tensor]]:
    """Returns each axis of a resolved dimension with its positions in it (m,), and the axis's channel at each (m,)."""
    found, start = dict[Axis, list[tuple[Tensor, Tensor]]](), 0
    for segment in dim:
        size, inner = length(segment), length(segment)
        for factor in segment:
            inner //= factor.size
            along = torch.arange(size) // inner % factor.size
            for axis, index, channel in _inside(factor):
                owner = torch.full((factor.size,), -1)
                owner[index] = channel
                here = (owner[along] >= 0).nonzero()[:, 0]
                found.setdefault(axis, []).append((start + here, owner[along][here]))
        start += size
    return [(a, torch.cat([i for i, _ in p]), torch.cat([c for _, c in p])) for a, p in found.items()]


def _inside(factor: Factor) -> list[tuple[Axis, Tensor, Tensor]]:
    if isinstance(factor, Axis):
        return [(factor, torch.arange(factor.size), torch.arange(factor.size))]
    if isinstance(factor, Sum):
        return positions(factor.parts)
    return []


def _kind(owner: nn.Module, dim: int) -> str:
    """Returns the kind of a member (see `Member`) along one dimension of a tensor of a module."""
    transposed = isinstance(owner, nn.modules.conv._ConvTransposeNd)
    if transposed or isinstance(owner, masks.LAYERS):
        if (dim == 1) == transposed:  # transposed weights are (inputs, outputs, ...)
            return "out"
        return "in"
    is_leaf = not any(True for _ in owner.children())
    if isinstance(owner, NORMS) or (is_leaf and "Norm" in type(owner).__name__):
        return "norm"
    return "other"


def _sizes(model: nn.Module, calls: _Calls, named: _Names) -> Iterable[tuple[str, Dim]]:
    """Yields the sizes in the code with their dimensions: attributes of modules, and sites that use no such attribute."""
    dims = {key: resolve(seen[0][1]) for key, seen in calls.items()}
    dims = {key: d for key, d in dims.items() if all(resolve(o) == d for _, o in calls[key])}  # the same in all calls
    claims = defaultdict[str, set[Dim]](set)
    sited = list[tuple[str, Dim, list[str]]]()
    for (name, site), dim in dims.items():
        prefix, own = f"{name}.".removeprefix("."), vars(model.get_submodule(name))
        used = list[str]()
        for attribute in named.get((name, site), ()):
            meant = next((d for d in _pieces(dim) if extent(d) == own.get(attribute)), None)
            if meant is not None and type(own[attribute]) is int and any(True for _ in free(meant)):
                claims[prefix + attribute].add(meant)
                used.append(prefix + attribute)
        if calls[name, site][0][0] > 0:  # other sizes depend on the number of images
            sited.append((f"{prefix}@{site}", dim, used))
    clear = {name: next(iter(meant)) for name, meant in claims.items() if len(meant) == 1}
    return [*clear.items(), *((site, dim) for site, dim, used in sited if not clear.keys() & set(used))]


def _pieces(dim: Dim) -> Iterable[Dim]:
    """Returns the dimensions that an attribute in the expression of a size may mean: the whole one, or a single axis."""
    return [dim, *(((factor,),) for segment in dim for factor in segment if isinstance(factor, Axis))]


def _chosen(
    model: nn.Module, flow: Flow, parts: list[tuple[str, int, Dim]], members: dict[Axis, list[Member]]
) -> Traced:
    """Chooses axes of which no two share a segment, the outermost first, and returns their groups and the alternatives."""
    neighbours, depth = defaultdict[Axis, dict[Axis, None]](dict), defaultdict[Axis, int](int)
    for _, _, dim in parts:
        for axis, outer, inner in _nested(dim):
            neighbours[axis] |= dict.fromkeys((*outer, *inner))
            depth[axis] = max(depth[axis], len(outer))
    order = {name: place for place, name in enumerate(n for n, _ in model.named_modules())}
    usable = {a: _roots(m, order) for a, m in members.items()}
    usable = {a: r for a, r in usable.items() if r}
    taken, used = dict[Axis, None](), dict[Axis, str]()
    for axis in sorted(usable, key=lambda a: depth[a]):
        if not neighbours[axis].keys() & taken:
            taken[axis] = None
    for axis in sorted(usable, key=lambda a: (a not in taken, order[usable[a][0]])):
        several = (f"{usable[axis][0]}/{n}" for n in itertools.count(2))  # for a layer with several kinds of outputs
        used[axis] = next(r for r in itertools.chain(usable[axis], several) if r not in used.values())
    made = {a: Group(root, a.size, _unique(members[a]), not a.mixed) for a, root in used.items()}
    groups = sorted((made[a] for a in taken), key=lambda g: order[g.root.partition("/")[0]])
    instead = {
        made[a].root: [made[b] for b in neighbours[a] if b in made and not neighbours[b].keys() & (taken.keys() - {a})]
        for a in taken
    }
    rows = {name: dim for name, d, dim in parts if d == 0 and name.endswith("weight")}
    return Traced(groups, instead, rows, dict(flow.unknown))


def _nested(dim: Dim, around: tuple[Axis, ...] = ()) -> Iterable[tuple[Axis, tuple[Axis, ...], tuple[Axis, ...]]]:
    """Yields each axis of a resolved dimension with the other axes of its product: those outside of it and inside."""
    for segment in dim:
        for place, factor in enumerate(segment):
            outer = (*around, *(a for f in segment[:place] for a in free(((f,),))))
            inner = tuple(a for f in segment[place + 1 :] for a in free(((f,),)))
            if isinstance(factor, Axis):
                yield factor, outer, inner
            elif isinstance(factor, Sum):
                for axis, before, after in _nested(factor.parts, outer):
                    yield axis, before, (*after, *inner)


def _roots(members: list[Member], order: Mapping[str, int]) -> list[str]:
    """Returns the layers whose outputs are among the members, in the model's order."""
    owners = {m.name.rpartition(".")[0] for m in members if m.kind == "out" and m.name.endswith(".weight")}
    return sorted(owners, key=lambda name: order[name])


def _unique(members: list[Member]) -> tuple[Member, ...]:
    """Returns the members without repetitions: several sites may use one attribute."""
    found = dict[tuple[str, int], Member]()
    for member in members:
        found.setdefault((member.name, member.dim), member)
    return tuple(found.values())

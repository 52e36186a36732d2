"""Couplings: which slices of which tensors, and which numbers in a model's code, must change together.

A model is followed once (`bench.channels.couplings.flow`); each axis that is left free becomes a group, with a member for every
tensor that it runs through and for every size that the code spells out (`bench.channels.couplings.sites`). Of axes
that make up one
dimension together, such as heads and the channels of a head, or the groups of a grouped convolution and the channels of a
group, one can leave: the outer one, or the inner one where the outer turns out not to.
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
    statistics of a normalisation), "other" (a parameter outside of layers, such as a layer scale), or "size": then ``name``
    is no tensor but a number that a module remembers (``blocks.0.attn.num_heads``) or that its code works out
    (``blocks.0.attn.@forward:2:1``, a site), which counts ``size`` positions while nothing has left.
    """

    name: str
    dim: int
    index: Tensor
    channel: Tensor
    kind: str
    size: int = 0


@dataclass(frozen=True)
class Group:
    """``channels`` that leave one by one, named after a layer whose outputs they are: ``root``, with "/2" and so on behind
    it where the layer's outputs are of several kinds.

    A channel is what can leave: a channel of a convolution, a head of an attention, a group of a grouped convolution.
    Where ``exact``, a channel masked by zeros is as good as gone; otherwise something that looks at all channels at once,
    such as a layer norm, sees the difference. What is not ``removable`` can be masked only: the model gets no smaller, and
    must not be said to be faster.
    """

    root: str
    channels: int
    members: tuple[Member, ...]
    exact: bool = True
    removable: bool = True


@dataclass
class Traced:
    """The groups of a model, what to try instead of one that fails, and every layer's outputs
    (`bench.channels.couplings.axes`)."""

    groups: list[Group]
    instead: dict[str, list[Group]]
    rows: dict[str, Dim] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)


_Calls: TypeAlias = dict[tuple[str, str], list[tuple[int, Dim]]]
_Names: TypeAlias = Mapping[tuple[str, str], list[str]]


def trace(model: nn.Module, images: Tensor) -> Traced:
    """Follow a model in eval mode on one of several images (N, C, H, W), and collect what is coupled."""
    calls: _Calls = defaultdict(list)
    names = {id(module): name for name, module in model.named_modules()}

    def note(module: sites.Sited, site: str, asked: list[int], got: list[tuple[Tensor, int]]) -> None:
        for place, (size, (tensor, dim)) in enumerate(zip(asked, got, strict=False)):
            if tensor.shape[dim] > 1:
                calls[names[id(module)], f"{site}:{place}"].append((size, flow.known[id(tensor)][1][dim]))

    def compare(module: sites.Sited, site: str, asked: list[int], got: list[tuple[Tensor, int]]) -> None:
        for place, size in enumerate(asked):
            key = names[id(module)], f"{site}:{place}"
            if key in calls:
                calls[key] = [(size if size == before else -1, dim) for before, dim in calls[key]]

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
    """The modules that a tensor lies in."""
    while name := name.rpartition(".")[0]:
        yield name


def _count(name: str, dim: Dim, members: dict[Axis, list[Member]], inside: Mapping[Axis, set[str]]) -> None:
    """Enter a number that the code spells out into the members of its axes. What other axes do must not change it where
    they run through the same module: ``C // self.num_heads`` is the size of a head even if C is not what it was."""
    size, along = extent(dim), positions(dim)
    for axis, index, channel in along:
        if axis in members:
            members[axis].append(Member(name, 0, index, channel, "size", size))
    module, site, _ = name.partition("@")
    none = torch.zeros(0, dtype=torch.int64)
    for axis in members.keys() if site else ():
        if all(axis is not other for other, _, _ in along) and module.rstrip(".") in inside[axis]:
            members[axis].append(Member(name, 0, none, none, "size", size))


def _tensors(model: nn.Module, flow: Flow) -> list[tuple[str, int, Dim]]:
    """Every dimension of every parameter and buffer that the model has read, in the model's order."""
    found, seen = list[tuple[str, int, Dim]](), set[int]()
    for module_name, module in model.named_modules():
        for leaf, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if id(tensor) in flow.read and id(tensor) not in seen:
                seen.add(id(tensor))
                name = f"{module_name}.{leaf}" if module_name else leaf
                found += [(name, d, dim) for d, dim in enumerate(flow.of(tensor))]
    return found


def positions(dim: Dim) -> list[tuple[Axis, Tensor, Tensor]]:
    """For each axis of a resolved dimension its positions (m,) there, and the position along the axis of each (m,)."""
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
    return positions(factor.parts) if isinstance(factor, Sum) else []


def _kind(owner: nn.Module, dim: int) -> str:
    if isinstance(owner, (*masks.LAYERS, nn.modules.conv._ConvTransposeNd)):
        transposed = isinstance(owner, nn.modules.conv._ConvTransposeNd)
        return "out" if (dim == 1) == transposed else "in"
    leaf = not any(True for _ in owner.children())
    return "norm" if isinstance(owner, NORMS) or (leaf and "Norm" in type(owner).__name__) else "other"


def _sizes(model: nn.Module, calls: _Calls, named: _Names) -> Iterable[tuple[str, Dim]]:
    """The sizes that the code spells out: the attributes that stand there, and the sites where none does."""
    dims = {key: resolve(seen[0][1]) for key, seen in calls.items()}
    dims = {key: d for key, d in dims.items() if all(resolve(o) == d for _, o in calls[key])}  # else: this and that
    claims = defaultdict[str, set[Dim]](set)
    sited = list[tuple[str, Dim, list[str]]]()
    for (name, site), dim in dims.items():
        prefix, own = f"{name}." if name else "", vars(model.get_submodule(name))
        used = list[str]()
        for attribute in named.get((name, site), ()):
            meant = next((d for d in _pieces(dim) if extent(d) == own.get(attribute)), None)
            if meant is not None and type(own[attribute]) is int and any(True for _ in free(meant)):
                claims[prefix + attribute].add(meant)
                used.append(prefix + attribute)
        if calls[name, site][0][0] > 0:  # else it grows with the number of images
            sited.append((f"{prefix}@{site}", dim, used))
    clear = {name: next(iter(meant)) for name, meant in claims.items() if len(meant) == 1}
    return [*clear.items(), *((site, dim) for site, dim, used in sited if not clear.keys() & set(used))]


def _pieces(dim: Dim) -> Iterable[Dim]:
    """What an attribute in the expression of a size may stand for: all of it, or a single axis."""
    return [dim, *(((factor,),) for segment in dim for factor in segment if isinstance(factor, Axis))]


def _chosen(
    model: nn.Module, flow: Flow, parts: list[tuple[str, int, Dim]], members: dict[Axis, list[Member]]
) -> Traced:
    """Groups of axes no two of which share a segment, the outermost first."""
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
    """Each axis of a resolved dimension with those whose product it is a part of: those outside of it and inside."""
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
    """The layers whose outputs the members are, in the model's order."""
    owners = {m.name.rpartition(".")[0] for m in members if m.kind == "out" and m.name.endswith(".weight")}
    return sorted(owners, key=lambda name: order[name])


def _unique(members: list[Member]) -> tuple[Member, ...]:
    """One member for a number that several sites name."""
    found = dict[tuple[str, int], Member]()
    for member in members:
        found.setdefault((member.name, member.dim), member)
    return tuple(found.values())

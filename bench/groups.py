"""Channel groups: which slices of which tensors must leave together, and what can be done to such a group.

Removing one output channel of a convolution also removes its place in the batch norm behind it, in whatever is added to
it, and in every layer that reads it. Torch-Pruning's dependency graph (Fang et al. 2023, arXiv:2301.12900) finds these
couplings; here they become plain data: a `Group` of C channels lists its members, each a set of positions along one
dimension of a named parameter or buffer, with the channel that each position belongs to.

    scores = {g.root: norms(tensors(model), g) for g in groups}     (C,) per group
    zero_(model, group, gone)                                       the model with channels masked by zeros
    shrink_(model, keep(groups, {g.root: kept}))                    the same function, physically smaller
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch_pruning.ops import OPTYPE

from bench import masks
from bench.errors import Ineffective
from bench.seeds import generator

Kept = Mapping[str, Tensor]
"""The kept channels of each group (sorted whole numbers), by the group's root."""

Plan = dict[str, dict[int, list[int]]]
"""The kept positions of each tensor along each dimension that lost some, by the tensor's name."""


@dataclass(frozen=True)
class Member:
    """Positions ``index`` (m,) along ``dim`` of the tensor ``name``; position i belongs to channel ``channel[i]``.

    ``kind`` is "out" (a layer's output rows and biases), "in" (a layer's input columns), "norm" (scale, shift and running
    statistics of a normalisation) or "other" (a parameter outside of layers, such as a layer scale).
    """

    name: str
    dim: int
    index: Tensor
    channel: Tensor
    kind: str


@dataclass(frozen=True)
class Group:
    """``channels`` that leave one by one, named after the layer ``root`` whose outputs they are."""

    root: str
    channels: int
    members: tuple[Member, ...]


def find(model: nn.Module, example: Tensor) -> list[Group]:
    """All groups of a model that can lose channels, in the model's order; the classifier's outputs are not among them.

    A group whose couplings the graph gets wrong (`sound` tells) is left out; the rest of the model can still be pruned.

    Args:
        model: on any device; its mode, weights and gradients are left as they were.
        example: images (N, C, H, W).

    Raises:
        Ineffective: where the graph cannot be followed, with the reason, or where no group is left.
    """
    replica, images = _stirred(model), example[:2].detach().cpu()
    try:
        traced = _trace(copy.deepcopy(replica), images)
    except Exception as error:  # the tracer tells what it does not understand by whatever happens to be raised
        raise Ineffective(
            f"structured pruning needs a model whose channels can be traced, but got {_told(error)}; "
            "choose another model, or a method that masks weights"
        ) from None
    found = traced if sound(replica, images, traced) else [g for g in traced if sound(replica, images, [g])]
    if not found or not sound(replica, images, found):
        raise Ineffective(
            f"structured pruning needs channels that can leave, but none of {len(traced)} groups here can; "
            "choose another model, or a method that masks weights"
        )
    return found


def _stirred(model: nn.Module) -> nn.Module:
    """A copy in eval mode whose scales, shifts and statistics differ from channel to channel: fresh ones are all alike,
    often zero, and would hide a wrong coupling."""
    replica, source = copy.deepcopy(model).cpu().eval(), generator("groups", "stir")
    with torch.no_grad():
        for tensor in tensors(replica).values():
            if tensor.is_floating_point() and tensor.dim() <= 1:
                tensor.mul_(0.5 + torch.rand(tensor.shape, generator=source))
                tensor.add_(0.1 + 0.1 * torch.rand(tensor.shape, generator=source))
    return replica


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no reason'])[0][:120]}"


def sound(model: nn.Module, images: Tensor, groups: Sequence[Group]) -> bool:
    """Whether some groups hold all that belongs together, seen on a model in eval mode: reordering the channels of each
    group in all its members leaves the outputs as they are (also through layer norms, which masking does not), and the
    model that has lost half of them runs forward and backward."""
    halves = {g.root: torch.arange(0, g.channels, 2) for g in groups}
    try:
        with torch.no_grad():
            before, reordered = model(images), copy.deepcopy(model)
            for group in groups:
                reorder_(reordered, group, torch.arange(group.channels).roll(1))
            if not torch.allclose(reordered(images), before, rtol=1e-3, atol=1e-4 * float(before.abs().max())):
                return False
        smaller = copy.deepcopy(model)
        shrink_(smaller, keep(smaller, groups, halves))
        smaller(images).sum().backward()
    except Exception:  # shapes that do not fit any more, told by whatever the layer happens to raise
        return False
    return True


def _trace(model: nn.Module, example: Tensor) -> list[Group]:
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    heads = masks.classifier_modules(model)
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        graph = tp.DependencyGraph().build_dependency(
            model, example, unwrapped_parameters=[], customized_pruners={}, ignored_params=[], verbose=False
        )
        traced = list(graph.get_all_groups(ignored_layers=list(heads)))
    names = {id(module): name for name, module in model.named_modules()}
    parameters = {id(parameter): name for name, parameter in model.named_parameters()}
    order = {name: place for place, name in enumerate(names.values())}
    groups = [_group(graph, items, names, parameters) for items in traced]
    return sorted((g for g in groups if g.channels > 1), key=lambda g: order[g.root])


def _group(
    graph: tp.DependencyGraph, items: tp.Group, names: Mapping[int, str], parameters: Mapping[int, str]
) -> Group:
    root = names[id(items[0].dep.target.module)]
    members = list[Member]()
    for item in items:
        target, handler = item.dep.target, item.dep.handler
        index, channel = torch.tensor(item.idxs), torch.tensor(item.root_idxs)
        if target.type == OPTYPE.PARAMETER:
            members.append(Member(parameters[id(target.module)], target.pruning_dim, index, channel, "other"))
        elif id(target.module) in names:
            side = "out" if graph.is_out_channel_pruning_fn(handler) else "in"
            members += _members(target.module, names[id(target.module)], side, index, channel)
    return Group(root, int(items[0].idxs[-1]) + 1, tuple(members))


def _members(module: nn.Module, name: str, side: str, index: Tensor, channel: Tensor) -> list[Member]:
    """The slices of one module's tensors: rows and biases, columns, or everything of a norm or a depthwise layer."""
    tensors = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
    if isinstance(module, masks.LAYERS):
        depthwise = getattr(module, "groups", 1) == len(module.weight) > 1
        if side == "in" and not depthwise:
            return [Member(f"{name}.weight", 1, index, channel, "in")]
        return [Member(f"{name}.{t}", 0, index, channel, "out") for t in tensors]
    return [Member(f"{name}.{t}", 0, index, channel, "norm") for t, value in tensors.items() if value.dim() > 0]


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def norms(values: Mapping[str, Tensor], group: Group, kinds: Iterable[str] = ("out", "in", "norm", "other")) -> Tensor:
    """The squared L2 norm of each channel of a group, (C,), over the members of some kinds that ``values`` holds."""
    chosen = [m for m in group.members if m.kind in kinds and m.name in values]
    parts = [_per_channel(values[m.name].detach().square(), m, group.channels) for m in chosen]
    return torch.stack(parts).sum(0) if parts else torch.zeros(group.channels)


def dots(one: Mapping[str, Tensor], other: Mapping[str, Tensor], group: Group) -> Tensor:
    """The inner product of two sets of tensors (such as weights and gradients) over each channel of a group, (C,)."""
    chosen = [m for m in group.members if m.name in one and m.name in other]
    parts = [_per_channel(one[m.name].detach() * other[m.name].detach(), m, group.channels) for m in chosen]
    return torch.stack(parts).sum(0) if parts else torch.zeros(group.channels)


def _per_channel(values: Tensor, member: Member, channels: int) -> Tensor:
    """Sums over all dimensions but the member's, added up by channel: (C,)."""
    others = [d for d in range(values.dim()) if d != member.dim]
    along = values.sum(others) if others else values
    index, channel = member.index.to(along.device), member.channel.to(along.device)
    return along.new_zeros(channels).index_add_(0, channel, along[index])


@torch.no_grad()
def scale_(model: nn.Module, group: Group, factors: Tensor) -> None:
    """Multiply each channel's parameters by its factor, (C,), in place; buffers stay."""
    parameters = dict(model.named_parameters())
    for member in group.members:
        if member.name in parameters:
            tensor = parameters[member.name]
            along = torch.ones(tensor.shape[member.dim], device=tensor.device, dtype=tensor.dtype)
            along[member.index.to(tensor.device)] = factors.to(tensor)[member.channel.to(tensor.device)]
            tensor.mul_(along.view([-1 if d == member.dim else 1 for d in range(tensor.dim())]))


@torch.no_grad()
def reorder_(model: nn.Module, group: Group, order: Tensor) -> None:
    """Put channel ``order[k]`` in the place of channel k, in all members of a group, in place."""
    found = tensors(model)
    for member in group.members:
        places = member.index[member.channel.argsort(stable=True)].view(group.channels, -1)  # (C, positions of each)
        tensor = found[member.name]
        source = torch.arange(tensor.shape[member.dim])
        source[places.reshape(-1)] = places[order].reshape(-1)
        tensor.copy_(tensor.index_select(member.dim, source.to(tensor.device)))


def zero_(model: nn.Module, group: Group, gone: Tensor) -> None:
    """Set all parameters of the channels ``gone`` (bool, (C,)) to zero: the model that computes what is left."""
    scale_(model, group, (~gone).float())


def keep(model: nn.Module, groups: Sequence[Group], kept: Kept) -> Plan:
    """Which positions of each tensor stay when each group named in ``kept`` keeps only those channels."""
    stays = dict[tuple[str, int], Tensor]()
    sizes = {name: tensor.shape for name, tensor in tensors(model).items()}
    for group in groups:
        if group.root not in kept or len(kept[group.root]) == group.channels:
            continue
        channels = torch.zeros(group.channels, dtype=torch.bool)
        channels[kept[group.root].cpu()] = True
        for member in group.members:
            whole = torch.ones(sizes[member.name][member.dim], dtype=torch.bool)
            place = stays.setdefault((member.name, member.dim), whole)
            place[member.index] &= channels[member.channel]
    plan: Plan = {}
    for (name, dim), place in stays.items():
        plan.setdefault(name, {})[dim] = place.nonzero()[:, 0].tolist()
    return plan


@torch.no_grad()
def shrink_(model: nn.Module, plan: Plan) -> None:
    """Remove from each tensor what the plan does not keep, and tell each module its new sizes."""
    for name, dims in plan.items():
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        tensor = getattr(module, leaf)
        value = tensor.detach()
        for dim, positions in dims.items():
            value = value.index_select(int(dim), torch.tensor(positions, device=value.device))
        if isinstance(tensor, nn.Parameter):
            setattr(module, leaf, nn.Parameter(value, requires_grad=tensor.requires_grad))
        else:
            setattr(module, leaf, value)
        _resize_(module)


def _resize_(module: nn.Module) -> None:
    """Bring the sizes that a module remembers up to those of its tensors."""
    weight = getattr(module, "weight", None)
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        module.out_channels = len(module.weight)
        if module.groups > 1:
            module.groups = module.in_channels = module.out_channels  # depthwise: `find` lets no other through
        else:
            module.in_channels = module.weight.shape[1]
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(weight, Tensor):
        for size in ("num_features", "num_channels", "num_parameters"):
            if hasattr(module, size):
                setattr(module, size, len(weight))

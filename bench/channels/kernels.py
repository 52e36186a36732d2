"""Kernels on channel groups: norms and products by channel, masking, reordering, and removal by a plan.

scores = {g.root: norms(tensors(model), g) for g in groups}       (C,) for each group
zero_(model, group, gone)                                         the model with channels masked by zeros
shrink_(model, keep(model, groups, {g.root: kept}))               the same function, physically smaller
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.channels.couplings import Group, Member, sites

Kept = Mapping[str, Tensor]
"""The kept channels of each group (sorted whole numbers), by the group's root."""

Plan = dict[str, dict[int, list[int]]]
"""The kept positions of each tensor along each dimension with removed positions, by the tensor's name."""


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Returns parameters and buffers by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def norms(values: Mapping[str, Tensor], group: Group, kinds: Iterable[str] = ("out", "in", "norm", "other")) -> Tensor:
    """Returns the squared L2 norm of each channel of a group, (C,), over the members of some kinds in ``values``."""
    chosen = [m for m in group.members if m.kind in kinds and m.name in values]
    return _sum([_per_channel(values[m.name].detach().square(), m, group.channels) for m in chosen], group)


def dots(one: Mapping[str, Tensor], other: Mapping[str, Tensor], group: Group) -> Tensor:
    """Returns the inner product, by channel of a group, of two sets of tensors such as weights and gradients: (C,)."""
    chosen = [m for m in group.members if m.name in one and m.name in other]
    products = {m.name: one[m.name].detach() * other[m.name].detach() for m in chosen}
    return _sum([_per_channel(products[m.name], m, group.channels) for m in chosen], group)


def _sum(parts: Sequence[Tensor], group: Group) -> Tensor:
    if not parts:
        return torch.zeros(group.channels)
    return torch.stack(list(parts)).sum(0)


def _per_channel(values: Tensor, member: Member, channels: int) -> Tensor:
    """Sums over all dimensions but the member's, then over the positions of each channel: (C,)."""
    others, along = [d for d in range(values.dim()) if d != member.dim], values
    if others:
        along = values.sum(others)
    index, channel = member.index.to(along.device), member.channel.to(along.device)
    return along.new_zeros(channels).index_add_(0, channel, along[index])


@torch.no_grad()
def scale_(model: nn.Module, group: Group, factors: Tensor) -> None:
    """Multiplies each channel's parameters by its factor, (C,), in place; buffers do not change."""
    parameters = dict(model.named_parameters())
    for member in group.members:
        if member.name in parameters:
            tensor = parameters[member.name]
            along = torch.ones(tensor.shape[member.dim], device=tensor.device, dtype=tensor.dtype)
            along[member.index.to(tensor.device)] = factors.to(tensor)[member.channel.to(tensor.device)]
            tensor.mul_(along.view(-1, *[1] * (tensor.dim() - member.dim - 1)))


@torch.no_grad()
def reorder_(model: nn.Module, group: Group, order: Tensor) -> None:
    """Puts channel ``order[k]`` in the place of channel k, in all members of a group, in place."""
    found = tensors(model)
    for member in group.members:
        if member.kind == "size":
            continue
        places = member.index[member.channel.argsort(stable=True)].view(group.channels, -1)  # (C, positions of each)
        tensor = found[member.name]
        source = torch.arange(tensor.shape[member.dim])
        source[places.reshape(-1)] = places[order].reshape(-1)
        tensor.copy_(tensor.index_select(member.dim, source.to(tensor.device)))


def zero_(model: nn.Module, group: Group, gone: Tensor) -> None:
    """Sets all parameters of the channels ``gone`` (bool, (C,)) to zero, in place."""
    scale_(model, group, (~gone).float())


def keep(model: nn.Module, groups: Sequence[Group], kept: Kept) -> Plan:
    """Returns the positions of each tensor that remain when each group in ``kept`` keeps only those channels.

    Groups that are not removable keep their size.
    """
    stays = dict[tuple[str, int], Tensor]()
    sizes = {name: tensor.shape for name, tensor in tensors(model).items()}
    for group in groups:
        if not group.removable or group.root not in kept or len(kept[group.root]) == group.channels:
            continue
        channels = torch.zeros(group.channels, dtype=torch.bool)
        channels[kept[group.root].cpu()] = True
        for member in group.members:
            whole = member.size or sizes[member.name][member.dim]
            place = stays.setdefault((member.name, member.dim), torch.ones(whole, dtype=torch.bool))
            place[member.index] &= channels[member.channel]
    plan: Plan = {}
    for (name, dim), place in stays.items():
        plan.setdefault(name, {})[dim] = place.nonzero()[:, 0].tolist()
    return plan


def then(first: Plan, second: Plan) -> Plan:
    """Returns the plan equal to one plan followed by another, which applies to the model after the first."""
    plan: Plan = {}
    for name in {**first, **second}:
        one, two = ({int(d): list(at) for d, at in plan.get(name, {}).items()} for plan in (first, second))
        plan[name] = {**one, **two}
        for d in one.keys() & two.keys():
            plan[name][d] = [one[d][at] for at in two[d]]
    return plan


@torch.no_grad()
def shrink_(model: nn.Module, plan: Plan) -> None:
    """Removes from each tensor the positions that the plan does not keep, and updates the sizes that modules store."""
    for name, dims in plan.items():
        owner, _, leaf = name.rpartition(".")
        module, kept = model.get_submodule(owner), {int(dim): positions for dim, positions in dims.items()}
        if leaf.startswith("@"):
            sites.overrides_(module)[leaf[1:]] = len(kept[0])
            continue
        tensor = getattr(module, leaf)
        if isinstance(tensor, int):
            setattr(module, leaf, len(kept[0]))
            continue
        value = tensor.detach()
        for dim, positions in kept.items():
            value = value.index_select(dim, torch.tensor(positions, device=value.device))
        if leaf == "weight":
            _regroup_(module, kept)
        if isinstance(tensor, nn.Parameter):
            setattr(module, leaf, nn.Parameter(value, requires_grad=tensor.requires_grad))
        else:
            setattr(module, leaf, value)
        _resize_(module)
    forget_(model)


def _regroup_(module: nn.Module, dims: Mapping[int, Sequence[int]]) -> None:
    """Updates the number of groups of a grouped convolution or normalisation: groups that keep a position count."""
    for count in ("groups", "num_groups"):
        groups = getattr(module, count, 1)
        if isinstance(groups, int) and groups > 1 and 0 in dims:
            size = len(module.weight) // groups  # type: ignore[arg-type]
            setattr(module, count, len({position // size for position in dims[0]}))


def _resize_(module: nn.Module) -> None:
    """Sets the sizes that a module stores to those of its tensors."""
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.modules.conv._ConvNd):
        module.out_channels, module.in_channels = len(module.weight), module.weight.shape[1] * module.groups
        if module.transposed:
            module.out_channels, module.in_channels = module.in_channels, module.out_channels
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.RNNBase):
        module.input_size = module.get_parameter("weight_ih_l0").shape[1]
    elif isinstance(weight, Tensor):
        for size in ("num_features", "num_channels", "num_parameters"):
            if hasattr(module, size):
                setattr(module, size, len(weight))
        if hasattr(module, "normalized_shape"):
            setattr(module, "normalized_shape", tuple(weight.shape))  # noqa: B010 - any norm's, also timm's


def forget_(model: nn.Module) -> None:
    """Clears what modules cache for evaluation, such as LeViT's attention biases: they clear it in training mode."""
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    for module, mode in modes:
        module.training = mode

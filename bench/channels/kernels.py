"""Kernels on channel groups: norms and products by channel, masking, reordering, and physical removal by a plan.

scores = {g.root: norms(tensors(model), g) for g in groups}       (C,) per group
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
"""The kept positions of each tensor along each dimension that lost some, by the tensor's name."""


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
        if member.kind == "size":
            continue
        places = member.index[member.channel.argsort(stable=True)].view(group.channels, -1)  # (C, positions of each)
        tensor = found[member.name]
        source = torch.arange(tensor.shape[member.dim])
        source[places.reshape(-1)] = places[order].reshape(-1)
        tensor.copy_(tensor.index_select(member.dim, source.to(tensor.device)))


def zero_(model: nn.Module, group: Group, gone: Tensor) -> None:
    """Set all parameters of the channels ``gone`` (bool, (C,)) to zero: the model that computes what is left."""
    scale_(model, group, (~gone).float())


def keep(model: nn.Module, groups: Sequence[Group], kept: Kept) -> Plan:
    """Which positions of each tensor stay when each group named in ``kept`` keeps only those channels. Groups that cannot
    leave are masked at most, and stay as large as they are."""
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
    """The plan that does what one plan and, on the model that it leaves, another one do."""
    plan: Plan = {}
    for name in {**first, **second}:
        one, two = ({int(d): list(at) for d, at in plan.get(name, {}).items()} for plan in (first, second))
        plan[name] = {
            d: [one[d][at] for at in two[d]] if d in one and d in two else [*one.get(d, two.get(d, []))]
            for d in {**one, **two}
        }
    return plan


@torch.no_grad()
def shrink_(model: nn.Module, plan: Plan) -> None:
    """Remove from each tensor what the plan does not keep, and tell each module its new sizes."""
    for name, dims in plan.items():
        owner, _, leaf = name.rpartition(".")
        module, kept = model.get_submodule(owner), {int(dim): positions for dim, positions in dims.items()}
        if leaf.startswith("@"):
            sites.told_(module)[leaf[1:]] = len(kept[0])
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
    """Count the groups of a grouped convolution or normalisation of which something is left."""
    for count in ("groups", "num_groups"):
        groups = getattr(module, count, 1)
        if isinstance(groups, int) and groups > 1 and 0 in dims:
            size = len(module.weight) // groups  # type: ignore[arg-type]
            setattr(module, count, len({position // size for position in dims[0]}))


def _resize_(module: nn.Module) -> None:
    """Bring the sizes that a module remembers up to those of its tensors."""
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.modules.conv._ConvNd):
        sizes = len(module.weight), module.weight.shape[1] * module.groups
        module.out_channels, module.in_channels = reversed(sizes) if module.transposed else sizes
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
    """Let modules forget what they keep for evaluation, such as LeViT's attention biases: they do when they train."""
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    for module, mode in modes:
        module.training = mode

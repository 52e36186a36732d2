"""What a channel is ranked by: importances of the channels of a group, from weights, and from gradients over batches."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.channels import groups
from bench.channels.groups import Group
from bench.method import Batch

IMPORTANCES = ("group_norm", "magnitude", "bn_scale", "taylor", "hessian", "fpgm", "random")
ON_BATCHES = ("taylor", "hessian")  # those that need gradients
NORMALIZERS = ("mean", "max", "none")


def importance(values: Mapping[str, Tensor], group: Group, kind: str, generator: torch.Generator) -> Tensor:
    """The importance of each channel of a group, (C,), from the weights alone, and not normalised; see `methods.depgraph`."""
    device = next(iter(values.values())).device
    if kind == "random":
        return torch.rand(group.channels, generator=generator).to(device)
    if kind == "bn_scale":
        return groups.norms(values, _scales(group)).sqrt()
    if kind in ("magnitude", "fpgm"):
        rows = _rows(values, group)
        return rows.abs().mean(dim=1) if kind == "magnitude" else torch.cdist(rows, rows).sum(dim=1)
    layers = [m for m in group.members if m.name.endswith(".weight") and m.kind in ("out", "in", "norm")]
    return torch.stack([groups.norms(values, Group(group.root, group.channels, (m,))) for m in layers]).mean(dim=0)


def _scales(group: Group) -> Group:
    """The norm scales of a group; all of its members where it has no norm."""
    found = tuple(m for m in group.members if m.kind == "norm" and m.name.endswith(".weight"))
    return Group(group.root, group.channels, found or group.members)


def _rows(values: Mapping[str, Tensor], group: Group) -> Tensor:
    """The outgoing weights of each channel in all layers that produce it, as a matrix (C, n)."""
    parts = []
    for member in group.members:
        if member.kind == "out" and member.name.endswith(".weight"):
            order = member.channel.argsort(stable=True)
            rows = values[member.name].detach()[member.index[order].to(values[member.name].device)]
            parts.append(rows.reshape(group.channels, -1))
    return torch.cat(parts, dim=1)


def depthwise(model: nn.Module) -> set[str]:
    """The names of the filters of depthwise convolutions: as many groups as inputs, and more than one."""
    convolutions = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.modules.conv._ConvNd)]
    return {f"{name}.weight" for name, m in convolutions if m.groups == m.in_channels > 1}


def without(group: Group, names: Collection[str]) -> Group:
    """A group without the members of some names; the whole group where no other row would be left."""
    members = tuple(m for m in group.members if m.name not in names)
    if not any(m.kind == "out" and m.name.endswith(".weight") for m in members):
        return group
    return replace(group, members=members)


def normalized(scores: Tensor, how: str, gone: Tensor | None = None) -> Tensor:
    """Scores (C,) over their "mean" or "max", so that groups can be ranked together; "none" leaves them. Channels that are
    ``gone``, bool (C,), do not count: where channels leave one after the other, the mean is that of those still there."""
    if how == "none":
        return scores
    left = scores if gone is None or bool(gone.all()) else scores[~gone]
    scale = left.mean() if how == "mean" else left.max()
    return scores / scale.clamp_min(torch.finfo(scores.dtype).tiny)


def shrinkage(scores: Tensor, alpha: float) -> Tensor:
    """The weight of each channel in sparse learning, (C,) from 1 to 2^alpha; ``scores`` are squared norms (C,)."""
    size = scores.sqrt()
    spread = (size.max() - size.min()).clamp_min(torch.finfo(size.dtype).tiny)
    return torch.exp2(alpha * (size.max() - size) / spread)


def taylor(model: nn.Module, found: Iterable[Group], batches: Iterable[Batch]) -> dict[str, Tensor]:
    """The change of the loss without each channel, to first order, by group root (C,): the root of the mean over batches of
    (sum w g)^2 (Molchanov et al. 2019, whose importance is its square), with all parameters of the channel in the sum."""
    found, count = list(found), 0
    total = dict[str, Tensor]()
    for images, labels in batches:
        values, grads = _gradients(model, images, labels)
        count += 1
        for group in found:
            change = groups.dots(values, grads, group).double().square()
            total[group.root] = total.get(group.root, torch.zeros_like(change)) + change
    return {root: (t / count).sqrt() for root, t in total.items()}


def hessian(
    model: nn.Module, found: Iterable[Group], batches: Iterable[Batch], generator: torch.Generator
) -> dict[str, Tensor]:
    """OBD-C (Wang et al. 2019, EigenDamage, arXiv:1905.05934), by group root (C,): sum of w^2 F over the rows that produce a
    channel, the mean over its layers. F is the diagonal of the Fisher matrix, which stands for the Hessian: the mean over
    images of squared gradients, with labels drawn from what the model itself predicts. One backward pass for each image."""
    fisher, count = dict[str, Tensor](), 0
    for images, _ in batches:
        with torch.no_grad(), _evaluating(model):
            chances = F.softmax(model(images).float(), dim=1).cpu()
        labels = torch.multinomial(chances, 1, generator=generator)[:, 0].to(images.device)
        for place in range(len(images)):
            _, grads = _gradients(model, images[place : place + 1], labels[place : place + 1])
            fisher = {n: g.square() + fisher.get(n, torch.zeros_like(g)) for n, g in grads.items()}
            count += 1
    values = dict(model.named_parameters())
    curved = {n: (f / count).sqrt() * values[n].detach() for n, f in fisher.items()}  # its squares are w^2 F
    return {group.root: importance(curved, _producers(group), "group_norm", generator) for group in found}


def _producers(group: Group) -> Group:
    return replace(group, members=tuple(m for m in group.members if m.kind == "out" and m.name.endswith(".weight")))


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode: norms use their running statistics and leave them, and nothing is dropped."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _gradients(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters and the gradients of the cross-entropy in eval mode, by name; gradients of training stay."""
    values = {n: p for n, p in model.named_parameters() if p.requires_grad}
    with torch.enable_grad(), _evaluating(model):
        loss = F.cross_entropy(model(images), labels)
        found = torch.autograd.grad(loss, list(values.values()), allow_unused=True)
    return dict(values), {n: g for n, g in zip(values, found, strict=True) if g is not None}

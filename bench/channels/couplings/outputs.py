"""Groups for masking only: the outputs of each layer, for models whose channels cannot be removed."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from bench import layers
from bench.channels.couplings.members import Group, Member
from bench.errors import Ineffective


def outputs(model: nn.Module, example: Tensor) -> list[Group]:
    """Returns a group for the outputs of each layer but the classifier; none is removable.

    A channel is a row of the layer's weight and its bias; where a batch norm reads only this layer, also its scale and shift.

    Args:
        model: any model, on any device; it does not change.
        example: images (N, C, H, W).

    Raises:
        Ineffective: the model has no convolution or linear layer besides the classifier.
    """
    values, norms, found = dict(model.named_parameters()), _norms_behind(model, example), list[Group]()
    for weight in layers.weights(model, classifier=False):
        root, every = weight.removesuffix(".weight"), torch.arange(len(values[weight]))
        own = [(weight, "out"), (f"{root}.bias", "out")]
        own += [(f"{norm}.{leaf}", "norm") for norm in norms.get(root, ()) for leaf in ("weight", "bias")]
        members = tuple(Member(name, 0, every, every, kind) for name, kind in own if name in values)
        found.append(Group(root, len(every), members, removable=False))
    if not found:
        raise Ineffective(
            "channels are masked in convolutions and linear layers, but found none besides the classifier; "
            "choose another model"
        )
    return found


def _norms_behind(model: nn.Module, example: Tensor) -> dict[str, list[str]]:
    """Returns for each layer the batch norms that read its outputs and nothing else, by module name."""
    replica = copy.deepcopy(model).cpu().eval()
    seen = dict[int, tuple[Tensor, str]]()  # a reference to the tensor keeps its id unique
    read = defaultdict[str, set[str]](set)

    def note_output(layer: str, module: nn.Module, out: Any) -> None:
        if isinstance(out, Tensor) and (not isinstance(module, nn.Linear) or out.dim() == 2):  # channels come second
            seen[id(out)] = out, layer

    def note_input(norm: str, images: Tensor) -> None:
        _, layer = seen.get(id(images), (images, ""))
        read[norm].add(layer)

    for name, module in replica.named_modules():
        if isinstance(module, layers.LAYERS):
            module.register_forward_hook(lambda m, _, out, name=name: note_output(name, m, out))
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(lambda _, args, name=name: note_input(name, args[0]))
    with torch.no_grad():
        replica(example[:1].detach().cpu())
    found = defaultdict[str, list[str]](list)
    for norm, sources in read.items():
        if len(sources) == 1 and "" not in sources:
            found[sources.pop()].append(norm)
    return found

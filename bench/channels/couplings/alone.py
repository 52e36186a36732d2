"""The outputs of each layer by itself, as groups that can be masked where nothing can leave."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from bench import masks
from bench.channels.couplings.members import Group, Member
from bench.errors import Ineffective


def outputs(model: nn.Module, example: Tensor) -> list[Group]:
    """The outputs of each layer but the classifier, to be masked: a row of its weight, its bias, and where a batch norm reads
    that and nothing else, scale and shift. No group is removable.

    Args:
        model: any that runs, on any device; it is left as it was.
        example: images (N, C, H, W).

    Raises:
        Ineffective: where there is no convolution or linear layer but the classifier.
    """
    values, norms, found = dict(model.named_parameters()), _norms_behind(model, example), list[Group]()
    for weight in masks.prunable(model):
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
    """Of each layer the batch norms that are fed with its outputs and with nothing else, by module name."""
    replica = copy.deepcopy(model).cpu().eval()
    seen = dict[int, tuple[Tensor, str]]()  # holding the tensor keeps its id from being used again
    fed = defaultdict[str, set[str]](set)

    def given(layer: str, module: nn.Module, out: Any) -> None:
        if isinstance(out, Tensor) and (not isinstance(module, nn.Linear) or out.dim() == 2):  # channels come second
            seen[id(out)] = out, layer

    for name, module in replica.named_modules():
        if isinstance(module, masks.LAYERS):
            module.register_forward_hook(lambda m, _, out, name=name: given(name, m, out))
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(
                lambda _, args, name=name: fed[name].add(seen[id(args[0])][1] if id(args[0]) in seen else "")
            )
    with torch.no_grad():
        replica(example[:1].detach().cpu())
    found = defaultdict[str, list[str]](list)
    for norm, sources in fed.items():
        if len(sources) == 1 and "" not in sources:
            found[sources.pop()].append(norm)
    return found

"""Rewinding: values of a model kept at one step of a run, and put back at a later one.

The values are plain tensors by name, so they go into a method's state and into its checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import BenchError


def snapshot(model: nn.Module, norms: bool) -> dict[str, Tensor]:
    """Copies of the parameters and, with ``norms``, of the buffers (batch-norm statistics), by name."""
    return {name: value.detach().clone() for name, value in _values(model, norms=norms).items()}


@torch.no_grad()
def restore_(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Copy the values of a `snapshot` into the model, in place; tensors that the snapshot does not hold keep their values.

    Raises:
        KeyError: for a name that the model does not have.
    """
    known = _values(model, norms=True)
    for name, value in values.items():
        known[name].copy_(value)


def _values(model: nn.Module, *, norms: bool) -> dict[str, Tensor]:
    found: dict[str, Tensor] = dict(model.named_parameters())
    if norms:
        found |= dict(model.named_buffers())
    return found


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and the saved buffers of a model, by name, each once: what can be rewound."""
    saved = model.state_dict().keys()
    return {**dict(model.named_parameters()), **{n: b for n, b in model.named_buffers() if n in saved}}


def values(model: nn.Module, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the tensors ``found`` (as from `tensors`), by the names that they had before the method was attached.

    Raises:
        BenchError: the model no longer has one of them, because channels were removed.
    """
    present = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    for name, tensor in found.items():
        if id(tensor) not in present:
            raise BenchError(
                f"values to rewind to are kept while the model is whole, but {name} was cut before; lower `rewind_to`"
            )
    return {name: tensor.detach().clone() for name, tensor in found.items()}


class Origin:
    """The values that a recovery rewinds to: those of the whole model after step ``step``, under its original names.

    Args:
        step: optimiser steps after which `keep` copies the values; None: never.
        whole: the tensors of the model before a method is attached (`tensors`).
    """

    def __init__(self, step: int | None = None, whole: Mapping[str, Tensor] | None = None) -> None:
        self.step = step
        self.values: dict[str, Tensor] = {}
        self._whole = dict(whole or {})

    def keep(self, step: int, model: nn.Module) -> None:
        """Copy the values if ``step`` is the step to rewind to."""
        if self._whole and step == self.step:
            self.values, self._whole = values(model, self._whole), {}

    def state_dict(self) -> dict[str, Tensor]:
        """The values; empty for those of step 0, which a resumed run has again before it attaches the method."""
        return dict(self.values) if self.step else {}

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        """Take values back from a checkpoint, to the device of the model; an empty one changes nothing."""
        if saved:
            self.values = {name: value.to(self._whole[name].device) for name, value in saved.items()}
            self._whole = {}


@torch.no_grad()
def rewind_(
    model: nn.Module, origin: Mapping[str, Tensor], kept: Mapping[str, Any], held: Mapping[str, Tensor]
) -> None:
    """Set what is left of a model to the values that the whole model had, in place.

    Args:
        model: the finished, plain model.
        origin: values of the whole model, by name.
        kept: the plan of the channels that are left (`bench.channels.groups.Plan`); empty where no channel was removed.
        held: masks of its zeros, which stay zero.
    """
    cut = dict[str, Tensor]()
    for name, value in origin.items():
        for dim, positions in kept.get(name, {}).items():
            value = value.index_select(int(dim), torch.tensor(positions, device=value.device))
        cut[name] = value
    restore_(model, cut)
    for name, mask in held.items():
        model.get_parameter(name).mul_(mask)

"""Rewinding: values of a model kept at one step of a run, and put back at a later one.

The values are plain tensors by name, so they go into a method's state and into its checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def snapshot(model: nn.Module, norms: bool) -> dict[str, Tensor]:
    """Copies of the parameters and, with ``norms``, of the buffers (batch-norm statistics), by name."""
    return {name: value.detach().clone() for name, value in _values(model, norms=norms).items()}


@torch.no_grad()
def restore_(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Put the values of a `snapshot` back, in place; what it does not hold stays as it is.

    Raises:
        KeyError: for a name that the model does not have.
    """
    known = _values(model, norms=True)
    for name, value in values.items():
        known[name].copy_(value)


def _values(model: nn.Module, *, norms: bool) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **(dict(model.named_buffers()) if norms else {})}

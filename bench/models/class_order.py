"""Which class the number of an output means: the outputs of a model are brought into the order of a task's classes by name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from bench import masks
from bench.errors import BenchError


def match_classes_(model: nn.Module, have: Sequence[str], want: Sequence[str], *, what: str) -> str:
    """Bring the outputs of a model into the order of a task's classes, in place.

    Args:
        model: whose classifier has one output per class.
        have: the names of the classes that it was trained on, in the order of its outputs.
        want: the names of the task's classes, in the order of their numbers.
        what: the weights, for the message.

    Returns:
        A sentence where the outputs were moved; "" where nothing had to be, or where the names of either are not known.

    Raises:
        BenchError: the classes are others, or the model's classifier is not found.
    """
    if not have or not want or tuple(have) == tuple(want):
        return ""
    if sorted(have) != sorted(want):
        raise BenchError(_others(have, want, what))
    if not reorder_(model, [have.index(name) for name in want]):
        raise BenchError(
            f"outputs follow the order of the task's classes, but {what} has another order and a classifier that is not found; "
            "name the class folders so that their order is that of the training"
        )
    return f"outputs of {what} were brought into the order of the task's classes, by their names"


def reorder_(model: nn.Module, order: Sequence[int]) -> bool:
    """Give output i of the classifier what output ``order[i]`` has; False where there is no classifier of this size."""
    rows = torch.tensor(order)
    moved = False
    for head in masks.classifier_modules(model):
        for parameter in head.parameters():
            if len(parameter) != len(rows):
                return False
            parameter.data = parameter.data[rows].clone(memory_format=torch.preserve_format)
            moved = True
    return moved


def _others(have: Sequence[str], want: Sequence[str], what: str) -> str:
    missing, surplus = [n for n in have if n not in want], [n for n in want if n not in have]
    got = [f"{what} was trained on {len(have)} classes and the task has {len(want)}"]
    if missing:
        got.append(f"{_some(missing)} of the weights not in the task")
    if surplus:
        got.append(f"{_some(surplus)} of the task not in the weights")
    return f"a model is evaluated on the classes that it was trained on, but {', '.join(got)}; choose its task"


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

"""Examines whether channels of an architecture can be removed, what share of them, and why not: one row of the matrix.

The groups of a model with random weights are traced and verified (`bench.channels.groups`). Then half of the channels of each
group are removed; the smaller model runs forward and backward, is compared with the masked model, and is counted.
"""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import timm
import torch
from torch import Tensor, nn

from bench import layers, models
from bench.channels import groups
from bench.channels.couplings import Group, Traced, trace
from bench.channels.couplings.axes import GRID, Axis, Dim, Fixed, Sum, length
from bench.measure.operations import macs
from bench.seeds import generator

CLASSES = 1000
NATURAL = (GRID, "the classes")
VERDICTS = ("full", "partly", "not")
EVERYTHING = 1 - 1e-5  # shares are rounded to six places
UNSOUND = "what is coupled was not all found"


@dataclass(frozen=True)
class Row:
    """The findings about one architecture. Shares are 0 to 1.

    ``can_leave`` and ``tied`` are shares of the outputs of all convolutions and linear layers but the classifier: outputs in a
    group, and outputs that belong to a position of the image or to a class and can never be removed. ``weights_left``
    (convolutions and linear layers, the classifier included), ``params_left`` and ``macs_left`` are the shares left after half
    of each group is removed. ``masked``: removal equals masking, for all exact groups (``groups`` without ``inexact``).
    ``trains``: the smaller model runs forward and backward in training mode.
    """

    module: str
    model: str
    image_size: int
    parameters: int
    groups: int = 0
    inexact: int = 0
    can_leave: float = 0.0
    tied: float = 0.0
    weights_left: float = 1.0
    params_left: float = 1.0
    macs_left: float = 1.0
    masked: bool = False
    trains: bool = False
    reason: str = ""
    seconds: float = 0.0
    versions: str = ""

    @property
    def verdict(self) -> str:
        """One of "full" (all outputs that are not tied can be removed), "partly" (some can) and "not"."""
        if not (self.groups and self.masked and self.trains):
            return "not"
        if self.can_leave + self.tied > EVERYTHING:
            return "full"
        return "partly"

    @property
    def works(self) -> bool:
        """Whether halving each group removes a quarter of the convolution and linear weights and all checks pass."""
        return self.verdict != "not" and self.weights_left <= 0.75

    @property
    def loosely(self) -> bool:
        """Whether less than 90 % of the parameters are left and the model runs: the criterion used for Torch-Pruning."""
        return self.trains and self.params_left < 0.9


def versions() -> str:
    """Returns the versions of the libraries that a row depends on."""
    return f"timm {timm.__version__}, torch {torch.__version__.partition('+')[0]}"


def halved(found: Iterable[Group]) -> dict[str, Tensor]:
    """Returns every other channel of each group."""
    return {g.root: torch.arange(0, g.channels - g.channels % 2, 2) for g in found}


def examine(name: str, image_size: int, module: str = "") -> Row:
    """Examines one architecture; returns its row. Reasons why channels cannot be removed are in the row.

    Raises:
        Exception: the model cannot be built or traced.
    """
    begun = time.monotonic()
    model, size = models.create(name, classes=CLASSES, channels=3, image_size=image_size, seed=0)
    example = torch.randn(2, 3, size, size, generator=generator("prunability", name))
    replica, images = groups.ready(model, example)
    traced = trace(replica, images)
    found = groups.prove(replica, images, traced)
    outputs = _outputs(model, traced, found)
    whole = max(1, outputs.total())
    smaller, left = copy.deepcopy(model), groups.keep(model, found, halved(found))
    groups.shrink_(smaller, left)
    weights = [_count(layers.weights(m).values()) for m in (smaller, model)]
    operations = [sum(macs(m, (1, 3, size, size)).values()) for m in (smaller, model)]
    parameters = _count(model.parameters())
    return Row(
        module,
        name,
        size,
        parameters,
        groups=len(found),
        inexact=sum(not g.exact for g in found),
        can_leave=round(outputs[""] / whole, 6),
        tied=round(sum(outputs[why] for why in NATURAL) / whole, 6),
        weights_left=round(weights[0] / weights[1], 6),
        params_left=round(_count(smaller.parameters()) / parameters, 6),
        macs_left=round(operations[0] / operations[1], 6),
        masked=masked_alike(replica, images, [g for g in found if g.exact]),
        trains=_trains(smaller, example),
        reason=_reason(outputs, replica, images, traced, found),
        seconds=round(time.monotonic() - begun, 1),
        versions=versions(),
    )


def _count(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() for t in tensors)


def masked_alike(model: nn.Module, images: Tensor, found: Sequence[Group]) -> bool:
    """Returns whether removal of half of each group gives the same outputs as masking them by zeros."""
    kept, masked, smaller = halved(found), copy.deepcopy(model), copy.deepcopy(model)
    for group in found:
        gone = torch.ones(group.channels, dtype=torch.bool)
        gone[kept[group.root]] = False
        groups.zero_(masked, group, gone)
    groups.shrink_(smaller, groups.keep(smaller, found, kept))
    with torch.no_grad():
        return groups.same(smaller(images), masked(images))


def _trains(model: nn.Module, example: Tensor) -> bool:
    """Returns whether a model runs forward and backward in training mode, and gives one score for each class."""
    try:
        outs = model.train()(example)
        if isinstance(outs, Tensor):
            outs = [outs]  # distilled models return two
        total = torch.stack([o.sum() for o in outs if isinstance(o, Tensor)]).sum()
        torch.autograd.backward(total)
        with torch.no_grad():
            return tuple(model.eval()(example).shape) == (len(example), CLASSES)
    except Exception:  # layers raise different errors for sizes that do not match
        return False


def _outputs(model: nn.Module, traced: Traced, found: Sequence[Group]) -> Counter[str]:
    """Counts the removable outputs of convolutions and linear layers (""), and the others by reason."""
    weights = layers.weights(model, classifier=False)
    removable = {name: torch.zeros(len(weight), dtype=torch.bool) for name, weight in weights.items()}
    for group in found:
        for member in group.members:
            if member.name in removable and member.dim == 0:
                removable[member.name][member.index] = True
    count = Counter[str]()
    for name, outputs in removable.items():
        if name in traced.rows:  # a layer that the model never calls has no outputs
            count[""] += int(outputs.sum())
            reasons = zip(_reasons(traced.rows[name]), outputs.tolist(), strict=True)
            count.update(reason for reason, is_removable in reasons if not is_removable)
    return count


def _reasons(dim: Dim) -> list[str]:
    """Returns for each position of a dimension the reason why it cannot be removed, if it is in no group."""
    found = list[str]()
    for segment in dim:
        why = next((f.why for f in segment if isinstance(f, Fixed)), GRID)
        if any(isinstance(f, (Axis, Sum)) for f in segment):
            why = UNSOUND
        found += [why] * length(segment)
    return found


def _reason(
    outputs: Mapping[str, int], model: nn.Module, images: Tensor, traced: Traced, found: Sequence[Group]
) -> str:
    """Returns the reasons why some outputs cannot be removed, with their shares, in one line."""
    whole, roots = sum(outputs.values()), {g.root for g in found}
    parts = list[str]()
    for why, count in sorted(outputs.items(), key=lambda item: -item[1]):
        if not why or why in NATURAL:
            continue
        part = f"{count / whole:.1%}: {why}"
        dropped = [g for g in traced.groups if g.root not in roots]
        if why == UNSOUND and dropped:
            because = groups.unsound(model, images, dropped[:1])
            if because:
                part += f" ({dropped[0].root}: {because})"
        parts.append(part)
    return "; ".join(parts)

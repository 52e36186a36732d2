"""Whether an architecture can be pruned by channels, in what share, and if not, why: one row of the matrix.

A model with random weights is traced and proved (`bench.channels.groups`); then half of the channels of every group
leave at once, and what is left is run forward and backward, compared with the masked model, and counted.
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

from bench import masks, models
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
    """What was found out about one architecture. Shares are 0 to 1.

    ``can_leave`` and ``tied`` are shares of the outputs of all convolutions and linear layers but the classifier: those in
    a group, and those that are there one for each place of the image or for each class. ``weights_left`` (convolutions
    and linear layers, the classifier's included), ``params_left`` and ``macs_left`` are what half of each group leaves.
    ``masked`` tells that removing is the same as masking, for the groups where a masked channel is as good as gone
    (all but ``inexact`` of ``groups``), and ``trains`` that what is left runs forward and backward in training mode.
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
        """Either "full" (everything can leave but what is tied by nature), "partly" (something can) or "not"."""
        if not (self.groups and self.masked and self.trains):
            return "not"
        return "full" if self.can_leave + self.tied > EVERYTHING else "partly"

    @property
    def works(self) -> bool:
        """Our criterion: halving every group removes a quarter of the convolution and linear weights, all proofs passed."""
        return self.verdict != "not" and self.weights_left <= 0.75

    @property
    def loosely(self) -> bool:
        """The criterion that stock Torch-Pruning was counted by: less than 90 % of the parameters are left, and it runs."""
        return self.trains and self.params_left < 0.9


def versions() -> str:
    """What a row depends on besides this code."""
    return f"timm {timm.__version__}, torch {torch.__version__.partition('+')[0]}"


def halved(found: Iterable[Group]) -> dict[str, Tensor]:
    """Every other channel of each group."""
    return {g.root: torch.arange(0, g.channels - g.channels % 2, 2) for g in found}


def examine(name: str, image_size: int, module: str = "") -> Row:
    """One row. Whatever goes wrong in making the model is raised, whatever goes wrong in pruning it is the row's reason."""
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
    weights = [_count(masks.prunable(m, classifier=True).values()) for m in (smaller, model)]
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
    """Whether the model without half of some groups computes what it does with that half masked by zeros."""
    kept, masked, smaller = halved(found), copy.deepcopy(model), copy.deepcopy(model)
    for group in found:
        gone = torch.ones(group.channels, dtype=torch.bool)
        gone[kept[group.root]] = False
        groups.zero_(masked, group, gone)
    groups.shrink_(smaller, groups.keep(smaller, found, kept))
    with torch.no_grad():
        return groups.same(smaller(images), masked(images))


def _trains(model: nn.Module, example: Tensor) -> bool:
    """Whether a model runs forward and backward in training mode, and gives one score per class."""
    try:
        out = model.train()(example)
        outs = [out] if isinstance(out, Tensor) else list(out)  # distilled models return two
        total = torch.stack([o.sum() for o in outs if isinstance(o, Tensor)]).sum()
        torch.autograd.backward(total)
        with torch.no_grad():
            return tuple(model.eval()(example).shape) == (len(example), CLASSES)
    except Exception:  # whatever a layer raises that does not fit
        return False


def _outputs(model: nn.Module, traced: Traced, found: Sequence[Group]) -> Counter[str]:
    """How many outputs of convolutions and linear layers can leave (""), and of the others why they stay."""
    leaves = {name: torch.zeros(len(w), dtype=torch.bool) for name, w in masks.prunable(model).items()}
    for group in found:
        for member in group.members:
            if member.name in leaves and member.dim == 0:
                leaves[member.name][member.index] = True
    count = Counter[str]()
    for name, gone in leaves.items():
        if name in traced.rows:  # a layer that the model never calls has no outputs
            count[""] += int(gone.sum())
            count.update(w for w, leaving in zip(_whys(traced.rows[name]), gone.tolist(), strict=True) if not leaving)
    return count


def _whys(dim: Dim) -> list[str]:
    """For each position of a dimension, why it stays."""
    found = list[str]()
    for segment in dim:
        free = any(isinstance(f, (Axis, Sum)) for f in segment)
        why = UNSOUND if free else next((f.why for f in segment if isinstance(f, Fixed)), GRID)
        found += [why] * length(segment)
    return found


def _reason(
    outputs: Mapping[str, int], model: nn.Module, images: Tensor, traced: Traced, found: Sequence[Group]
) -> str:
    """Why not everything can leave, in one line."""
    whole, roots = sum(outputs.values()), {g.root for g in found}
    parts = []
    for why, count in sorted(outputs.items(), key=lambda item: -item[1]):
        if why and why not in NATURAL:
            dropped = next((g for g in traced.groups if g.root not in roots), None) if why == UNSOUND else None
            because = groups.unsound(model, images, [dropped]) if dropped else None
            parts.append(
                f"{count / whole:.1%}: {why}" + (f" ({dropped.root}: {because})" if dropped and because else "")
            )
    return "; ".join(parts)

"""How channels leave a model: at once, or by decay, revocably. The arithmetic of `methods.decay`, for hosts to use.

A host (a structured method) says which channels shall go; `Leave` says how; `Channels` is the state of both. Per step:

    after_backward    release_(...)        which of the leaving resist and are given back;  gradients of the gone are 0
    after_step        advance_(...)        the leaving shrink;  those at the end of their decay are gone
                      start_(...)          the host's newly chosen begin to leave

A step waits for nothing on the device, and costs nothing while no channel is leaving.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench import masks
from bench.channels import groups
from bench.channels.costs import Costs
from bench.channels.groups import Group, Plan
from bench.config import Config, hp
from bench.errors import BenchError, one_of

LAWS = ("linear", "cosine", "multiplicative")
VARIANTS = ("gain", "relative", "remaining")
MEMBERS = ("all", "norms", "gates")
RECONSTRUCTION = (
    "self-rectifying: the paper's text could not be obtained; the names C_rate, C_len, T_rate, T_len and N are its own, "
    "the formulas, thresholds, cool-down and budget handling are ours. Smooth pruning is faithful in outline."
)


@dataclass(frozen=True)
class Leave(Config):
    """The way of leaving; see `methods.decay` for what the fields mean."""

    how: str = hp("at_once", choices=("at_once", "decay"), help="zeroed where the host says, or by decay from there on")
    steps: int = hp(10, low=1, high=1_000_000, help="N, the steps of a decay")
    law: str = hp("linear", choices=LAWS, help="how the length falls")
    members: str = hp("all", choices=MEMBERS, help="what decays: all of the channel, norms, or their scales only")
    rectify: bool = hp(False, help="release channels that resist")
    rate: float = hp(0.2, low=-1, high=2, help="C_rate above which a channel resists; more than 1: never")
    length: float = hp(0.001, low=-1e6, high=1e6, help="C_len above which a channel resists")
    variant: str = hp("gain", choices=VARIANTS, help="what C_len measures")
    rule: str = hp("both", choices=("both", "either"), help="which criteria must hold")
    persistence: int = hp(3, low=1, high=1_000_000, help="steps in a row that they must hold")
    cooldown: int = hp(500, low=0, high=1_000_000, help="steps before a released channel can be chosen again")

    @property
    def reconstructed(self) -> str:
        """What is ours in this way of leaving, or ""."""
        return RECONSTRUCTION if self.how == "decay" and self.rectify else ""


def fraction_left(step: Tensor | float, steps: int, law: str) -> Tensor:
    """The share of its length that a channel has after ``step`` of ``steps`` decay steps, 1 to 0."""
    progress = torch.as_tensor(step, dtype=torch.float64) / steps
    return 0.5 * (1 + torch.cos(math.pi * progress)) if law == "cosine" else 1 - progress


def decayed_norm(initial: float, step: int, steps: int, law: str = "linear") -> float:
    """The length after decay step ``step`` of ``steps`` of a channel that had length ``initial``.

    ``law`` is "linear", "cosine" or "multiplicative" (the product of its factors, which is the linear law where nothing
    is trained in between). Raises `BenchError` for an unknown law, or a step outside 0 to ``steps``.
    """
    if law not in LAWS:
        raise one_of("law", law, LAWS)
    if not 0 <= step <= steps or steps < 1:
        raise BenchError(f"`0 <= step <= steps` and `steps >= 1` must hold, but got ({step=}, {steps=})")
    return 0.0 if step == steps else initial * float(fraction_left(step, steps, law))


def resistance(
    weight: Tensor, grad: Tensor, *, initial: float, steps: int, lr: float, variant: str = "gain"
) -> tuple[float, float]:
    """C_rate and C_len of one channel (our reconstruction, see `methods.decay`).

    Args:
        weight: all its parameters, any shape.
        grad: their gradients, the same shape.
        initial: its length when its decay began.
        steps: N.
        lr: the learning rate.
        variant: "gain", "relative" or "remaining".
    """
    if variant not in VARIANTS:
        raise one_of("variant", variant, VARIANTS)
    weight, grad = weight.detach(), grad.detach()
    dot, lengths = (
        (weight * grad).sum(),
        torch.stack([weight.norm(), grad.norm(), torch.tensor(float(initial)).to(weight)]),
    )
    rate, length = _resistances(dot, lengths[0], lengths[1], lengths[2], steps, lr, variant)
    return float(rate), float(length)


def _resistances(
    dot: Tensor, norm: Tensor, grad: Tensor, initial: Tensor, steps: int, lr: float, variant: str
) -> tuple[Tensor, Tensor]:
    """C_rate and C_len from inner products and lengths; 0 where a length is 0."""
    rho = _ratio(-dot, norm)
    if variant == "remaining":
        return _ratio(rho, grad), _ratio(norm, initial)
    return _ratio(rho, grad), lr * _ratio(rho, initial / steps if variant == "gain" else norm)


def _ratio(top: Tensor, bottom: Tensor) -> Tensor:
    return torch.where(bottom > 0, top / bottom.clamp_min(torch.finfo(bottom.dtype).tiny), 0.0)


@dataclass
class Channels(masks.Masked):
    """The state of a structured method: by group root, what is gone and what is leaving; and, once removed, the plan.

    ``gone``, ``leaving``: bool (C,). ``age``: decay steps done. ``initial``: lengths when the decay began. ``streak``: steps
    of resistance in a row. ``free``: the step from which a channel can be chosen. ``spared``: which were released at some
    time. ``ends``: the step after which nothing of the group is leaving. ``released`` counts. ``cut``: how many were in the
    middle of their decay when the model became smaller, as its steps did not fit into the phase. The groups themselves are
    found again at each start.
    """

    gone: dict[str, Tensor] = field(default_factory=dict)
    leaving: dict[str, Tensor] = field(default_factory=dict)
    age: dict[str, Tensor] = field(default_factory=dict)
    initial: dict[str, Tensor] = field(default_factory=dict)
    streak: dict[str, Tensor] = field(default_factory=dict)
    free: dict[str, Tensor] = field(default_factory=dict)
    spared: dict[str, Tensor] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    due: list[int] = field(default_factory=list)
    cut: int = 0
    released: Tensor | None = None
    plan: Plan | None = None
    groups: list[Group] = field(default_factory=list, metadata={"saved": False})
    costs: Costs | None = field(default=None, metadata={"saved": False})

    def given_up(self, root: str) -> Tensor:
        """What the host's budget counts as gone: gone, or on the way out, (C,)."""
        return self.gone[root] | self.leaving[root]


State = TypeVar("State", bound=Channels)


def new_channels(cls: type[State], found: Sequence[Group], device: torch.device) -> State:
    """A state (of a class derived from `Channels`) at the start: everything stays."""

    def each(kind: torch.dtype) -> dict[str, Tensor]:
        return {g.root: torch.zeros(g.channels, dtype=kind, device=device) for g in found}

    return cls(
        {},
        gone=each(torch.bool),
        leaving=each(torch.bool),
        age=each(torch.int64),
        initial=each(torch.float64),
        streak=each(torch.int64),
        free=each(torch.int64),
        spared=each(torch.bool),
        released=torch.zeros((), dtype=torch.int64, device=device),
        groups=list(found),
    )


def decaying(group: Group, leave: Leave) -> Group:
    """The part of a group that shrinks."""
    if leave.members == "all":
        return group
    scale = (".weight",) if leave.members == "gates" else (".weight", ".bias")
    chosen = tuple(m for m in group.members if m.kind == "norm" and m.name.endswith(scale))
    return replace(group, members=chosen or group.members)  # a group without a norm can only shrink as a whole


@torch.no_grad()
def start_(
    leave: Leave,
    state: Channels,
    model: nn.Module,
    chosen: Mapping[str, Tensor],
    step: int,
    optimizer: Optimizer | None,
) -> None:
    """The channels ``chosen`` (bool (C,) by root) leave from now on; those gone or leaving already go on as they are."""
    values = dict(model.named_parameters())
    steps = leave.steps if leave.how == "decay" else 1
    for group in state.groups:
        root = group.root
        new = chosen[root].to(state.gone[root].device) & ~state.given_up(root)
        if leave.how == "at_once":
            state.gone[root] = state.gone[root] | new
            continue
        length = groups.norms(values, decaying(group, leave)).sqrt().double()
        state.initial[root] = torch.where(new, length, state.initial[root])
        state.age[root] = state.age[root].masked_fill(new, 0)
        state.streak[root] = state.streak[root].masked_fill(new, 0)
        state.leaving[root] = state.leaving[root] | new
        state.ends[root] = max(state.ends.get(root, 0), step + steps - 1)
    state.due = sorted({*state.due, step + steps - 1})
    if leave.how == "decay":
        _shrink(leave, state, model, new_only=chosen, step=step)
    _settle(state, model, step, optimizer)


def advance_(leave: Leave, state: Channels, model: nn.Module, step: int, optimizer: Optimizer | None) -> None:
    """One decay step of everything that was leaving before this optimiser step."""
    if any(end >= step for end in state.ends.values()):
        _shrink(leave, state, model, new_only=None, step=step)
        _settle(state, model, step, optimizer)


@torch.no_grad()
def _shrink(leave: Leave, state: Channels, model: nn.Module, new_only: Mapping[str, Tensor] | None, step: int) -> None:
    values = dict(model.named_parameters())
    for group in state.groups:
        root = group.root
        if state.ends.get(root, 0) < step:
            continue
        moving = state.leaving[root]
        if new_only is not None:
            moving = moving & new_only[root].to(moving.device) & (state.age[root] == 0)
        part, age = decaying(group, leave), state.age[root] + moving
        target = fraction_left(age.double(), leave.steps, leave.law)
        if leave.law == "multiplicative":
            factor = _ratio(target, fraction_left((age - 1).double(), leave.steps, leave.law))
        else:
            factor = _ratio(target * state.initial[root], groups.norms(values, part).sqrt().double())
        state.age[root] = age
        groups.scale_(model, part, torch.where(moving, factor, 1.0))
        done = moving & (age >= leave.steps)
        state.gone[root], state.leaving[root] = state.gone[root] | done, state.leaving[root] & ~done


def _settle(state: Channels, model: nn.Module, step: int, optimizer: Optimizer | None) -> None:
    """Where a decay ends at this step: zero what is gone, and mask it from now on."""
    if state.due and state.due[0] <= step:
        state.due = [end for end in state.due if end > step]
        state.masks = element_masks(model, state)
        state.mask_weights_(model, optimizer)


def element_masks(model: nn.Module, state: Channels) -> dict[str, Tensor]:
    """Masks of all parameters that belong to a group, False at what is gone."""
    values, found = dict(model.named_parameters()), dict[str, Tensor]()
    for group in state.groups:
        for member in group.members:
            if member.name in values:
                weight = values[member.name]
                along = torch.ones(weight.shape[member.dim], dtype=torch.bool, device=weight.device)
                along[member.index.to(weight.device)] = ~state.gone[group.root][member.channel.to(weight.device)]
                shape = [-1 if d == member.dim else 1 for d in range(weight.dim())]
                mask = found.get(member.name, torch.ones_like(weight, dtype=torch.bool))
                found[member.name] = mask & along.view(shape)
    return found


@torch.no_grad()
def release_(leave: Leave, state: Channels, model: nn.Module, step: int, lr: float) -> None:
    """Give back the leaving channels that resist; their weights stay as they are. Gradients must be there."""
    if not leave.rectify or leave.how != "decay":
        return
    values = dict(model.named_parameters())
    grads = {name: p.grad for name, p in values.items() if p.grad is not None}
    for group in state.groups:
        root = group.root
        if state.ends.get(root, 0) <= step:
            continue
        dot = groups.dots(values, grads, group).double()
        norm, slope = (groups.norms(v, group).sqrt().double() for v in (values, grads))
        rate, length = _resistances(dot, norm, slope, state.initial[root], leave.steps, lr, leave.variant)
        strong, long = rate > leave.rate, length > leave.length
        resists = state.leaving[root] & (strong & long if leave.rule == "both" else strong | long)
        state.streak[root] = torch.where(resists, state.streak[root] + 1, 0)
        free = resists & (state.streak[root] >= leave.persistence)
        state.leaving[root] = state.leaving[root] & ~free
        state.spared[root] = state.spared[root] | free
        state.age[root] = state.age[root].masked_fill(free, 0)
        state.free[root] = state.free[root].masked_fill(free, step + leave.cooldown)
        assert state.released is not None
        state.released = state.released + free.sum()

"""The removal policy: how a structured method removes its channels, at once or by a decay that can be revoked.

The arithmetic of `methods.decay`, for every structured method (the host). The host chooses the channels to remove, `Leave`
says how they are removed, and `Channels` is the state of both. Per step:

    after_backward    release_(...)        decaying channels that resist are released
    after_step        advance_(...)        decaying channels shrink; at the end of its decay a channel is removed
                      start_(...)          the channels that the host has just chosen begin to decay, or are removed at once

A removed channel is masked until the host makes the model smaller. A step never waits for the device, and costs nothing
while no channel decays.
"""

from __future__ import annotations

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
from methods._decay_law import LAWS, VARIANTS, fraction_left, ratio, resistances
from methods._lengths import factors_for, held, scale_

MEMBERS = ("all", "norms", "gates")
RECONSTRUCTION = (
    "self-rectifying: the paper's text could not be obtained; the names C_rate, C_len, T_rate, T_len and N are its own, "
    "the formulas, thresholds, cool-down and budget handling are ours. Smooth pruning is faithful in outline."
)


@dataclass(frozen=True)
class Leave(Config):
    """The removal policy; see `methods.decay` for the equations of its fields."""

    how: str = hp("at_once", choices=("at_once", "decay"), help="zero chosen channels at once, or by a decay")
    steps: int = hp(10, low=1, high=1_000_000, help="N, the steps of a decay")
    law: str = hp("linear", choices=LAWS, help="how the length of a channel falls")
    members: str = hp(
        "all", choices=MEMBERS, help="what decays: all of the channel, its norms, or their scales (gates)"
    )
    rectify: bool = hp(False, help="release channels that resist")
    rate: float = hp(0.2, low=-1, high=2, help="C_rate above which a channel resists; more than 1: never")
    length: float = hp(0.001, low=-1e6, high=1e6, help="C_len above which a channel resists")
    variant: str = hp("gain", choices=VARIANTS, help="what C_len measures")
    rule: str = hp("both", choices=("both", "either"), help="which of the two criteria must hold")
    persistence: int = hp(3, low=1, high=1_000_000, help="steps in a row for which they must hold")
    cooldown: int = hp(500, low=0, high=1_000_000, help="steps before a released channel can be chosen again")

    @property
    def reconstructed(self) -> str:
        """What is ours in this policy because the paper could not be obtained; or ""."""
        return RECONSTRUCTION if self.how == "decay" and self.rectify else ""


@dataclass
class Channels(masks.Masked):
    """The state of a structured method. Tensors are (C,) for the C channels of a group, by the group's root.

    Attributes:
        gone: bool, channels that are removed, which means masked until the model is made smaller.
        leaving: bool, channels that decay.
        age: decay steps done.
        initial: the length when the decay began.
        streak: steps in a row in which the channel resisted.
        free: the step from which a channel can be chosen.
        spared: bool, channels that were released at some time.
        ends: the step after which no channel of the group decays.
        due: the steps at which a decay ends, in order.
        cut: the number of channels that were in the middle of their decay when the model was made smaller.
        released: the number of releases.
        unranked: whether all rankings leave the same number of channels in each group.
        plan: the positions that are left in each tensor, once the model is smaller.
        groups: the channel groups; found again when the method is attached, and not saved.
        costs: what each channel costs; not saved either.
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
    unranked: bool = False
    plan: Plan | None = None
    groups: list[Group] = field(default_factory=list, metadata={"saved": False})
    costs: Costs | None = field(default=None, metadata={"saved": False})

    def given_up(self, root: str) -> Tensor:
        """The channels that the host's budget counts as removed: removed or decaying, bool (C,)."""
        return self.gone[root] | self.leaving[root]

    def all_given_up(self) -> Tensor:
        """The same of all groups in a row, bool (K,) for K channels."""
        return torch.cat([self.given_up(group.root) for group in self.groups])


State = TypeVar("State", bound=Channels)


def new_channels(cls: type[State], found: Sequence[Group], device: torch.device) -> State:
    """A state, of a class derived from `Channels`, in which no channel is removed."""

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
    """The members of a group that decay."""
    if leave.members == "all":
        return group
    suffixes = {"gates": (".weight",), "norms": (".weight", ".bias")}[leave.members]
    norms = tuple(m for m in group.members if m.kind == "norm" and m.name.endswith(suffixes))
    if not norms:
        return group  # without a norm it can only decay as a whole
    return replace(group, members=norms)


@torch.no_grad()
def start_(
    leave: Leave,
    state: Channels,
    model: nn.Module,
    chosen: Mapping[str, Tensor],
    step: int,
    optimizer: Optimizer | None,
) -> None:
    """Begin to remove the channels ``chosen``, bool (C,) by root; those removed or decaying already are left as they are."""
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
    """One decay step of all channels that decayed before this optimiser step."""
    if any(end >= step for end in state.ends.values()):
        _shrink(leave, state, model, new_only=None, step=step)
        _settle(state, model, step, optimizer)


@torch.no_grad()
def _shrink(leave: Leave, state: Channels, model: nn.Module, new_only: Mapping[str, Tensor] | None, step: int) -> None:
    """A decay step of all decaying channels, or of the new ones only. By a law of the length, every decaying channel has
    the length of its age afterwards: the new ones share tensors with those whose step this was before."""
    active = [group for group in state.groups if state.ends.get(group.root, 0) >= step]
    sizes = [group.channels for group in active]
    leaving, age = (torch.cat([found[g.root] for g in active]) for found in (state.leaving, state.age))
    moving = leaving
    if new_only is not None:
        moving = moving & torch.cat([new_only[g.root].to(moving.device) for g in active]) & (age == 0)
    age = age + moving
    target = fraction_left(age.double(), leave.steps, leave.law)
    parts = held(model, [decaying(group, leave) for group in active])
    if leave.law == "multiplicative":
        scale_(parts, moving, ratio(target, fraction_left((age - 1).double(), leave.steps, leave.law)))
    else:
        initial = torch.cat([state.initial[g.root] for g in active])
        scale_(parts, leaving, factors_for(parts, leaving, target * initial))
    for group, new, moved in zip(active, torch.split(age, sizes), torch.split(moving, sizes), strict=True):
        root, done = group.root, moved & (new >= leave.steps)
        state.age[root], state.gone[root] = new, state.gone[root] | done
        state.leaving[root] = state.leaving[root] & ~done


def _settle(state: Channels, model: nn.Module, step: int, optimizer: Optimizer | None) -> None:
    """Where a decay ends at this step: zero the removed channels, and mask them from now on."""
    if state.due and state.due[0] <= step:
        state.due = [end for end in state.due if end > step]
        state.masks = element_masks(model, state)
        state.mask_weights_(model, optimizer)


def element_masks(model: nn.Module, state: Channels) -> dict[str, Tensor]:
    """Masks of all parameters that belong to a group, by name (bool, False in removed channels)."""
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
    """Release the decaying channels that resist; their weights stay as they are. Needs the gradients of this step."""
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
        rate, length = resistances(dot, norm, slope, state.initial[root], leave.steps, lr, leave.variant)
        strong, long = rate > leave.rate, length > leave.length
        fulfilled = strong & long if leave.rule == "both" else strong | long
        resists = state.leaving[root] & fulfilled
        state.streak[root] = torch.where(resists, state.streak[root] + 1, 0)
        free = resists & (state.streak[root] >= leave.persistence)
        state.leaving[root] = state.leaving[root] & ~free
        state.spared[root] = state.spared[root] | free
        state.age[root] = state.age[root].masked_fill(free, 0)
        state.free[root] = state.free[root].masked_fill(free, step + leave.cooldown)
        assert state.released is not None
        state.released = state.released + free.sum()

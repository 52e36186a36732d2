"""What structured methods share: groups, a budget met exactly, channels that leave, and their physical removal."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from bench.channels import groups
from bench.channels.costs import BUDGETS, SCOPES, TOLERANCE, Costs, choose
from bench.channels.groups import Group
from bench.config import hp
from bench.errors import Ineffective
from bench.method import Clock, Method
from methods._leaving import Channels, Leave, advance_, element_masks, new_channels, release_, start_

FALLBACKS = ("refuse", "mask")
MASKED = "masked channels"
LAST = 1e30  # above all scores: a released channel that must not be chosen yet
State = TypeVar("State", bound=Channels)


@dataclass(frozen=True)
class Structured(Method[State], abc.ABC):
    """Base of methods that remove channels: a subclass says when (`select_`, `remove_`) and scores them.

    Where a model cannot lose channels, or not enough of them, it is refused. With ``fallback="mask"`` the outputs of each layer
    are masked instead: the model stays as large and as slow as it was, and its results are labelled so.
    """

    touched: ClassVar[str] = "channels that can leave"
    target = "final"
    tolerance = 0.02  # `choose` comes within 1 %, unless a single channel of a tiny model is more

    final: float = hp(0.5, low=0, below=1, help="share of the budget's cost to remove, met within 1 %")
    budget: str = hp("macs", choices=BUDGETS, help="what `final` counts")
    scope: str = hp("global", choices=SCOPES, help="rank all groups together, or take the same share of each")
    round_to: int = hp(8, low=1, high=1024, help="groups keep multiples of this many channels, where that can be met")
    leave: Leave = field(default=Leave(), metadata={"help": "how channels leave: leave.how=decay, leave.steps=N, ..."})
    fallback: str = hp("refuse", choices=FALLBACKS, help="where too little can leave: refuse, or mask channels instead")

    @property
    def reconstructed(self) -> str:
        """Where channels are given back, the criteria are ours."""
        return self.reconstruction or self.leave.reconstructed

    def channels(self, cls: type[State], model: nn.Module, example: Tensor) -> State:
        """The state at the start, with the model's groups and costs; without a target there is nothing to find.

        Raises:
            Ineffective: nothing can leave, or less than is wanted, and nothing may be masked instead.
        """
        find = groups.find if self.final > 0 else _nothing
        try:
            costs = self._costs(model, example, find(model, example))
        except Ineffective as error:
            if self.fallback == "refuse":
                raise Ineffective(f"{error}{self._or_masked(model, example)}") from None
            costs = self._costs(model, example, groups.outputs(model, example))
        state = new_channels(cls, costs.groups, example.device)
        state.costs = costs
        return state

    def _or_masked(self, model: nn.Module, example: Tensor) -> str:
        """The other remedy, where it is one."""
        try:
            self._costs(model, example, groups.outputs(model, example))
        except Ineffective:
            return ""
        return ", or fallback=mask"

    def _costs(self, model: nn.Module, example: Tensor, found: list[Group]) -> Costs:
        """The costs by those groups that the method touches, which must be able to lose what is wanted."""
        chosen = [group for group in found if self.touches(model, group)]
        if self.final > 0 and not chosen:
            raise Ineffective(f"{self.name} needs {self.touched}, but found none; choose another model")
        costs = Costs.of(model, chosen, (len(example), *example.shape[1:]), self.budget)
        dense = costs.total([0] * len(chosen))
        most = 1 - costs.total([group.channels - 1 for group in chosen]) / dense if dense else 0.0
        if self.final > most + TOLERANCE:
            raise Ineffective(
                f"{self.name} needs {self.touched} for {self.final:.1%} of the {self.budget}, but those here make up "
                f"{most:.1%}; ask for less"
            )
        return costs

    def touches(self, model: nn.Module, group: Group) -> bool:
        """Whether the method may remove channels of a group."""
        return True

    @abc.abstractmethod
    def scores(self, state: State, model: nn.Module, clock: Clock) -> dict[str, Tensor]:
        """How important each channel is, (C,) by group root; the lowest leave first."""

    def after_backward(self, state: State, model: nn.Module, clock: Clock) -> None:
        """What is gone gets no gradient; what is leaving may resist."""
        release_(self.leave, state, model, clock.step, float(clock.optimizer.param_groups[0]["lr"]))
        state.mask_gradients_(model)

    def after_step(self, state: State, model: nn.Module, clock: Clock) -> None:
        """What is leaving shrinks."""
        advance_(self.leave, state, model, clock.step, clock.optimizer)

    def select_(self, state: State, model: nn.Module, clock: Clock, share: float) -> None:
        """Let channels leave until ``share`` of the dense cost is gone or on its way out."""
        start_(self.leave, state, model, self.chosen(state, model, clock, share), clock.step, clock.optimizer)

    def chosen(self, state: State, model: nn.Module, clock: Clock, share: float) -> dict[str, Tensor]:
        """What must be gone for ``share`` of the cost: first all that the budget counts as gone already."""
        out = {g.root: state.given_up(g.root) for g in state.groups}
        if abs(self._removed(state, out) - share) <= TOLERANCE:
            return out
        ranked = {}
        for root, score in self.scores(state, model, clock).items():
            ranked[root] = score.double().masked_fill(state.free[root] > clock.step, LAST)
        try:
            return self._choose(state, ranked, share, out)
        except Ineffective:  # of a tiny model too much of the wrong size can be gone: some of it stays after all, empty
            empty = {root: score.masked_fill(out[root], -LAST) for root, score in ranked.items()}
            return self._choose(state, empty, share, None)

    def _choose(
        self, state: State, scores: dict[str, Tensor], share: float, gone: dict[str, Tensor] | None
    ) -> dict[str, Tensor]:
        assert state.costs is not None
        last = share >= self.final
        return choose(state.costs, scores, share, scope=self.scope, round_to=self.round_to, gone=gone, exact=last)

    def _removed(self, state: State, gone: Mapping[str, Tensor]) -> float:
        """The share of the dense cost that is removed with ``gone``."""
        assert state.costs is not None
        dense = state.costs.total([0] * len(state.groups))
        return 1 - state.costs.total([int(gone[g.root].sum()) for g in state.groups]) / dense if dense else 0.0

    def remove_(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Meet the target exactly, with whatever is still leaving cut off, and make the model smaller; what can only be masked
        stays masked."""
        chosen = self.chosen(state, model, clock, self.final)
        state.cut = sum(int(leaving.sum()) for leaving in state.leaving.values())
        for group in state.groups:
            state.gone[group.root] = chosen[group.root].to(state.gone[group.root].device)
            state.leaving[group.root] = torch.zeros_like(state.gone[group.root])
        state.masks = element_masks(model, state)
        state.mask_weights_(model)
        kept = {root: (~gone).nonzero()[:, 0] for root, gone in state.gone.items()}
        state.plan = groups.keep(model, state.groups, kept)
        groups.shrink_(model, state.plan)
        state.masks, state.ends, state.due = state.masks if _masks_only(state) else {}, {}, []

    def rebuild(self, state: State, model: nn.Module) -> None:
        """After a resume: the shapes of a model that has lost its channels already."""
        if state.plan is not None:
            groups.shrink_(model, state.plan)

    def finish(self, state: State, model: nn.Module) -> nn.Module:
        """The smaller model."""
        if self.final > 0 and state.plan is None:
            raise Ineffective(f"{self.name} must remove channels, but the run was cut short before it did")
        return model

    def label(self, state: State) -> str:
        """That channels were masked, where none could be removed."""
        return MASKED if _masks_only(state) else ""

    def kept(self, state: State) -> Mapping[str, Any]:
        """The plan of what is left."""
        return state.plan or {}

    def masks(self, state: State) -> Mapping[str, Tensor]:
        """Of weights; what is gone from norms and biases is masked too."""
        return {name: mask for name, mask in state.masks.items() if mask.dim() > 1}

    def attained(self, metrics: Mapping[str, float]) -> float | None:
        """The share of the budget that the finished model has lost; what is masked in one as large as before counts as lost."""
        if self.budget == "macs":
            return 1 - metrics["macs/fraction"]
        whole = self.fallback == "mask" and metrics["params/all"] == metrics["params/reference"]
        left = metrics["params/nonzero" if whole else "params/all"]
        return 1 - left / metrics["params/reference"] if self.budget == "params" else None

    def stats(self, state: State, model: nn.Module) -> Mapping[str, float]:
        """Channels gone, on their way out, released so far (each time counts), how many of the released still stay, and how
        many were cut off in the middle of a decay."""
        stay = {root: spared & ~state.given_up(root) for root, spared in state.spared.items()}
        gone, leaving, stayed = (
            sum(float(t.sum()) for t in found.values()) for found in (state.gone, state.leaving, stay)
        )
        counts = {"gone": gone, "leaving": leaving, "released": float(state.released or 0), "stayed": stayed}
        return counts | {"cut": float(state.cut)}


def _nothing(model: nn.Module, example: Tensor) -> list[Group]:
    return []


def _masks_only(state: Channels) -> bool:
    return bool(state.groups) and not any(group.removable for group in state.groups)

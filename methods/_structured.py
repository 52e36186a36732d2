"""What structured methods share: channel groups, a budget that is met exactly, the removal policy, and physical removal."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from bench import layers
from bench.channels import groups
from bench.channels.costs import BUDGETS, SCOPES, TOLERANCE, Costs, choose
from bench.channels.groups import Group
from bench.channels.influence import influential
from bench.config import hp
from bench.errors import Ineffective
from bench.method import Clock, Method, Phase
from methods._leaving import Channels, Leave, advance_, element_masks, new_channels, release_, start_

FALLBACKS = ("refuse", "mask")
MASKED = "masked channels"
UNRANKED = "widths set by rounding"  # a ranking without influence on them
BEFORE = 8  # the `round_to` of results whose id does not name it
LAST = 1e30  # above all scores: of a released channel, which must not be chosen during its cool-down
State = TypeVar("State", bound=Channels)


@dataclass(frozen=True)
class Structured(Method[State], abc.ABC):
    """Base of methods that remove channels: a subclass scores them (`scores`) and says when (`select_`, `remove_`).

    A model that has no removable channels, or too few, is refused. With ``fallback="mask"`` the outputs of each layer are
    masked instead: the model stays as large and as slow as it was, and its results carry the label `MASKED`.
    """

    touched: ClassVar[str] = "removable channels"
    target = "final"
    tolerance = 0.02  # `choose` comes within 1 %, unless a single channel of a tiny model is more

    final: float = hp(0.5, low=0, below=1, help="share of the budget's cost to remove, met within 1 %")
    budget: str = hp("macs", choices=BUDGETS, help="what `final` counts")
    scope: str = hp("global", choices=SCOPES, help="rank all groups together, or take the same share of each")
    round_to: int = hp(
        0, low=0, high=1024, help="groups keep multiples of this many channels where that can be met; 0: by their width"
    )
    leave: Leave = field(default=Leave(), metadata={"help": "removal policy: leave.how=decay, leave.steps=N, ..."})
    fallback: str = hp("refuse", choices=FALLBACKS, help="with too few removable channels: refuse, or mask channels")

    def identity(self) -> dict[str, Any]:
        """The name with the fields that differ from their defaults; of `round_to` from 8, its default before it was chosen by
        width, so that results of either are told apart."""
        found = super().identity()
        found.pop("round_to", None)
        if self.final > 0 and self.round_to != BEFORE:
            found["round_to"] = self.round_to
        return dict(sorted(found.items()))

    @property
    def reconstructed(self) -> str:
        """What is ours in the method itself, or in its removal policy; or ""."""
        return self.reconstruction or self.leave.reconstructed

    def channels(self, cls: type[State], model: nn.Module, example: Tensor) -> State:
        """The state at the start, with the model's channel groups and their costs; without groups where the target is 0.

        Raises:
            Ineffective: the model has no removable channels, or too few, and `fallback` does not allow masks.
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
        """The end of an error message: that masking would do, where it would."""
        try:
            self._costs(model, example, groups.outputs(model, example))
        except Ineffective:
            return ""
        return ", or fallback=mask"

    def _costs(self, model: nn.Module, example: Tensor, found: list[Group]) -> Costs:
        """The costs by the groups that the method touches.

        Raises:
            Ineffective: there is no such group, or all of them together cost less than `final`.
        """
        chosen = [group for group in found if self.touches(model, group)]
        if self.final > 0 and not chosen:
            raise Ineffective(f"{self.name} needs {self.touched}, but found none; choose another model")
        costs = Costs.of(model, chosen, (len(example), *example.shape[1:]), self.budget)
        dense = costs.total([0] * len(chosen))
        most = 0.0
        if dense:
            most = 1 - costs.total([group.channels - 1 for group in chosen]) / dense
        if self.final > most + TOLERANCE:
            raise Ineffective(
                f"{self.name} needs {self.touched} for {self.final:.1%} of the {self.budget}, but those here make up "
                f"{most:.1%}; lower `final`"
            )
        return costs

    def prunable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Every convolution's and linear layer's weight except the classifier's: filters leave whole, also those that a layer
        transforms before use."""
        return layers.weights(model, classifier=False)

    def touches(self, model: nn.Module, group: Group) -> bool:
        """Whether the method may remove channels of a group."""
        return True

    @abc.abstractmethod
    def scores(self, state: State, model: nn.Module, clock: Clock) -> dict[str, Tensor]:
        """The importance of each channel, (C,) by group root; channels with the lowest scores are removed first."""

    def after_backward(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Release decaying channels that resist; zero the gradients of removed ones."""
        release_(self.leave, state, model, clock.step, float(clock.optimizer.param_groups[0]["lr"]))
        state.mask_gradients_(model)

    def after_step(self, state: State, model: nn.Module, clock: Clock) -> None:
        """One decay step of the decaying channels."""
        advance_(self.leave, state, model, clock.step, clock.optimizer)

    def select_(self, state: State, model: nn.Module, clock: Clock, share: float) -> None:
        """Begin to remove channels, so many that removed and decaying ones make up ``share`` of the dense cost."""
        start_(self.leave, state, model, self.chosen(state, model, clock, share), clock.step, clock.optimizer)

    def chosen(self, state: State, model: nn.Module, clock: Clock, share: float) -> dict[str, Tensor]:
        """The channels to remove for ``share`` of the cost, bool (C,) by group root: removed and decaying ones, and as many
        more of the lowest scores as it takes."""
        out = {g.root: state.given_up(g.root) for g in state.groups}
        if abs(self._removed(state, out) - share) <= TOLERANCE:
            return out
        ranked = {}
        for root, score in self.scores(state, model, clock).items():
            ranked[root] = score.double().masked_fill(state.free[root] > clock.step, LAST)
        try:
            return self._choose(state, ranked, share, out)
        except Ineffective:  # in a tiny model the removed channels can miss the budget: then some of them stay, empty
            empty = {root: score.masked_fill(out[root], -LAST) for root, score in ranked.items()}
            return self._choose(state, empty, share, None)

    def _choose(
        self, state: State, scores: dict[str, Tensor], share: float, gone: dict[str, Tensor] | None
    ) -> dict[str, Tensor]:
        assert state.costs is not None
        last = share >= self.final
        return choose(state.costs, scores, share, scope=self.scope, round_to=self.round_to, gone=gone, exact=last)

    def _removed(self, state: State, gone: Mapping[str, Tensor]) -> float:
        """The share of the dense cost that is saved without the channels ``gone``."""
        assert state.costs is not None
        dense = state.costs.total([0] * len(state.groups))
        if not dense:
            return 0.0
        return 1 - state.costs.total([int(gone[g.root].sum()) for g in state.groups]) / dense

    def remove_(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Meet the target exactly and make the model smaller. Channels that are still decaying are removed at once; channels
        that can only be masked stay masked."""
        chosen = self.chosen(state, model, clock, self.final)
        state.unranked = self._is_unranked(state)
        state.cut = sum(int(leaving.sum()) for leaving in state.leaving.values())
        for group in state.groups:
            state.gone[group.root] = chosen[group.root].to(state.gone[group.root].device)
            state.leaving[group.root] = torch.zeros_like(state.gone[group.root])
        state.masks = element_masks(model, state)
        state.mask_weights_(model)
        kept = {root: (~gone).nonzero()[:, 0] for root, gone in state.gone.items()}
        state.plan = groups.keep(model, state.groups, kept)
        groups.shrink_(model, state.plan)
        state.ends, state.due = {}, []
        if not _masks_only(state):
            state.masks = {}

    def _is_unranked(self, state: State) -> bool:
        """Whether groups are ranked together, but all rankings leave the same widths."""
        assert state.costs is not None
        if self.scope != "global" or len(state.groups) < 2:
            return False
        return not influential(state.costs, self.final, scope=self.scope, round_to=self.round_to)

    def rebuild(self, state: State, model: nn.Module) -> None:
        """In a resumed run, remove the channels that had been removed."""
        if state.plan is not None:
            groups.shrink_(model, state.plan)

    def finish(self, state: State, model: nn.Module) -> nn.Module:
        """The smaller model."""
        if self.final > 0 and state.plan is None:
            raise Ineffective(f"{self.name} must remove channels, but the run was cut short before it did")
        return model

    def label(self, state: State) -> str:
        """`MASKED` where channels were masked because none could be removed; `UNRANKED` where every ranking would have left
        the same number of channels in each group."""
        said = []
        if _masks_only(state):
            said.append(MASKED)
        if state.unranked:
            said.append(UNRANKED)
        return ", ".join(said)

    def kept(self, state: State) -> Mapping[str, Any]:
        """The plan of the channels that are left."""
        return state.plan or {}

    def masks(self, state: State) -> Mapping[str, Tensor]:
        """The masks of weights; those of norms and biases, which are masked too, are left out."""
        return {name: mask for name, mask in state.masks.items() if mask.dim() > 1}

    def attained(self, metrics: Mapping[str, float]) -> float | None:
        """The share of the budget that the finished model does without; None where it counts channels. In a model with masked
        channels, parameters that are zero count as removed."""
        if self.budget == "macs":
            return 1 - metrics["macs/fraction"]
        if self.budget != "params":
            return None
        masked = self.fallback == "mask" and metrics["params/all"] == metrics["params/reference"]
        left = metrics["params/nonzero"] if masked else metrics["params/all"]
        return 1 - left / metrics["params/reference"]

    def stats(self, state: State, model: nn.Module) -> Mapping[str, float]:
        """Numbers of channels: removed ("gone"), decaying ("leaving"), releases so far ("released"), released ones that are
        still there ("stayed"), and those that were removed in the middle of a decay ("cut")."""
        stay = {root: spared & ~state.given_up(root) for root, spared in state.spared.items()}
        gone, leaving, stayed = (
            sum(float(t.sum()) for t in found.values()) for found in (state.gone, state.leaving, stay)
        )
        counts = {"gone": gone, "leaving": leaving, "released": float(state.released or 0), "stayed": stayed}
        return counts | {"cut": float(state.cut)}


def nth_phase(parts: Sequence[tuple[str, int]], index: int) -> Phase | None:
    """The phase with this index of ``parts``, each a name and its steps; parts without a step are left out."""
    phases = [Phase(name, steps) for name, steps in parts if steps]
    return phases[index] if index < len(phases) else None


def _nothing(model: nn.Module, example: Tensor) -> list[Group]:
    return []


def _masks_only(state: Channels) -> bool:
    return bool(state.groups) and not any(group.removable for group in state.groups)

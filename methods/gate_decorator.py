"""Gate Decorator (You et al. 2019, arXiv:1909.08174): scales of batch norms are gates, ranked by their effect on the loss.

A batch norm that computes gamma * x + beta of its normalised input x is trained as the gate phi of its channel,

    phi * (x + b)        with phi = gamma and b = beta / gamma, at most 10 either way

so that a channel and its shift shrink together (also in a decay, with leave.members=norms). The function stays the same, and
between steps the module holds gamma and beta = phi * b. Once the network has learned (`learn`), two kinds of phases
alternate:

    tick    convolutions are frozen, their biases too; the learning rate is the least; Theta = sum over steps of
            |dL/dphi * phi| is summed for each gate, and over the gates of coupled channels; at the end, the channels with
            the least Theta are removed
    tock    all parameters are trained on L + lam * sum |phi|; the learning rate rises to its peak and falls again

The run starts and ends with a tock, has another after every `ticks` ticks, and then fine-tunes. dL/dphi * phi is
dL/dgamma * gamma + dL/dbeta * beta: to first order, the change of the loss when the channel is removed.

Differs from the paper:
- The ticks share out the budget (`final`, `budget`) evenly, so that the last of `rounds` * `ticks` meets it within 1 %,
  instead of going on with a fixed share of the channels until a target is met. In a short run there are fewer ticks.
- Each group keeps its best `spare` (10 %) of channels as long as the budget can be met without them.
- Channels are masked when they are chosen (or decay, see `methods.decay`); the model is made smaller after the last tock.
- Groups without a batch norm are not pruned; a model without any is refused.
Differs from the official code (gate-decorator-pruning):
- Exactly as many channels are removed as the budget says; there, one more, and all that tie.
- A tick is a stretch of training steps, not one pass over a set of its own. Momentum and weight decay are the recipe's.
- Learning and fine-tuning follow the recipe's schedule; there, fine-tuning has a triangular schedule too, and no momentum.
- b is limited whenever it is used, not once at the beginning.
- The term of Theta that counts FLOPs is left out (its weight is 0 in the official configurations).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.channels.groups import Group
from bench.claims import Claim
from bench.config import hp
from bench.errors import BenchError
from bench.method import Budget, Clock, Phase
from bench.recipe import Recipe
from methods._leaving import Channels
from methods._structured import LAST, Structured, nth_phase

LIMIT = 10.0  # of |b|
SPACE: dict[str, BaseDistribution] = {
    "final": FloatDistribution(0.3, 0.8),
    "rounds": IntDistribution(1, 10),
    "ticks": IntDistribution(1, 10),
    "lam": FloatDistribution(1e-5, 1e-2, log=True),
    "low": FloatDistribution(0.01, 0.5, log=True),
    "learn": FloatDistribution(0.1, 0.5),
    "tick": FloatDistribution(0.05, 0.2),
}

_REPO = "youzhonghui/gate-decorator-pruning"
CLAIMS = (
    Claim("cifar_vgg16_bn", "cifar10", 92.07, _REPO, sparsity=0.9793, note="9.99 % of the MACs; wd 5e-4 before too"),
    Claim("cifar_resnet56", "cifar10", 93.15, _REPO, note="70 % fewer MACs"),
)


def plan(
    steps: int, *, rounds: int, ticks: int, learn: float, tick: float, tock: float
) -> tuple[list[tuple[str, int]], int]:
    """The phases of a run of ``steps`` with their steps, and how many of them come before the model is made smaller.

    ``learn``, ``tick`` and ``tock`` are shares of the run, the rest is fine-tuning. Each tick has at least one step: in a
    short run there are fewer ticks, and with too few steps no tocks.
    """
    first = min(round(learn * steps), steps - 1)
    marked = max(1, min(round(tick * steps), steps - first))
    pulled = min(round(tock * steps), steps - first - marked)
    count = min(rounds * ticks, marked)
    tocks = 1 + math.ceil(count / ticks)
    found, done = [("learn", first), ("tock", _part(pulled, 0, tocks))], 0
    for j in range(count):
        found.append(("tick", _part(marked, j, count)))
        if (j + 1) % ticks == 0 or j + 1 == count:
            done += 1
            found.append(("tock", _part(pulled, done, tocks)))
    found = [part for part in found if part[1]]
    rest = steps - sum(n for _, n in found)
    before = len(found)
    if rest:
        found.append(("fine-tune", rest))
    return found, before


def _part(total: int, index: int, parts: int) -> int:
    """Steps of part ``index``, when ``total`` steps are cut into ``parts`` that differ by one at most."""
    return total * (index + 1) // parts - total * index // parts


def triangle(step: int, steps: int, low: float) -> float:
    """The factor on the peak rate at step ``step`` (0-based) of ``steps``: from ``low`` up to 1 and back."""
    return low + (1 - low) * (1 - abs(2 * (step + 0.5) / steps - 1))


def shift(beta: Tensor, gamma: Tensor) -> Tensor:
    """The b of each gate, beta / gamma, at most `LIMIT` either way; 0 where gamma is 0."""
    return torch.where(gamma != 0, beta / gamma, 0.0).clamp(-LIMIT, LIMIT)


def worth(gamma: Tensor, beta: Tensor, slope_gamma: Tensor, slope_beta: Tensor) -> Tensor:
    """|dL/dphi * phi| of each gate, from the slopes along gamma and beta; any shape."""
    return (slope_gamma * gamma + slope_beta * beta).abs()


def spared(scores: Tensor, share: float) -> Tensor:
    """Scores (C,) that put the best ``share`` of the channels, rounded up, behind all others."""
    best = scores.argsort(stable=True)[len(scores) - math.ceil(share * len(scores)) :]
    return scores.scatter(0, best, LAST)


def gates(model: nn.Module, groups: Sequence[Group]) -> list[str]:
    """The module names of the batch norms that belong to a group, in the groups' order."""
    found = dict[str, None]()
    for group in groups:
        for member in group.members:
            owner, _, leaf = member.name.rpartition(".")
            if leaf == "weight" and isinstance(model.get_submodule(owner), nn.modules.batchnorm._BatchNorm):
                found[owner] = None
    return list(found)


def _read(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.detach() for t in tensors])


def _write_(tensors: list[Tensor], flat: Tensor) -> None:
    torch._foreach_copy_(tensors, list(torch.split(flat, [len(t) for t in tensors])))


@dataclass
class State(Channels):
    """Channels, and the gates.

    Attributes:
        theta: Theta of all gates in a row, (n,), summed over the newest tick.
        gates: the batch norms of the gates, by module name.
        convolutions: the weights and biases that are frozen in ticks, by parameter name.
    """

    theta: Tensor | None = None
    gates: list[str] = field(default_factory=list)
    convolutions: list[str] = field(default_factory=list)

    def parameters(self, model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        """The gates' gammas and betas."""
        norms = [model.get_submodule(name) for name in self.gates]
        return [n.get_parameter("weight") for n in norms], [n.get_parameter("bias") for n in norms]

    def freeze_(self, model: nn.Module, frozen: bool) -> None:
        """Freeze the convolutions, or train them again."""
        for name in self.convolutions:
            parameter = model.get_parameter(name)
            parameter.requires_grad_(not frozen)
            parameter.grad = None


@dataclass(frozen=True)
class GateDecorator(Structured[State]):
    """Learn, tick and tock, fine-tune."""

    touched = "batch norms of removable channels"

    rounds: int = hp(2, low=1, high=1000, help="tocks after the first, each with its ticks before it")
    ticks: int = hp(5, low=1, high=1000, help="ticks to a round, each of which removes channels")
    learn: float = hp(0.3, low=0, below=1, help="share of the run before the first tock; 0 with trained weights")
    tick: float = hp(0.1, low=0, high=1, help="share of the run that all ticks take")
    tock: float = hp(0.3, low=0, high=1, help="share of the run that all tocks take")
    lam: float = hp(1e-3, low=0, high=1, help="strength of the L1 norm of the gates in tocks")
    low: float = hp(
        0.1, above=0, high=1, help="learning rate of ticks, and at the ends of tocks, as a share of the peak"
    )
    spare: float = hp(0.1, low=0, high=1, help="best share of each group, kept if the budget can be met without it")

    def check(self) -> None:
        """The shares fit the run."""
        if self.learn + self.tick + self.tock > 1:
            raise BenchError(
                f"`learn + tick + tock <= 1` must hold, but got (learn={self.learn}, tick={self.tick}, "
                f"tock={self.tock}); lower `learn`"
            )

    def touches(self, model: nn.Module, group: Group) -> bool:
        """Whether the group has a gate."""
        return bool(gates(model, [group]))

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Finds the gates; changes nothing."""
        state = self.channels(State, model, example)
        state.gates = gates(model, state.groups)
        convolutions = {n for n, m in model.named_modules() if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Conv3d))}
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        state.convolutions = [n for n in trained if n.rpartition(".")[0] in convolutions]
        return state

    def phase(self, state: State, index: int, budget: Budget) -> Phase | None:
        """Learning, tocks and ticks, fine-tuning (`plan`); one training without a target."""
        if self.final == 0:
            return super().phase(state, index, budget)
        parts, _ = self._plan(budget.steps)
        return nth_phase(parts, index)

    def _plan(self, steps: int) -> tuple[list[tuple[str, int]], int]:
        return plan(steps, rounds=self.rounds, ticks=self.ticks, learn=self.learn, tick=self.tick, tock=self.tock)

    def optimizer(self, state: State, model: nn.Module, recipe: Recipe, phase: Phase) -> Optimizer:
        """The recipe's, over the parameters that are not frozen."""
        state.freeze_(model, phase.name == "tick")
        return recipe.make_optimizer(model)

    def after_backward(self, state: State, model: nn.Module, clock: Clock) -> None:
        """In ticks and tocks, set the learning rate; sum Theta in a tick, add the gradient of the L1 norm in a tock."""
        if clock.phase.name in ("tick", "tock"):
            self._set_rate(clock)
        super().after_backward(state, model, clock)
        if clock.phase.name in ("tick", "tock"):
            self._open_(state, model, clock)

    def _set_rate(self, clock: Clock) -> None:
        ticking = clock.phase.name == "tick"
        factor = self.low if ticking else triangle(clock.phase_step, clock.phase.steps, self.low)
        for group in clock.optimizer.param_groups:
            group["lr"] = group.setdefault("peak_lr", group["lr"]) * factor

    @torch.no_grad()
    def _open_(self, state: State, model: nn.Module, clock: Clock) -> None:
        """For the optimiser's step, let the modules hold phi and b, with their gradients, in place of gamma and beta."""
        weights, biases = state.parameters(model)
        gamma, beta = _read(weights), _read(biases)
        slopes = [[p.grad for p in group if p.grad is not None] for group in (weights, biases)]
        slope_gamma, slope_beta = _read(slopes[0]), _read(slopes[1])
        if clock.phase.name == "tick":
            theta = worth(gamma, beta, slope_gamma, slope_beta)
            state.theta = theta if clock.phase_step == 0 or state.theta is None else state.theta + theta
        else:
            slope_gamma = slope_gamma + self.lam * gamma.sign()
        b = shift(beta, gamma)
        _write_(slopes[0], slope_gamma + b * slope_beta)
        _write_(slopes[1], gamma * slope_beta)
        _write_(biases, b)

    @torch.no_grad()
    def _close_(self, state: State, model: nn.Module) -> None:
        weights, biases = state.parameters(model)
        torch._foreach_mul_(biases, weights)

    def after_step(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Let the modules hold gamma and beta again; at the end of a tick, remove channels."""
        if clock.phase.name in ("tick", "tock"):
            self._close_(state, model)
        super().after_step(state, model, clock)
        if clock.phase.name == "tick" and clock.phase_step == clock.phase.steps:
            names = [name for name, _ in self._plan(clock.budget.steps)[0]]
            done = names[: clock.index + 1].count("tick")
            self.select_(state, model, clock, self.final * done / names.count("tick"))

    def scores(self, state: State, model: nn.Module, clock: Clock) -> dict[str, Tensor]:
        """Theta summed over the gates of each channel; the best channels of each group come after all others."""
        assert state.theta is not None
        weights, _ = state.parameters(model)
        theta = dict(zip(state.gates, torch.split(state.theta, [len(w) for w in weights]), strict=True))
        found = {}
        for group in state.groups:
            total = state.theta.new_zeros(group.channels)
            for member in group.members:
                owner, _, leaf = member.name.rpartition(".")
                if leaf == "weight" and owner in theta:
                    value = theta[owner]
                    total.index_add_(0, member.channel.to(value.device), value[member.index.to(value.device)])
            found[group.root] = spared(total, self.spare)
        return found

    def end_phase(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Unfreeze the convolutions; make the model smaller after the last tock."""
        state.freeze_(model, False)
        if self.final > 0 and clock.index + 1 == self._plan(clock.budget.steps)[1]:
            self.remove_(state, model, clock)
            state.theta, state.gates = None, []

    def stats(self, state: State, model: nn.Module) -> Mapping[str, float]:
        """As for every structured method; and the mean |phi| of the gates ("gate")."""
        found, (weights, _) = dict(super().stats(state, model)), state.parameters(model)
        if weights:
            found["gate"] = float(_read(weights).abs().mean())
        return found


METHOD = GateDecorator

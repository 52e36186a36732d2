"""OTOv2 and its optimiser DHSPG (Chen et al. 2023, arXiv:2303.06862): channels are driven to zero while training.

Let x be the parameters that produce a channel (filter, bias, norm scale and shift: at zero its output is zero), and d the
direction of the recipe's optimiser, x_new = x - lr * d, taken from what its step did. After the share `begin` of the run,
the redundancy of each channel is taken once,

    saliency = (cos(x, d) / |cos(x, d)|_2 + m / |m|_2) / 2        with m = 1 / (|x| / numel + 1e-6), norms over all channels

and the channels of the highest saliency, so many that they make up `final` + `slack` of the budget's cost, are penalised
from then on:

    x_hat = x - lr * d - lr * lambda * x / |x|

    lambda = least                                                where <x, d> >= 0
    lambda = clip(amplify * lower, least, hat * least)            otherwise, and (lower + upper) / 2 if that is >= upper
    lower = -<x, d> / |x|,  upper = -|d|^2 |x| / <x, d>           between them the step shortens x and still descends

A channel whose x_hat leaves the half-space around x, <x_hat, x> < eps * |x|^2, is removed. When the budget is met, the
penalty ends. `least` is `reach` over the sum of the learning rates of all penalised steps, so that the penalty shortens a
channel by the length `reach` at least, however long the run is: the official 1e-3 shortens it by 2.6 (lr 0.1 for 25 epochs
of 782 steps and a tenth for each 75 after that), our default. The other defaults are the official ones for sgd, eps that of
its examples; with adamw take amplify=20 and hat=1000.

Differs from the paper:
- The target is a share of MACs, parameters or channels, met within 1 % (`final`, `budget`), instead of group sparsity.
- Where the budget is not met by the end of the phase, further channels are removed, the smallest of the penalised first (at
  once, or early enough for a decay to end there); the curve `forced` counts them.
- Channels are removed in blocks that leave multiples of `round_to` in their group; a channel outside its half-space waits for
  its block under the penalty. Blocks are formed every `every` steps, so that other steps do not wait for the device.
- The model is made smaller after the shares `begin` + `prune` of the run, and is trained on with a schedule of its own. With
  begin + prune = 1 there is one training and no more, as in the paper.
Differs from the official code (only_train_once, branch otov2_legacy_backup):
- The least lambda follows from `reach` and the run's length.
- d is the step of the recipe's optimiser, with its momentum, clipping and (for adamw) decoupled decay in it.
- A group that may lose no more keeps its longest channels; there, channels at random.
- A removed channel is masked with all weights that read it, and loses its momentum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from optuna.distributions import BaseDistribution, FloatDistribution
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.channels.costs import TOLERANCE, Costs, choose
from bench.channels.rounding import rounds
from bench.claims import Claim
from bench.config import hp
from bench.errors import BenchError
from bench.method import Budget, Clock, Phase
from bench.recipe import Recipe
from methods._leaving import Channels, start_
from methods._rows import Rows
from methods._structured import Structured, nth_phase

MOST = 0.999  # the largest share of the cost that penalised channels may make up
SPACE: dict[str, BaseDistribution] = {
    "final": FloatDistribution(0.3, 0.8),
    "begin": FloatDistribution(0.05, 0.4),
    "reach": FloatDistribution(0.3, 30.0, log=True),
    "amplify": FloatDistribution(1.0, 20.0, log=True),
    "eps": FloatDistribution(0.0, 0.95),
    "slack": FloatDistribution(0.0, 0.3),
}

_REPO = "only_train_once, branch otov2_legacy_backup, tutorials"
CLAIMS = (
    Claim("cifar_vgg16_bn", "cifar10", 93.27, _REPO, sparsity=0.9497, note="26.6 % of the MACs; claims 93.1 +- 0.3"),
    Claim("resnet18", "cifar10", 92.86, _REPO, sparsity=0.912, note="20.3 % of the MACs"),
    Claim("resnet50", "cifar10", 94.39, _REPO, sparsity=0.9644, note="9.96 % of the MACs; claims 94.3 +- 0.2"),
    Claim("resnet50", "imagenet", 75.2, _REPO, sparsity=0.506, note="38.5 % of the MACs; starts pretrained; +- 0.1"),
)


def interval(dot: Tensor, length: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """The lambdas, of any shape, between which the direction -d - lambda * x / |x| shortens x and descends.

    ``dot`` is <x, d>, ``length`` |x| and ``size`` |d|. Where <x, d> >= 0 that is every lambda: (0, infinity).
    """
    against = dot < 0
    lower = torch.where(against, -dot / length, 0.0)
    return lower, torch.where(against, -size.square() * length / dot, torch.inf)


def strength(dot: Tensor, length: Tensor, size: Tensor, *, least: float, amplify: float, hat: float) -> Tensor:
    """The lambda of each channel. Of degree one in (d, least): displacements and lr * least give lr * lambda."""
    lower, upper = interval(dot, length, size)
    found = (amplify * lower).clamp(least, hat * least)
    found = torch.where(found >= upper, (lower + upper) / 2, found)
    return torch.where(dot < 0, found, least)


def saliency(dot: Tensor, length: Tensor, size: Tensor, numel: Tensor) -> Tensor:
    """How redundant each of K channels is, (K,); ``numel`` (K,) is how many parameters each has, the others as above."""
    tiny = torch.finfo(dot.dtype).tiny
    cosine, small = dot / (length * size).clamp_min(tiny), 1 / (length / numel + 1e-6)
    found: Tensor = cosine / cosine.norm().clamp_min(tiny) + small / small.norm().clamp_min(tiny)
    return found / 2


def admit(
    costs: Costs,
    sizes: Mapping[str, Tensor],
    waiting: Mapping[str, Tensor],
    gone: Mapping[str, Tensor],
    share: float,
    round_to: int,
) -> dict[str, Tensor]:
    """Which of the channels ``waiting`` are removed, bool (C,) by group root, as are ``gone``, the removed ones: those of the
    smallest ``sizes`` first, in blocks that leave a multiple of ``round_to`` (never none), and for not more than ``share`` of
    the cost plus 1 %."""
    units = rounds(costs.groups, round_to)
    blocks, dense = list[tuple[float, int, Tensor]](), costs.total([0] * len(costs.groups))
    for place, group in enumerate(costs.groups):
        size, left, key = sizes[group.root], group.channels - int(gone[group.root].sum()), 0.0
        order = size.masked_fill(~waiting[group.root], torch.inf).argsort(stable=True)
        queue = order[: int(waiting[group.root].sum())]
        while len(queue) >= (count := left % units[place] or units[place]) and left > count:
            key = max(key, float(size[queue[:count]].mean()))  # a group's own blocks stay in order
            blocks.append((key, place, queue[:count]))
            queue, left = queue[count:], left - count
    removed, full = [int(gone[g.root].sum()) for g in costs.groups], set[int]()
    chosen = {root: torch.zeros_like(out) for root, out in gone.items()}
    for _, place, block in sorted(blocks, key=lambda b: b[:2]):
        after = [n + len(block) * (i == place) for i, n in enumerate(removed)]
        if place in full or 1 - costs.total(after) / dense > share + TOLERANCE:
            full.add(place)
            continue
        removed = after
        chosen[costs.groups[place].root][block] = True
    return chosen


@dataclass
class State(Channels):
    """Channels, and the penalty. Tensors are (K,) for the K channels of all groups in a row.

    Attributes:
        penalised: bool, the channels under the penalty.
        over: bool, the channels that have left their half-space.
        met: whether the budget is met, so that no channel is penalised any more.
        forced: the number of channels that were removed without having left their half-space.
        rates: the sum of the learning rates of all penalised steps.
        rows: the parameters of the channels as one vector; made when it is needed, and not saved.
    """

    penalised: Tensor | None = None
    over: Tensor | None = None
    met: bool = False
    forced: int = 0
    rates: float = 0.0
    rows: Rows | None = field(default=None, metadata={"saved": False})


@dataclass(frozen=True)
class Otov2(Structured[State]):
    """Train, drive channels to zero, remove them, fine-tune."""

    begin: float = hp(0.2, low=0, below=1, help="share of the run before channels are penalised")
    prune: float = hp(0.4, low=0, high=1, help="share of the run in which channels are penalised")
    reach: float = hp(2.6, low=0, high=1e4, help="length by which the penalty shortens a channel in all, at the least")
    amplify: float = hp(2.0, low=1, high=1000, help="factor of the penalty over the gradient that works against it")
    hat: float = hp(10.0, low=1, high=1e6, help="the largest strength of the penalty, in units of the least")
    eps: float = hp(0.9, low=0, below=1, help="remove a channel when a step would leave less than this of its length")
    slack: float = hp(0.05, low=0, high=1, help="cost share of channels that are penalised beyond `final`")
    every: int = hp(10, low=1, high=10_000, help="steps between removals of channels that have left their half-space")

    def check(self) -> None:
        """The shares fit the run."""
        if self.begin + self.prune > 1:
            raise BenchError(
                f"`begin + prune <= 1` must hold, but got (begin={self.begin}, prune={self.prune}); lower `prune`"
            )

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Finds the groups."""
        return self.channels(State, model, example)

    def phase(self, state: State, index: int, budget: Budget) -> Phase | None:
        """One training with one schedule, in which pruning begins; fine-tuning; without a target, training."""
        if self.final == 0:
            return super().phase(state, index, budget)
        prune = max(1, min(round((self.begin + self.prune) * budget.steps), budget.steps))
        return nth_phase([("prune", prune), ("fine-tune", budget.steps - prune)], index)

    def window(self, phase: Phase) -> tuple[int, int]:
        """The steps of the phase after which the penalty begins, and at which missing channels are chosen, so that a decay
        ends in the phase."""
        before = self.begin / (self.begin + self.prune) if self.begin else 0.0
        begin = min(round(before * phase.steps), phase.steps - 1)
        last = phase.steps
        if self.leave.how == "decay":
            last -= self.leave.steps - 1
        return begin, max(begin + 1, last)

    def optimizer(self, state: State, model: nn.Module, recipe: Recipe, phase: Phase) -> Optimizer:
        """The recipe's; the sum of its learning rates sets the strength of the penalty."""
        if phase.name == "prune":
            penalised = range(self.window(phase)[0], phase.steps)
            state.rates = recipe.lr * phase.lr * sum(recipe.rate(step, phase.steps) for step in penalised)
        return super().optimizer(state, model, recipe, phase)

    def after_backward(self, state: State, model: nn.Module, clock: Clock) -> None:
        """While channels are penalised, remember the weights before the optimiser's step."""
        super().after_backward(state, model, clock)
        if self._penalises(state, clock, clock.phase_step):
            self._rows(state, model).remember_()

    def _penalises(self, state: State, clock: Clock, done: int) -> bool:
        return clock.phase.name == "prune" and not state.met and done >= self.window(clock.phase)[0]

    def _rows(self, state: State, model: nn.Module) -> Rows:
        if state.rows is None:
            state.rows = Rows(model, state.groups)
        return state.rows

    def after_step(self, state: State, model: nn.Module, clock: Clock) -> None:
        """The penalty, then a decay step, which the host must not take for the optimiser's; every `every` steps, channels
        that have left their half-space are removed."""
        pruning = clock.phase.name == "prune" and clock.phase_step > self.window(clock.phase)[0]
        if pruning and self._penalises(state, clock, clock.phase_step - 1):
            self._penalise_(state, model, clock)
        super().after_step(state, model, clock)
        if not pruning:
            return
        if clock.phase_step % self.every == 0 and (not state.met or self.leave.rectify):
            self._admit_(state, model, clock)
        if clock.phase_step == self.window(clock.phase)[1]:
            before = state.all_given_up()
            self.select_(state, model, clock, self.final)
            state.forced, state.met = state.forced + int((state.all_given_up() & ~before).sum()), True

    @torch.no_grad()
    def _penalise_(self, state: State, model: nn.Module, clock: Clock) -> None:
        rows, lr = self._rows(state, model), float(clock.optimizer.param_groups[0]["lr"])
        x, now = rows.before, rows.read_()
        moved, least = x - now, lr * self.reach / state.rates
        length, dot, size = rows.sums(x * x).sqrt(), rows.sums(x * moved), rows.sums(moved * moved).sqrt()
        if state.penalised is None:
            numel = rows.sums(torch.ones_like(x))
            state.penalised = self._choose_penalised(state, saliency(dot, length, size, numel))
        held = state.penalised & (length > 0) & ~state.all_given_up()
        pull = strength(dot, length, size, least=least, amplify=self.amplify, hat=self.hat)
        now -= x * rows.spread(torch.where(held, pull / length, 0.0))
        rows.write_()
        over = held & (length.square() - dot - pull * length < self.eps * length.square())
        state.over = over if state.over is None else state.over | over

    def _choose_penalised(self, state: State, redundancy: Tensor) -> Tensor:
        assert state.costs is not None
        assert state.rows is not None
        share, scores = min(self.final + self.slack, MOST), state.rows.split(-redundancy.cpu())
        chosen = choose(state.costs, scores, share, scope=self.scope, round_to=self.round_to, exact=False)
        return state.rows.join(chosen).to(redundancy.device)

    @torch.no_grad()
    def _admit_(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Remove blocks of channels that have left their half-spaces; the only function that waits for the device."""
        if state.over is None:
            return
        assert state.costs is not None
        rows, given = self._rows(state, model), state.all_given_up()
        due = state.over & ~given & (rows.join(state.free) <= clock.step)
        host = torch.stack([due, given, rows.sums(rows.read_().square())]).cpu()
        waiting, gone, sizes = rows.split(host[0].bool()), rows.split(host[1].bool()), rows.split(host[2])
        if self._removed(state, gone) < self.final - TOLERANCE:
            chosen = admit(state.costs, sizes, waiting, gone, self.final, self.round_to)
            if any(bool(c.any()) for c in chosen.values()):
                start_(self.leave, state, model, chosen, clock.step, clock.optimizer)
                state.over = state.over & ~rows.join(chosen).to(state.over.device)  # a released one must cross again
            gone = {root: out | chosen[root] for root, out in gone.items()}
        state.met = self._removed(state, gone) >= self.final - TOLERANCE

    def scores(self, state: State, model: nn.Module, clock: Clock) -> dict[str, Tensor]:
        """Root mean squares of the parameters that produce a channel; all penalised channels come before all others."""
        rows = self._rows(state, model)
        size = (rows.sums(rows.read_().square()) / rows.sums(torch.ones_like(rows.now))).sqrt()
        if state.penalised is not None:
            size = size + (~state.penalised) * (1 + size.max())
        return rows.split(size)

    def end_phase(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Make the model smaller after the pruning phase; others take the place of channels that were released."""
        if clock.phase.name == "prune":
            before = state.all_given_up()
            self.remove_(state, model, clock)
            state.forced += int((state.all_given_up() & ~before).sum())
            state.rows = state.over = None

    def stats(self, state: State, model: nn.Module) -> Mapping[str, float]:
        """As for every structured method; and how many channels are penalised, and were removed without having left their
        half-space ("forced")."""
        penalised = 0.0 if state.penalised is None else float(state.penalised.sum())
        return {**super().stats(state, model), "penalised": penalised, "forced": float(state.forced)}


METHOD = Otov2

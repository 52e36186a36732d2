"""Drop Pruning, "Stochastic Model Pruning via Weight Dropping Away and Back" (Jia et al. 2018, 2020, arXiv:1812.02035).

A reconstruction: only the abstracts of the two versions could be obtained. They say that a dense, accurate model is pruned
and retrained in turns; that each pruning is a drop strategy of two parts, *drop away*, which stochastically deletes some
unimportant weights, and *drop back*, which stochastically recovers some pruned ones (first called drop out and drop in);
that with suitable probabilities the model shrinks and flows to the target sparsity; and that each part contributes on its
own. All that follows is ours. With masks m, probabilities p_a `away` and p_b `back`, pruning t = 0 ... `rounds` - 1 is

    U = unimportant live weights,  D = {i: m_i = 0}            by the model as it is now
    m_i <- 0 with probability p_a for each i in U              drop away
    m_i <- 1 with probability p_b for each i in D              drop back, to the value that `recover` says

and then training continues under the mask. In each unit of n weights (`scope`: one layer, or all layers) U is, by `rule`,

    "target"     R2: the live weights that are not among the k = n - round(final * n) largest |w|
    "fraction"   R1: the smallest `fraction` of the live weights

The sparsity then flows to a fixed point (`equilibrium_sparsity`): R2 with a constant p_b to final * p_a / (p_a + p_b), which
is below `final`. Therefore p_b falls to 0 (`back_schedule`), and the weights that are missing after the last training under
drops are masked at once (`project`; stats show the sparsity before it as `reached`). Then the mask is fixed.

Only two results are known, without accuracies: ratios of 11.1x for VGG-16 on CIFAR-10 and 14.3x for LeNet-5 on MNIST,
"without accuracy loss".

Ours, where the abstracts say nothing:
- Prunings are spread evenly from `dense` * steps to (1 - `fine_tune`) * steps, where the projection is. A run first trains its
  own dense model; with a trained start, set `dense` = 0. One learning-rate schedule spans the run, or each training with
  `restart`.
- Both parts act on the same masks; with `order` = "sequential", drop back also acts on the weights just dropped away. A weight
  that is dropped away and back between the same two steps keeps its value and its momentum.
- Recovered weights start from 0 (as in Dense-Sparse-Dense training), from their last value, or from that at the first
  pruning; with no momentum.
- A layer keeps at least one weight. With `project`, R1 too drops no weight that the target would keep.
- `parts` is an ablation: "away" never drops back, "back" drops away with probability 1.
- Weights of convolutions and linear layers are pruned, the classifier's only with `classifier`.

Differs from the paper: unknown, as its text could not be obtained; no number of this method is one of the paper's.
Differs from the official code: none is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from bench import masks
from bench.claims import Claim
from bench.config import hp
from bench.errors import BenchError
from bench.method import Budget, Clock, Phase
from methods._equilibrium import ORDERS
from methods._equilibrium import equilibrium_sparsity as equilibrium_sparsity
from methods._masked import Unstructured

SCHEDULES = ("linear", "cosine", "constant", "gap")
SPACE: dict[str, BaseDistribution] = {
    "rule": CategoricalDistribution(("target", "fraction")),
    "away": FloatDistribution(0.05, 1.0),
    "back": FloatDistribution(1e-4, 0.2, log=True),
    "back_schedule": CategoricalDistribution(SCHEDULES),
    "fraction": FloatDistribution(0.05, 0.5),
    "order": CategoricalDistribution(ORDERS),
    "scope": CategoricalDistribution(("layer", "global")),
    "recover": CategoricalDistribution(("zero", "last", "dense")),
    "rounds": IntDistribution(5, 50),
    "dense": FloatDistribution(0.0, 0.5),
    "final": FloatDistribution(0.5, 0.98),
}
CLAIMS: tuple[Claim, ...] = ()  # the two known ratios come without an accuracy


def back_at(x: float, schedule: str, sparsity: float, target: float) -> float:
    """The factor on `back` at share ``x`` of the prunings (0 the first, 1 the last): constant 1, falling to 0 at the last
    along a line or a cosine, or for "gap" the relative distance to the target, ``max(0, target - sparsity) / target``."""
    if schedule == "gap":
        return max(0.0, target - sparsity) / target
    return {"constant": 1.0, "linear": 1 - x, "cosine": 0.5 * (1 + math.cos(math.pi * x))}[schedule]


def flat(tensors: Mapping[str, Tensor], scope: str) -> list[Tensor]:
    """One flat tensor per unit: one for each tensor, or one for all tensors where ``scope`` is "global"."""
    rows = [t.reshape(-1) for t in tensors.values()]
    if scope == "global":
        return [torch.cat(rows)]
    return rows


def kept(sizes: Sequence[int], sparsity: float, scope: str) -> list[int]:
    """How many weights each unit keeps at a sparsity: ``n - round(sparsity * n)`` but at least one in each layer, for which
    large layers keep fewer (`bench.masks.uniform`)."""
    if scope == "global":
        total = sum(sizes)
        return [max(len(sizes), total - round(sparsity * total))]
    return [max(1, n - count) for n, count in zip(sizes, masks.uniform(sizes, sparsity), strict=True)]


def importance(values: Mapping[str, Tensor], live: Mapping[str, Tensor], scope: str) -> list[Tensor]:
    """|w| of each unit's weights, flat. In the global scope each layer's largest live weight scores infinity and is kept."""
    scores = {name: value.abs() for name, value in values.items()}
    if scope == "global":
        for name, score in scores.items():
            row = score.where(live[name], -1.0).reshape(-1)
            scores[name] = row.index_fill(0, row.argmax().view(1), math.inf)
    return flat(scores, scope)


def unimportant(scores: Tensor, live: Tensor, keep: int, fraction: float | None = None) -> Tensor:
    """U of one unit: its live weights except the ``keep`` with the largest scores, ties by position (bool, as ``live``).

    With ``fraction`` (R1) only the smallest of these, at most ``round(fraction * live)``. Empty where at most ``keep`` live.
    """
    alive = int(live.sum())
    count = alive - keep
    if fraction is not None:
        count = min(round(fraction * alive), count)
    return live & ~masks.drop_lowest(scores.where(live, -1.0), live.numel() - alive + max(0, count))


def drop(candidates: Tensor, live: Tensor, *, away: float, back: float, order: str, rng: torch.Generator) -> Tensor:
    """One pruning of a unit: the mask after ``candidates`` are dropped away and pruned weights are dropped back, by chance.

    Every weight draws a number for each part, on the CPU, so that a draw depends neither on the device nor on other draws.
    """
    gone, returned = (torch.rand(live.shape, generator=rng) < p for p in (away, back))
    left = live & ~(candidates & gone.to(live.device))
    before = left if order == "sequential" else live
    return left | (returned.to(live.device) & ~before)


@dataclass
class State(masks.Masked):
    """The masks, the values to recover, the counts of the last pruning, and the sparsity before the projection."""

    stored: dict[str, Tensor] = field(default_factory=dict)
    dropped: int = 0
    recovered: int = 0
    reached: float | None = None


@dataclass(frozen=True)
class Drop(Unstructured[State]):
    """Stochastic iterative magnitude pruning: unimportant weights may stay, and pruned ones may come back."""

    stronger = "raise `away` or `rounds`"
    reconstruction: ClassVar[str] = (
        "only the abstracts of arXiv:1812.02035 could be obtained, so the candidate rules, the schedules, the order, the "
        "recovered values, the calendar and the final projection are ours, and no number here is one of the paper's"
    )

    rule: str = hp(
        "target", choices=("target", "fraction"), help="unimportant weights: those outside the target, or a share"
    )
    away: float = hp(0.5, low=0, high=1, help="probability that an unimportant weight is dropped away")
    back: float = hp(0.01, low=0, high=1, help="probability that a pruned weight is dropped back, at its highest")
    back_schedule: str = hp(
        "linear", choices=SCHEDULES, help="how `back` falls to 0; gap: as the distance to the target"
    )
    fraction: float = hp(0.2, low=0, high=1, help="share of live weights that is unimportant (rule fraction)")
    order: str = hp("simultaneous", choices=ORDERS, help="sequential: weights just dropped away may come back at once")
    scope: str = hp("layer", choices=("layer", "global"), help="the unit that is ranked and meets the target")
    recover: str = hp("zero", choices=("zero", "last", "dense"), help="recovered values; dense: at the first pruning")
    parts: str = hp("both", choices=("both", "away", "back"), help="ablation: never back, or away with probability 1")
    rounds: int = hp(20, low=1, high=10_000, help="prunings, each followed by training")
    dense: float = hp(0.3, low=0, below=1, help="share of the run before the first pruning; 0 with a trained start")
    fine_tune: float = hp(0.2, low=0, below=1, help="share of the run after the projection, under a fixed mask")
    restart: bool = hp(False, help="each training between prunings has a learning-rate schedule of its own")
    final: float = hp(0.8, low=0, below=1, help="sparsity aimed at, over the prunable weights; 0 is dense training")
    project: bool = hp(True, help="mask exactly to the target after the last training under drops")

    def check(self) -> None:
        """There must be steps between the dense training and the fine-tuning."""
        if not self.dense + self.fine_tune < 1:
            raise BenchError(
                f"`dense + fine_tune < 1` must hold, but got (dense={self.dense}, fine_tune={self.fine_tune}); lower `dense`"
            )

    @property
    def wanted(self) -> float | None:
        """The target, where the projection makes it exact."""
        return self.final if self.project else None

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Masks nothing."""
        return State(masks.all_live(self.weights_to_prune(model)))

    def calendar(self, steps: int) -> tuple[list[int], int]:
        """The steps after which the prunings and the projection come; in a short run several come after the same step."""
        shares = [t / self.rounds for t in range(self.rounds + 1)]
        places = [round(((1 - x) * self.dense + x * (1 - self.fine_tune)) * steps) for x in shares]
        *prunings, projection = [min(steps, max(1, place)) for place in places]
        return prunings, projection

    def phase(self, state: State, index: int, budget: Budget) -> Phase | None:
        """One phase, or with `restart` one from each pruning to the next that is after a later step."""
        prunings, projection = self.calendar(budget.steps)
        cuts = {0, budget.steps}
        if self.restart and self.final > 0:
            cuts |= set(prunings)
        if self.restart and self.final > 0 and self.project:
            cuts.add(projection)
        if index + 1 >= len(cuts):
            return None
        begin, end = sorted(cuts)[index : index + 2]
        if len(cuts) == 2:
            return Phase("train", end - begin)
        if self.project and begin >= projection:
            return Phase("fine-tune", end - begin)
        if begin == 0:
            return Phase("dense", end)
        return Phase(f"round{sum(step <= begin for step in prunings) - 1}", end - begin)

    def after_step(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Prunes in the single phase where the calendar says so."""
        if not self.restart:
            self._follow_calendar(state, model, clock)

    def end_phase(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Prunes between phases, with `restart`."""
        if self.restart:
            self._follow_calendar(state, model, clock)

    @torch.no_grad()
    def _follow_calendar(self, state: State, model: nn.Module, clock: Clock) -> None:
        prunings, projection = self.calendar(clock.budget.steps)
        due = [number for number, step in enumerate(prunings) if step == clock.step]
        project = self.project and clock.step == projection
        if self.final == 0 or not (due or project):
            return
        weights = state.weights(model)
        stored = state.stored or weights
        # The value of each weight while it is live; a masked weight is 0 unless a value is stored.
        values = {name: w.where(state.masks[name], stored[name]) for name, w in weights.items()}
        if self.recover == "last" or (self.recover == "dense" and not state.stored):
            state.stored = values
        for number in due:
            state.masks = self._prune(state, values, number, clock.rng(f"pruning {number}"))
        if project:
            state.reached, state.stored = masks.zeros(state.masks), {}
            state.masks = self._project(state, values)
        for name, value in values.items():
            weights[name].copy_(value)
        state.mask_weights_(model, clock.optimizer)

    def _prune(self, state: State, values: dict[str, Tensor], number: int, rng: torch.Generator) -> dict[str, Tensor]:
        """The masks after one pruning; stores its counts in the state."""
        away = 1.0 if self.parts == "back" else self.away
        most = 0.0 if self.parts == "away" else self.back
        fraction = self.fraction if self.rule == "fraction" else None
        limit = 1.0 if self.rule == "fraction" and not self.project else self.final
        after = []
        for scores, live, keep in self._units(state, values, limit):
            x, sparsity = number / max(1, self.rounds - 1), int((~live).sum()) / live.numel()
            back = most * back_at(x, self.back_schedule, sparsity, self.final)
            candidates = unimportant(scores, live, keep, fraction)
            after.append(drop(candidates, live, away=away, back=back, order=self.order, rng=rng))
        was, now = torch.cat(flat(state.masks, self.scope)), torch.cat(after)
        state.dropped, state.recovered = int((was & ~now).sum()), int((now & ~was).sum())
        return masks.split(now, state.masks)

    def _project(self, state: State, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The masks that keep as many of the live weights as the target does."""
        units = self._units(state, values, self.final)
        return masks.split(torch.cat([m & ~unimportant(s, m, keep) for s, m, keep in units]), state.masks)

    def _units(self, state: State, values: dict[str, Tensor], sparsity: float) -> Iterator[tuple[Tensor, Tensor, int]]:
        """The scores, the mask and the number of weights to keep at a sparsity, for each unit."""
        keeps = kept([m.numel() for m in state.masks.values()], sparsity, self.scope)
        return zip(importance(values, state.masks, self.scope), flat(state.masks, self.scope), keeps, strict=True)

    def zeros_wanted(self, sizes: Sequence[int]) -> int | None:
        """All but the weights that the target keeps; without the projection the drops decide."""
        if self.project or self.final == 0:
            return sum(sizes) - sum(kept(sizes, self.final, self.scope))
        return None

    def stats(self, state: State, model: nn.Module) -> Mapping[str, float]:
        """The weights that the last pruning dropped away and back, and the sparsity that the drops alone reached."""
        reached = {} if state.reached is None else {"reached": state.reached}
        return {"dropped": state.dropped, "recovered": state.recovered, **reached}


METHOD = Drop

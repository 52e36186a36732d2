"""Drop Pruning, "Stochastic Model Pruning via Weight Dropping Away and Back" (Jia et al. 2018, 2020, arXiv:1812.02035).

A reconstruction: of both versions only the abstracts could be obtained. They say that a dense, accurate model is pruned
and retrained in turns; that each pruning is a drop strategy of two parts, *drop away*, which stochastically deletes some
unimportant weights, and *drop back*, which stochastically recovers some pruned ones (first called drop out and drop in);
that with suitable probabilities the model shrinks and flows to the target sparsity; and that the parts contribute each on
its own. All that follows is ours. With masks m, probabilities p_a `away` and p_b `back`, pruning t = 0 ... `rounds` - 1 is

    U = unimportant live weights,  D = {i: m_i = 0}            by the model as it is now
    m_i <- 0 with probability p_a for each i in U              drop away
    m_i <- 1 with probability p_b for each i in D              drop back, to the value that `recover` says

and then training goes on under the mask. In each unit of n weights (a layer, or all of them: `scope`) U is, by `rule`,

    "target"     R2: the live weights that are not among the k = n - round(final * n) largest |w|
    "fraction"   R1: the smallest `fraction` of the live weights

The sparsity then flows to a fixed point (`equilibrium_sparsity`): R2 with a constant p_b to final * p_a / (p_a + p_b),
always short of `final`; hence p_b falls to 0 (`back_schedule`), and what is missing after the last training under drops is
masked at once (`project`, stats show the sparsity before it as `reached`); the mask then stays.

Of the results only two ratios are known, without accuracies: 11.1x for VGG-16 on CIFAR-10 and 14.3x for LeNet-5 on MNIST,
"without accuracy loss".

Ours, where the abstracts are silent:
- Prunings are spread evenly from `dense` * steps to (1 - `fine_tune`) * steps, where the projection is. A run makes its own
  dense model first; started from a trained one, set `dense` = 0. One learning-rate schedule spans the run, or with
  `restart` each training has one.
- Both parts act on the same masks, or with `order` = "sequential" drop back also on what has just been dropped away; a
  weight that goes and comes back between the same two steps has never left, and keeps value and momentum.
- Recovered weights start from 0 (as in Dense-Sparse-Dense training), from their last value, or from that at the first
  pruning; with no momentum.
- A layer keeps at least one weight. With `project`, R1 too drops no weight that the target would keep.
- `parts` is an ablation: "away" never drops back, "back" drops away with probability 1.
- Weights of convolutions and linear layers are pruned, the classifier's only with `classifier`.

Differs from the paper: not to be said, as its text could not be obtained; no number of this method is one of the paper's.
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
from bench.errors import BenchError, Ineffective, one_of
from bench.method import Budget, Clock, Method, Phase

ORDERS, SCHEDULES = ("simultaneous", "sequential"), ("linear", "cosine", "constant", "gap")
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


def equilibrium_sparsity(
    *,
    rule: str,
    away: float,
    back: float,
    fraction: float | None = None,
    target: float | None = None,
    order: str = "simultaneous",
) -> float:
    """The sparsity (0 to 1) at which prunings with constant probabilities stand still in expectation: of all weights,
    ``ceiling * g / (g + back)``, where under rule "R1" the ceiling is 1 and ``g = away * fraction``, under "R2" the ceiling
    is the target and ``g = away``; with "sequential" order ``g * (1 - back)`` stands for g.

    Derived here: a density d becomes ``e = d - g * (d - 1 + ceiling)`` by drop away, and by drop back ``e + back * (1 - d)``
    (simultaneous) or ``e + back * (1 - e)`` (sequential). If both probabilities are 0 a dense model stays dense: 0.0.
    Raises `BenchError` for an unknown rule or order, what is no probability, and a missing ``fraction`` or ``target``.
    """
    if rule not in ("R1", "R2"):
        raise one_of("rule", rule, ("R1", "R2"))
    if order not in ORDERS:
        raise one_of("order", order, ORDERS)
    name, share = ("fraction", fraction) if rule == "R1" else ("target", target)
    if share is None:
        raise BenchError(f"rule {rule} needs `{name}`, but got {name}=None; give a number between 0 and 1")
    for what, value in (("away", away), ("back", back), (name, share)):
        if not 0 <= value <= 1:
            raise BenchError(f"`0 <= {what} <= 1` must hold, but got {what}={value!r}; give a number between 0 and 1")
    loss, ceiling = (away * share, 1.0) if rule == "R1" else (away, share)
    loss *= 1 - back if order == "sequential" else 1
    return ceiling * loss / (loss + back) if loss + back else 0.0


def back_at(x: float, schedule: str, sparsity: float, target: float) -> float:
    """The factor on `back` at share ``x`` of the prunings (0 the first, 1 the last): 1 where constant, falling to 0 at the
    last along a line or a cosine, or for "gap" what lacks of the target, ``max(0, target - sparsity) / target``."""
    if schedule == "gap":
        return max(0.0, target - sparsity) / target
    return {"constant": 1.0, "linear": 1 - x, "cosine": 0.5 * (1 + math.cos(math.pi * x))}[schedule]


def flat(tensors: Mapping[str, Tensor], scope: str) -> list[Tensor]:
    """One flat tensor per unit: each of the tensors, or all of them in a row where scope is "global"."""
    rows = [t.reshape(-1) for t in tensors.values()]
    return [torch.cat(rows)] if scope == "global" else rows


def kept(sizes: Sequence[int], sparsity: float, scope: str) -> list[int]:
    """How many weights each unit keeps at a sparsity: ``n - round(sparsity * n)``, but at least one in each layer."""
    least = len(sizes) if scope == "global" else 1
    return [max(least, n - round(sparsity * n)) for n in ([sum(sizes)] if scope == "global" else sizes)]


def importance(values: Mapping[str, Tensor], live: Mapping[str, Tensor], scope: str) -> list[Tensor]:
    """|w| of each unit's weights, flat. Where layers compete, the largest live one of each is infinite: none is emptied."""
    scores = {name: value.abs() for name, value in values.items()}
    if scope == "global":
        for name, score in scores.items():
            row = score.where(live[name], -1.0).reshape(-1)
            scores[name] = row.index_fill(0, row.argmax().view(1), math.inf)
    return flat(scores, scope)


def unimportant(scores: Tensor, live: Tensor, keep: int, fraction: float | None = None) -> Tensor:
    """U of one unit: its live weights but for the ``keep`` with the largest scores, ties by position (bool, as ``live``).

    With ``fraction`` (R1) of these the smallest, at most ``round(fraction * live)``. Empty where ``keep`` or fewer live.
    """
    alive = int(live.sum())
    count = max(0, alive - keep if fraction is None else min(round(fraction * alive), alive - keep))
    return live & ~masks.drop_lowest(scores.where(live, -1.0), live.numel() - alive + count)


def drop(candidates: Tensor, live: Tensor, *, away: float, back: float, order: str, rng: torch.Generator) -> Tensor:
    """One pruning of a unit: the mask after ``candidates`` went away and pruned weights came back, by chance.

    Every weight and part draws its number, on the CPU, so that a weight's fate depends neither on the device nor on what
    became of the others.
    """
    gone, returned = (torch.rand(live.shape, generator=rng) < p for p in (away, back))
    left = live & ~(candidates & gone.to(live.device))
    return left | (returned.to(live.device) & ~(left if order == "sequential" else live))


@dataclass
class State(masks.Masked):
    """Masks, the values that come back (`recover`), counts of the last pruning, the sparsity before the projection."""

    stored: dict[str, Tensor] = field(default_factory=dict)
    dropped: int = 0
    recovered: int = 0
    reached: float | None = None


@dataclass(frozen=True)
class Drop(Method[State]):
    """Iterative magnitude pruning with chance: unimportant weights may stay, pruned ones may come back."""

    target = "final"
    reconstruction: ClassVar[str] = (
        "only the abstracts of arXiv:1812.02035 could be obtained, so the candidate rules, the schedules, the order, the "
        "recovered values, the calendar and the final projection are ours, and no number here is one of the paper's"
    )

    rule: str = hp("target", choices=("target", "fraction"), help="unimportant: what the target spares not, or a share")
    away: float = hp(0.5, low=0, high=1, help="probability that an unimportant weight is dropped away")
    back: float = hp(0.01, low=0, high=1, help="probability that a pruned weight is dropped back, at its highest")
    back_schedule: str = hp("linear", choices=SCHEDULES, help="how that falls to 0; gap: as what lacks of the target")
    fraction: float = hp(0.2, low=0, high=1, help="share of live weights that is unimportant (rule fraction)")
    order: str = hp("simultaneous", choices=ORDERS, help="sequential: what is just dropped away may come back at once")
    scope: str = hp("layer", choices=("layer", "global"), help="where magnitudes are compared and the target is met")
    recover: str = hp(
        "zero", choices=("zero", "last", "dense"), help="values that come back; dense: the first pruning's"
    )
    parts: str = hp("both", choices=("both", "away", "back"), help="ablation: never back, or away with probability 1")
    rounds: int = hp(20, low=1, high=10_000, help="prunings, each followed by training")
    dense: float = hp(0.3, low=0, below=1, help="share of the run before the first pruning; 0 with a trained start")
    fine_tune: float = hp(0.2, low=0, below=1, help="share of the run after the projection, under a fixed mask")
    restart: bool = hp(False, help="each training between prunings has a learning-rate schedule of its own")
    final: float = hp(0.8, low=0, below=1, help="sparsity aimed at, over the prunable weights; 0 is dense training")
    project: bool = hp(True, help="mask exactly to the target after the last training under drops")
    classifier: bool = hp(False, help="prune the classifier too")

    def check(self) -> None:
        """The prunings have room."""
        if not self.dense + self.fine_tune < 1:
            raise BenchError(
                f"`dense + fine_tune < 1` must hold, but got (dense={self.dense}, fine_tune={self.fine_tune}); lower `dense`"
            )

    @property
    def wanted(self) -> float | None:
        """The target, where the projection makes it exact."""
        return self.final if self.project else None

    def prunable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Convolutions and linear layers, with or without the classifier."""
        return masks.prunable(model, classifier=self.classifier)

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Masks nothing."""
        weights = self.prunable(model)
        if not weights:
            raise Ineffective(
                "drop needs a layer to prune, but found none; set classifier=true or choose another model"
            )
        return State(masks.all_live(weights))

    def calendar(self, steps: int) -> tuple[list[int], int]:
        """After which steps the prunings come, and the projection; in a short run several come after the same step."""
        shares = [t / self.rounds for t in range(self.rounds + 1)]
        places = [round(((1 - x) * self.dense + x * (1 - self.fine_tune)) * steps) for x in shares]
        *prunings, projection = [min(steps, max(1, place)) for place in places]
        return prunings, projection

    def phase(self, state: State, index: int, budget: Budget) -> Phase | None:
        """One, or with `restart` one from each pruning to the next that is after a later step."""
        prunings, projection = self.calendar(budget.steps)
        cuts = [0, budget.steps]
        if self.restart and self.final > 0:
            cuts = sorted({*cuts, *prunings, *([projection] if self.project else [])})
        if index + 1 >= len(cuts):
            return None
        begin, end = cuts[index : index + 2]
        if len(cuts) == 2:
            name = "train"
        elif self.project and begin >= projection:
            name = "fine-tune"
        else:
            name = f"round{sum(step <= begin for step in prunings) - 1}" if begin else "dense"
        return Phase(name, end - begin)

    def after_backward(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Masked weights get no gradient."""
        state.mask_gradients_(model)

    def after_step(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Prune where the calendar says so, inside the one phase."""
        if not self.restart:
            self._follow_calendar(state, model, clock)

    def end_phase(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Prune between phases, with `restart`."""
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
        # What each weight is as long as it is live; a masked one is 0 unless a value is stored.
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
        """The masks after one pruning, which is counted in the state."""
        away, most = 1.0 if self.parts == "back" else self.away, 0.0 if self.parts == "away" else self.back
        fraction = self.fraction if self.rule == "fraction" else None
        limit = self.final if self.project or fraction is None else 1.0
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
        """The masks that keep of what is live just what the target keeps."""
        units = self._units(state, values, self.final)
        return masks.split(torch.cat([m & ~unimportant(s, m, keep) for s, m, keep in units]), state.masks)

    def _units(self, state: State, values: dict[str, Tensor], sparsity: float) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Of each unit the scores, the mask and how many weights it keeps at a sparsity."""
        keeps = kept([m.numel() for m in state.masks.values()], sparsity, self.scope)
        return zip(importance(values, state.masks, self.scope), flat(state.masks, self.scope), keeps, strict=True)

    def finish(self, state: State, model: nn.Module) -> nn.Module:
        """The model as it is: its masked weights are zeros."""
        sizes, masked = [m.numel() for m in state.masks.values()], masks.count(state.masks)
        wanted = sum(sizes) - sum(kept(sizes, self.final, self.scope))
        if self.project and masked != wanted:
            raise Ineffective(
                f"drop must mask {wanted} of {sum(sizes)} weights, but masked {masked}; the run was cut short or diverged"
            )
        if not self.project and self.final > 0 and not masked:
            raise Ineffective("drop must mask something, but no weight is masked at the end; raise `away` or `rounds`")
        return model

    def stats(self, state: State, model: nn.Module) -> Mapping[str, float]:
        """What the last pruning dropped away and back, and the sparsity that the drops alone had reached."""
        reached = {} if state.reached is None else {"reached": state.reached}
        return {"dropped": state.dropped, "recovered": state.recovered, **reached}


METHOD = Drop

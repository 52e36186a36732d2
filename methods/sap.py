"""SAP, sparsity-informed adaptive pruning (Diao et al. 2023, arXiv:2302.05601, algorithm 1).

Train, measure the sparsity index of the live weights, prune as many as it allows, rewind, and train again. For the d live
weights of each unit (`scope`: one output neuron or filter, one layer, or the whole model)

    I = 1 - d^(1/q - 1/p) * |w|_p / |w|_q                    the PQ index
    r = d * (1 + eta)^(-q/(q-p)) * (1 - I)^(pq/(q-p))        the number of weights that must stay, by theorem 2
    c = floor(d * min(gamma * (1 - r/d), beta))              the c weights of smallest |w| are pruned

A run has `rounds` + 1 trainings, which share the steps equally, and a pruning after each training but the last.

Differs from the paper:
- `rounds` is 5, not 15 (ResNets) or 30 (small nets), of 200 epochs each: that many trainings do not fit small budgets.
- A target (`final`) is ours. A pruning that would pass the wanted sparsity is reduced in proportion. The last pruning also
  takes the missing weights, spread over the units in proportion to their live weights (stats show them as `projected`). Once
  the target is met, the steps that are left make one last training.
- Rewinding to an early step, or not at all, is ours; `init` is the paper's, where the run starts from an initialisation. Where
  it starts from trained weights (`start`), it is rewound to those, and results are labelled so.
- The ratio is not allowed below 0, as in the official code.

Differs from the official code (diaoenmao/Pruning-Deep-Neural-Networks-from-a-Sparsity-Perspective):
- The weights at the end of each training are pruned and scored; there the best ones on the test split.
- Batch-norm statistics are rewound; `rewind_norms` = False is that code's behaviour.
- r is not rounded up before the ratio is taken, as in the paper.
- Exactly c weights are pruned, ties by position; there fewer where magnitudes tie.
- That code clips the norm of the gradient at 1, which here is the recipe's: clip=1. Gradients of masked weights are zeroed
  before; there after.
- p and q may be any numbers with 0 < p < q <= 2; there they lie on grids of 0.1.
The first convolution and the classifier are pruned, as in that code; `classifier` = False spares the classifier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from bench import masks
from bench.claims import Claim
from bench.config import hp
from bench.errors import BenchError
from bench.measure.pq_index import pq_index
from bench.method import Budget, Clock, Phase
from bench.training.rewind import restore_, snapshot
from methods._masked import Unstructured

SPACE: dict[str, BaseDistribution] = {
    "p": FloatDistribution(0.1, 0.9),
    "q": FloatDistribution(1.0, 2.0),
    "eta": CategoricalDistribution((0.0, 0.001, 0.01, 0.1, 1.0)),  # the authors' grid
    "gamma": FloatDistribution(0.5, 3.0),
    "beta": FloatDistribution(0.5, 0.95),
    "scope": CategoricalDistribution(masks.SCOPES),
    "rounds": IntDistribution(2, 8),
    "rewind": CategoricalDistribution(("init", "early", "none")),
}

_SOURCE = "official repository and slides to arXiv:2302.05601, curves"
_READ = "read off a figure (+-1); global scope; scored by the best checkpoint on the test split"
CLAIMS = (
    Claim("resnet18", "cifar10", 95.3, _SOURCE, sparsity=0.0, note=f"dense, pre-activation; {_READ}"),
    Claim("resnet18", "cifar10", 94.6, _SOURCE, sparsity=0.98, note=f"(p, q) = (0.5, 1), 15 rounds; {_READ}"),
    Claim("resnet18", "cifar10", 93.6, _SOURCE, sparsity=0.99, note=f"(p, q) = (1, 2), 5 rounds; {_READ}"),
    Claim("sap_cnn", "cifar10", 90.3, _SOURCE, sparsity=0.0, note=f"dense; {_READ}"),
    Claim("sap_cnn", "cifar10", 89.0, _SOURCE, note=f"(p, q) = (0.2, 1), 30 rounds; {_READ}"),
    Claim("sap_cnn", "cifar10", 77.5, _SOURCE, note=f"(p, q) = (0.5, 1), 30 rounds; {_READ}"),
    Claim("sap_cnn", "cifar10", 53.5, _SOURCE, note=f"(p, q) = (0.8, 1), 30 rounds; {_READ}"),
    Claim("sap_cnn", "cifar10", 24.5, _SOURCE, note=f"(p, q) = (1, 2), 30 rounds; {_READ}"),
)


def prune_count(live: int, index: float, *, p: float, q: float, eta: float, gamma: float, beta: float) -> int:
    """Algorithm 1's c: how many of ``live`` weights with PQ index ``index`` to prune, at most ``floor(beta * live)``.

    Raises `BenchError` unless ``0 < p < q``.
    """
    if not 0 < p < q:
        raise BenchError(f"`0 < p < q` must hold, but got ({p=}, {q=})")
    kept = math.pow(1 + eta, -q / (q - p)) * math.pow(1 - index, p * q / (q - p))
    return math.floor(live * min(max(gamma * (1 - kept), 0.0), beta))


def units(tensors: Mapping[str, Tensor], scope: str) -> list[Tensor]:
    """Matrices with one row per unit: one matrix per tensor, or a single row for all tensors where ``scope`` is "global"."""
    if scope == "global":
        return [torch.cat([t.reshape(1, -1) for t in tensors.values()], dim=1)]
    if scope == "layer":
        return [t.reshape(1, -1) for t in tensors.values()]
    return [t.reshape(len(t), -1) for t in tensors.values()]


def from_units(rows: list[Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `units`: tensors with the names and shapes of ``like``."""
    return masks.split(torch.cat([r.reshape(-1) for r in rows]), like)


def meet(counts: list[int], live: list[int], room: int, *, last: bool) -> tuple[list[int], int]:
    """The counts to prune per unit, changed to meet a target, and the number of weights by which they were changed in all.

    ``counts`` and ``live`` have one number per unit; ``room`` is the number of weights that the target still allows to prune.
    Counts that add up to more are reduced in proportion. Counts that add up to less stay, but at the last pruning the missing
    weights are spread over the units in proportion to their live weights; each unit keeps one weight.
    """
    missing = room - sum(counts)
    if missing < 0:
        return masks.apportion(counts, counts, room), missing
    if missing == 0 or not last:
        return counts, 0
    left = [d - c for d, c in zip(live, counts, strict=True)]
    extra = masks.apportion(left, [n - 1 for n in left], missing)
    return [c + e for c, e in zip(counts, extra, strict=True)], missing


@dataclass
class State(masks.Masked):
    """The masks, the values to rewind to, the mean PQ index before each pruning, and the weights added to meet the target."""

    origin: dict[str, Tensor] = field(default_factory=dict)
    index: list[float] = field(default_factory=list)
    projected: int = 0


@dataclass(frozen=True)
class Sap(Unstructured[State]):
    """Iterative magnitude pruning whose ratio is read from the weights."""

    stronger = "raise `gamma` or `eta`"

    p: float = hp(0.5, above=0, high=2, help="order of the smaller norm")
    q: float = hp(1.0, above=0, high=2, help="order of the larger norm")
    eta: float = hp(0.0, low=0, high=1e3, help="how much of the norm may be lost (more: prunes more)")
    gamma: float = hp(1.0, above=0, high=1e3, help="factor on the share to prune")
    beta: float = hp(0.9, above=0, below=1, help="largest share of a unit's live weights that one pruning takes")
    scope: str = hp("layer", choices=masks.SCOPES, help="what is measured and pruned together")
    rounds: int = hp(5, low=1, high=50, help="number of prunings; there is one training more")
    rewind: str = hp("init", choices=("init", "early", "none"), help="to the run's start, to an early step, or not")
    rewind_at: float = hp(0.1, above=0, high=1, help="the early step, as a fraction of the first training")
    rewind_norms: bool = hp(True, help="rewind batch-norm statistics too")
    final: float | None = hp(None, low=0, below=1, help="wanted sparsity of the prunable weights; none: as SAP decides")
    classifier: bool = hp(True, help="prune the classifier too")

    def check(self) -> None:
        """The order of the smaller norm must be below that of the larger."""
        if not self.p < self.q:
            raise BenchError(f"`p < q` must hold, but got (p={self.p}, q={self.q}); lower `p`")

    def from_trained(self) -> str:
        """The paper rewinds to the initialisation."""
        return "rewound to trained weights" if self.rewind != "none" else ""

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Masks nothing; keeps the weights to rewind to."""
        state = State(masks.all_live(self.weights_to_prune(model)))
        total, least = sum(m.numel() for m in state.masks.values()), sum(map(len, units(state.masks, self.scope)))
        if self._room(state) > total - least:
            raise BenchError(
                f"`final` must leave a weight in each of {least} units of {total} weights, but got final={self.final}; "
                f"lower it to {(total - least) / total:.4g}, or choose a wider scope than {self.scope}"
            )
        if self.rewind == "init":
            state.origin = snapshot(model, self.rewind_norms)
        return state

    def phase(self, state: State, index: int, budget: Budget) -> Phase | None:
        """Equal rounds; once the target is met, one round over the steps that are left."""
        met = self._room(state) == 0
        if met and budget.left == 0:
            return None
        if met:
            return Phase(f"round{index}", budget.left)
        if budget.steps <= self.rounds:
            raise BenchError(
                f"each training needs a step, but got rounds={self.rounds} and {budget.steps} steps; "
                "lower `rounds` or raise `epochs`"
            )
        if index > self.rounds:
            return None
        return Phase(f"round{index}", budget.share(index, self.rounds + 1))

    def after_step(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Stores the early weights where `rewind` is "early"."""
        early = self.rewind == "early" and clock.index == 0
        if early and clock.phase_step == max(1, round(self.rewind_at * clock.phase.steps)):
            state.origin = snapshot(model, self.rewind_norms)

    @torch.no_grad()
    def end_phase(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Prunes as many weights as the index allows, and rewinds; does nothing after the last training."""
        if clock.index == self.rounds or self._room(state) == 0:
            return
        state.masks = self._prune(state, model, last=clock.index == self.rounds - 1)
        restore_(model, state.origin)
        state.mask_weights_(model)

    def _prune(self, state: State, model: nn.Module, *, last: bool) -> dict[str, Tensor]:
        weights, live = units(state.weights(model), self.scope), units(state.masks, self.scope)
        index = torch.cat([pq_index(w, self.p, self.q, dim=1, live=m) for w, m in zip(weights, live, strict=True)])
        sizes = torch.cat([m.sum(dim=1) for m in live])
        counts = [
            prune_count(d, i, p=self.p, q=self.q, eta=self.eta, gamma=self.gamma, beta=self.beta)
            for d, i in zip(sizes.tolist(), index.tolist(), strict=True)
        ]
        if self.final is not None:
            counts, state.projected = meet(counts, sizes.tolist(), self._room(state), last=last)
        state.index = [*state.index, float(index.mean())]
        drops = torch.split(torch.tensor(counts, device=sizes.device), [len(w) for w in weights])
        kept = []
        for weight, mask, drop in zip(weights, live, drops, strict=True):
            scores = weight.abs().where(mask, -1.0)
            kept.append(masks.drop_lowest_rows(scores, (~mask).sum(dim=1) + drop))
        return from_units(kept, state.masks)

    def _room(self, state: State) -> int:
        """How many weights the target still allows to prune; -1 without a target."""
        if self.final is None:
            return -1
        return round(self.final * sum(m.numel() for m in state.masks.values())) - masks.count(state.masks)

    def zeros_wanted(self, sizes: Sequence[int]) -> int | None:
        """The share `final` of all weights; without a target the index decides."""
        if self.final is None:
            return None
        return masks.to_drop(sizes, self.final, by_layer=False)

    def stats(self, state: State, model: nn.Module) -> Mapping[str, float]:
        """The number of prunings, the mean index before the last one, and the weights by which the target changed its count."""
        index = {"index": state.index[-1]} if state.index else {}
        return {"prunings": len(state.index), "projected": state.projected, **index}


METHOD = Sap

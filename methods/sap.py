"""SAP, sparsity-informed adaptive pruning (Diao et al. 2023, arXiv:2302.05601, algorithm 1).

Train, measure how sparse the live weights already are, prune that much, rewind, and train again. For the d live weights
of each unit (one output neuron or filter, one layer, or the whole model: `scope`)

    I = 1 - d^(1/q - 1/p) * |w|_p / |w|_q                    the PQ index
    r = d * (1 + eta)^(-q/(q-p)) * (1 - I)^(pq/(q-p))        weights that must stay, by theorem 2
    c = floor(d * min(gamma * (1 - r/d), beta))              the smallest c of |w| are pruned

A run is `rounds` + 1 trainings, which share the steps equally, with a pruning after each but the last.

Differs from the paper:
- `rounds` is 5, not 15 (ResNets) or 30 (small nets), of 200 epochs each: that many trainings do not fit small budgets.
- A target (`final`) is ours: a pruning that would pass the wanted sparsity is cut down in proportion; the last pruning
  takes what is missing too, spread over the units in proportion to what is live (stats show it as `projected`); once the
  target is met, the steps that are left make one last training.
- Rewinding to an early step or not at all is ours; `init` is the paper's, where the run starts from an initialisation.
- The ratio is kept from falling below 0, as in the official code.

Differs from the official code (diaoenmao/Pruning-Deep-Neural-Networks-from-a-Sparsity-Perspective):
- The weights pruned and scored are the last of each training; there they are the best on the test split.
- Batch-norm statistics are rewound; `rewind_norms` = False is its behaviour.
- r is not rounded up before the ratio is taken, as in the paper.
- Exactly c weights go, ties by position; there fewer where magnitudes tie.
- Gradients of masked weights are zeroed before the recipe clips their norm; there after.
- p and q are any 0 < p < q <= 2; there they lie on grids of 0.1.
The first convolution and the classifier are pruned, as there; `classifier` = False spares the latter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from bench import masks
from bench.claims import Claim
from bench.config import hp
from bench.errors import BenchError, Ineffective
from bench.measure.pq_index import pq_index
from bench.method import Budget, Clock, Method, Phase
from bench.training.rewind import restore_, snapshot

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
    """How many of ``live`` weights with PQ index ``index`` to prune: algorithm 1's c, at most ``floor(beta * live)``.

    Raises `BenchError` unless ``0 < p < q``.
    """
    if not 0 < p < q:
        raise BenchError(f"`0 < p < q` must hold, but got ({p=}, {q=})")
    kept = math.pow(1 + eta, -q / (q - p)) * math.pow(1 - index, p * q / (q - p))
    return math.floor(live * min(max(gamma * (1 - kept), 0.0), beta))


def units(tensors: Mapping[str, Tensor], scope: str) -> list[Tensor]:
    """The tensors as matrices of one row per unit: a matrix for each tensor, or a single row where scope is "global"."""
    if scope == "global":
        return [torch.cat([t.reshape(1, -1) for t in tensors.values()], dim=1)]
    return [t.reshape(len(t) if scope == "neuron" else 1, -1) for t in tensors.values()]


def from_units(rows: list[Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `units`: tensors of the names and shapes of ``like``."""
    return masks.split(torch.cat([r.reshape(-1) for r in rows]), like)


def meet(counts: list[int], live: list[int], room: int, *, last: bool) -> tuple[list[int], int]:
    """Counts changed to meet a target, and by how many weights in all.

    ``room`` is how many weights the target lets go. Counts beyond it shrink in proportion; short of it they stay, but at
    the last pruning the rest is spread over the units in proportion to what is live in them, each keeping one weight.
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
    """Masks, the values to rewind to, and of each pruning the mean PQ index of the live weights before it."""

    origin: dict[str, Tensor] = field(default_factory=dict)
    index: list[float] = field(default_factory=list)
    projected: int = 0


@dataclass(frozen=True)
class Sap(Method[State]):
    """Iterative magnitude pruning whose ratio is read from the weights."""

    target = "final"

    p: float = hp(0.5, above=0, high=2, help="order of the smaller norm")
    q: float = hp(1.0, above=0, high=2, help="order of the larger norm")
    eta: float = hp(0.0, low=0, high=1e3, help="how much of the norm may be lost (more: prunes more)")
    gamma: float = hp(1.0, above=0, high=1e3, help="factor on the share to prune")
    beta: float = hp(0.9, above=0, below=1, help="largest share of a unit's live weights that one pruning takes")
    scope: str = hp("layer", choices=masks.SCOPES, help="what is measured and pruned together")
    rounds: int = hp(5, low=1, high=50, help="prunings; the trainings are one more")
    rewind: str = hp("init", choices=("init", "early", "none"), help="to the run's start, to an early step, or not")
    rewind_at: float = hp(0.1, above=0, high=1, help="the early step, as a fraction of the first training")
    rewind_norms: bool = hp(True, help="rewind batch-norm statistics too")
    final: float | None = hp(None, low=0, below=1, help="wanted sparsity of the prunable weights; none: as SAP decides")
    classifier: bool = hp(True, help="prune the classifier too")

    def check(self) -> None:
        """The orders differ."""
        if not self.p < self.q:
            raise BenchError(f"`p < q` must hold, but got (p={self.p}, q={self.q}); lower `p`")

    def prunable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Every convolution and linear layer, the classifier too unless spared."""
        return masks.prunable(model, classifier=self.classifier)

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Masks nothing; keeps the weights to rewind to."""
        weights = self.prunable(model)
        if not weights:
            raise Ineffective("sap needs a layer to prune, but found none; set classifier=true or choose another model")
        state = State(masks.all_live(weights))
        total, last = sum(w.numel() for w in weights.values()), sum(map(len, units(state.masks, self.scope)))
        if self._room(state) > total - last:
            raise BenchError(
                f"`final` must leave a weight in each of {last} units of {total} weights, but got final={self.final}; "
                f"lower it to {(total - last) / total:.4g}, or choose a wider scope than {self.scope}"
            )
        if self.rewind == "init":
            state.origin = snapshot(model, self.rewind_norms)
        return state

    def phase(self, state: State, index: int, budget: Budget) -> Phase | None:
        """Equal rounds; once the target is met, one round over the steps that are left."""
        if self._room(state) == 0:
            return Phase(f"round{index}", budget.left) if budget.left else None
        if budget.steps <= self.rounds:
            raise BenchError(
                f"each training needs a step, but got rounds={self.rounds} and {budget.steps} steps; "
                "lower `rounds` or raise `epochs`"
            )
        return Phase(f"round{index}", budget.share(index, self.rounds + 1)) if index <= self.rounds else None

    def after_backward(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Masked weights get no gradient."""
        state.mask_gradients_(model)

    def after_step(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Keep the early weights, where those are rewound to."""
        early = self.rewind == "early" and clock.index == 0
        if early and clock.phase_step == max(1, round(self.rewind_at * clock.phase.steps)):
            state.origin = snapshot(model, self.rewind_norms)

    @torch.no_grad()
    def end_phase(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Prune what the index allows, and rewind; nothing after the last training."""
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
        """How many weights the target lets go yet; without a target there is always room."""
        if self.final is None:
            return -1
        return round(self.final * sum(m.numel() for m in state.masks.values())) - masks.count(state.masks)

    def finish(self, state: State, model: nn.Module) -> nn.Module:
        """The model as it is: its masked weights are zeros."""
        if self.final is None and masks.count(state.masks) == 0:
            raise Ineffective("sap must prune something, but its index never allowed a weight; raise `gamma` or `eta`")
        if self.final is not None and (room := self._room(state)):
            raise Ineffective(
                f"sap must mask final={self.final} of the weights, but {room} too few are; it was cut short"
            )
        return model

    def stats(self, state: State, model: nn.Module) -> Mapping[str, float]:
        """Prunings so far, the mean index before the newest, and by how many weights the target changed its count."""
        index = {"index": state.index[-1]} if state.index else {}
        return {"prunings": len(state.index), "projected": state.projected, **index}


METHOD = Sap

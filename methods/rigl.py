"""RigL, rigging the lottery (Evci et al. 2020, arXiv:1911.11134): sparse from the first step to the last.

Training starts with random masks. Every `frequency` steps, from step t = 0 until T_end = `stop` * steps, each layer of n live
weights drops

    k_t = floor(alpha / 2 * (1 + cos(pi * t / T_end)) * n)

of them, those with the smallest magnitudes, and grows as many: those with the largest gradients |dL/dw| among all weights
that are not kept, the ones just dropped included. A weight that grows starts at 0. The number of live weights never
changes; layers share it by Erdős-Rényi-Kernel densities ("erk": proportional to the sum of a layer's dimensions over their
product, at most 1) or equally ("uniform"). With `grow` = random the weights that grow are drawn at random: SET (Mocanu et al.
2018, arXiv:1707.04780).

A weight that is dropped and grown in the same update keeps its value and its momentum. The gradients of masked weights, which
backward computes anyway, are read only where an update is due.

Differs from the paper:
- A weight whose gradient is exactly 0 (behind dead units) does not grow: it would stay at 0. Where too few weights can grow,
  as many fewer are dropped.
- The classifier is spared unless `classifier`; there it is as sparse as the other layers.
- With `first` unset, the first convolution is dense as there: under "uniform" and "uniform+", and with "erk" from 99 % on.
  Depthwise convolutions are dense unless `depthwise`, as there.
- A step that updates the masks trains the weights too; there it updates the masks only.
- SET itself drops the smallest positive and the largest negative weights, a constant share, after each epoch; here it
  differs from RigL only in which weights grow.

Differs from the official code (google-research/rigl):
- T_end is `stop` * steps, without an update at T_end itself; there it is a step number (25,000 of 32,000 on ImageNet).
- No noise is added to magnitudes before they are ranked; there a little (1e-5) is. Ties go by position.
- The number of zeros is exact, rounded to the nearest integer; there it is rounded down in each layer.
- The dropped share is annealed; there it is constant unless `drop_fraction_anneal` is set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from bench import masks
from bench.claims import Claim
from bench.config import hp
from bench.method import Clock
from bench.seeds import generator
from methods._masked import Unstructured

SPACE: dict[str, BaseDistribution] = {
    "final": FloatDistribution(0.5, 0.98),
    "allocation": CategoricalDistribution(("erk", "uniform")),
    "alpha": FloatDistribution(0.1, 0.5),
    "frequency": IntDistribution(10, 300, log=True),
    "grow": CategoricalDistribution(("gradient", "random")),
}

DENSE_FIRST = 0.99  # from this sparsity on, the paper's first layer is dense under "erk" too
_SOURCE = "official repository to arXiv:1911.11134, README"
_FIRST = "the first layer is dense; the classifier is sparse too"
CLAIMS = (
    Claim("resnet50", "imagenet", 76.8, _SOURCE, sparsity=0.0, note="dense"),
    Claim("resnet50", "imagenet", 75.12, _SOURCE, sparsity=0.8, note="erk; the classifier is sparse too"),
    Claim("resnet50", "imagenet", 74.60, _SOURCE, sparsity=0.8, note=f"uniform; {_FIRST}"),
    Claim("resnet50", "imagenet", 73.07, _SOURCE, sparsity=0.9, note="erk; the classifier is sparse too"),
    Claim("resnet50", "imagenet", 72.02, _SOURCE, sparsity=0.9, note=f"uniform; {_FIRST}"),
)


def share_at(step: int, end: float, alpha: float) -> float:
    """The share of a layer's live weights that is dropped at a step: falls on a cosine from ``alpha`` at 0 to 0 at ``end``."""
    return alpha / 2 * (1 + math.cos(math.pi * step / end))


def swap(sizes: Tensor, mask: Tensor, growth: Tensor, live: int, count: int) -> Tensor:
    """The mask after one layer's update, with as many live weights as before.

    Args:
        sizes: magnitudes of the weights.
        mask: bool, True where live.
        growth: the score by which weights grow, at least 0; a masked weight with score 0 does not grow.
        live: the number of live weights.
        count: the number of the smallest live weights that compete with the masked weights.

    All tensors have the layer's shape. Ties go by position: the later weight is kept.
    """
    dead = mask.numel() - live
    kept = masks.drop_lowest(sizes.where(mask, -1.0), dead + count)
    ranks = growth.where(mask | (growth > 0), -1.0).where(~kept, math.inf)
    return masks.drop_lowest(ranks, dead)


@dataclass
class State(masks.Masked):
    """The masks, the number of live weights of each layer, and the number of mask updates."""

    live: dict[str, int] = field(default_factory=dict)
    updates: int = 0


@dataclass(frozen=True)
class Rigl(Unstructured[State]):
    """Sparse training that moves its live weights."""

    final: float = hp(0.8, low=0, below=1, help="sparsity from start to end, over the prunable weights")
    allocation: str = hp("erk", choices=("erk", "uniform", "uniform+"), help="how layers share the sparsity")
    alpha: float = hp(0.3, above=0, high=1, help="share of the live weights that the first update drops")
    frequency: int = hp(100, low=1, help="steps between updates")
    stop: float = hp(0.75, above=0, high=1, help="where updates end, as a fraction of the run")
    grow: str = hp("gradient", choices=("gradient", "random"), help="by the largest gradient (RigL) or at random (SET)")
    first: bool | None = hp(None, help="prune the first convolution too; none: as in the paper")  # type: ignore[assignment]
    depthwise: bool = hp(False, help="prune depthwise convolutions too")

    def prunable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Convolutions and linear layers that a mask reaches, as `classifier`, `first` and `depthwise` choose them."""
        return masks.prunable(model, classifier=self.classifier, first=self.prunes_first, depthwise=self.depthwise)

    @property
    def prunes_first(self) -> bool:
        """Whether the first convolution is pruned; with `first` unset, as in the paper."""
        if self.first is None:
            return self.allocation == "erk" and self.final < DENSE_FIRST
        return self.first

    def identity(self) -> dict[str, Any]:
        """As of every method; a first convolution that stays dense by default is named, as it did not in earlier versions."""
        found = super().identity()
        if self.first is None and not self.prunes_first:
            found["first"] = False
        return found

    def alters(self) -> str:
        """The masks are in force from the start."""
        return "weights are masked before the first step" if self.final else ""

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Masks each layer at random, with exact counts."""
        weights = self.weights_to_prune(model)
        rng = generator(
            torch.initial_seed(), "rigl"
        )  # no clock yet; the loop has just seeded torch from the run's seed
        found = self.choose(model, masks.random_scores(weights, rng), self.final, self.allocation)
        state = State(found, {name: int(mask.sum()) for name, mask in found.items()})
        state.mask_weights_(model)
        return state

    def after_backward(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Updates the masks where an update is due, then zeros the gradients of masked weights."""
        if self.final == 0:
            return
        end = self.stop * clock.budget.steps
        if clock.step % self.frequency == 0 and clock.step < end:
            self._update(state, model, clock, share_at(clock.step, end, self.alpha))
        state.mask_gradients_(model)

    @torch.no_grad()
    def _update(self, state: State, model: nn.Module, clock: Clock, share: float) -> None:
        rng, found = clock.rng("grow"), dict(state.masks)
        for name, weight in state.weights(model).items():
            live, count = state.live[name], math.floor(share * state.live[name])
            if weight.grad is None or count == 0 or live == weight.numel():
                continue
            growth = weight.grad.abs()
            if self.grow == "random":
                chance = torch.rand(weight.shape, generator=rng).to(weight.device)
                growth = (1 - chance).where(found[name] | (growth > 0), 0.0)  # 1 - [0, 1) is never 0
            found[name] = swap(weight.abs(), found[name], growth, live, count)
        state.masks, state.updates = found, state.updates + 1
        state.mask_weights_(model, clock.optimizer)

    def zeros_wanted(self, sizes: Sequence[int]) -> int:
        """The share `final` of the weights, rounded in each layer where the allocation is uniform."""
        return masks.to_drop(sizes, self.final, by_layer=self.allocation == "uniform")

    def stats(self, state: State, model: nn.Module) -> Mapping[str, float]:
        """The number of mask updates."""
        return {"updates": state.updates}


METHOD = Rigl

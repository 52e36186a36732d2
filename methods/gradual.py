"""Gradual magnitude pruning, "To prune, or not to prune" (Zhu and Gupta 2017, arXiv:1710.01878).

While the model trains, the weights with the smallest magnitudes are masked every `frequency` steps, so that the sparsity
follows

    s_t = s_f + (s_i - s_f) * (1 - (t - t0) / (t1 - t0))^3        for t0 <= t <= t1

where s_i is `initial`, s_f is `final`, t0 = `begin` * steps, t1 = `end` * steps, and the exponent 3 is a field (`exponent`).
The gradients of masked weights are zeroed, so masked weights are not updated. With `regrow`, a masked weight keeps its value
and returns when a later update ranks it among the kept ones; without, a masked weight stays masked. Uniform allocation masks
round(s_t * n) weights of each layer of n weights, but never all of them; "global" ranks the weights of all layers together;
"erk" gives small layers a higher density (arXiv:1911.11134); "uniform+" keeps the first convolution dense and the classifier
at 80 % (arXiv:1902.09574); "lamp" ranks LAMP scores (arXiv:2010.07611). After t1 the mask is fixed and training continues.

Differs from the paper:
- The mask is always updated at t1, also where `frequency` does not divide the ramp, so the final sparsity is met exactly.
- The mask is made after step t rather than before step t + 1, which ranks the same weights. Only with `begin` = 0 and
  `initial` > 0 are weights masked before the first step: then attaching changes what the model computes.
- The momentum of a masked weight is zeroed, and weight decay does not move it; the paper does not mention either.
- Depthwise convolutions are spared unless `depthwise`, as in the paper; `first` = False spares the first convolution too, as
  the paper does for MobileNet. The classifier is spared unless `classifier`; there it is pruned.
- The layer-wise schedule that the paper tries for GNMT is left out.
- Allocations other than uniform are not in the paper for vision models.

Differs from the official code (tensorflow/contrib/model_pruning):
- Counts are exact, with ties by position. There the threshold comes from a histogram and is smoothed over the updates
  (decay 0.9); it lags behind the schedule and rounds the sparsity down.
- `begin` and `end` are fractions of the run, not step numbers. Its default is `frequency` = 10; the paper recommends 100
  to 1000 in runs of many thousand steps.
- `regrow` = False is close to its successor, tfmot, which overwrites masked weights by 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn
from torch.optim import Optimizer

from bench import masks
from bench.claims import Claim
from bench.config import hp
from bench.errors import BenchError
from bench.method import Clock
from methods._masked import Unstructured

SPACE: dict[str, BaseDistribution] = {
    "begin": FloatDistribution(0.0, 0.3),
    "end": FloatDistribution(0.4, 0.95),
    "frequency": IntDistribution(1, 100, log=True),
    "final": FloatDistribution(0.5, 0.98),
    "exponent": FloatDistribution(1.0, 6.0),
    "allocation": CategoricalDistribution(("uniform", "global", "erk")),
    "regrow": CategoricalDistribution((True, False)),
}

_T1, _T2 = "arXiv:1710.01878, table 1", "arXiv:1710.01878, table 2"
_SPARED = "width 1.0; the first and the depthwise convolutions are not pruned; sparsity is that of the pruned layers"
CLAIMS = (
    Claim("inception_v3", "imagenet", 78.1, _T1, sparsity=0.0, note="dense"),
    Claim("inception_v3", "imagenet", 78.0, _T1, sparsity=0.5),
    Claim("inception_v3", "imagenet", 76.1, _T1, sparsity=0.75),
    Claim("inception_v3", "imagenet", 74.6, _T1, sparsity=0.875),
    Claim("mobilenetv1_100", "imagenet", 70.6, _T2, sparsity=0.0, note="dense, width 1.0"),
    Claim("mobilenetv1_100", "imagenet", 69.5, _T2, sparsity=0.5, note=_SPARED),
    Claim("mobilenetv1_100", "imagenet", 67.7, _T2, sparsity=0.75, note=_SPARED),
    Claim("mobilenetv1_100", "imagenet", 61.8, _T2, sparsity=0.9, note=_SPARED),
    Claim("mobilenetv1_100", "imagenet", 53.6, _T2, sparsity=0.95, note=_SPARED),
)


def sparsity_at(step: float, *, begin: float, end: float, initial: float, final: float, exponent: float = 3.0) -> float:
    """The scheduled sparsity at a step: ``initial`` up to ``begin``, exactly ``final`` from ``end`` on, and between them
    ``final + (initial - final) * (1 - (step - begin) / (end - begin)) ** exponent`` (the paper's equation 1).

    ``step``, ``begin`` and ``end`` are all step numbers, or all fractions of the run. Raises `BenchError` where ``begin`` is
    after ``end``.
    """
    if begin > end:
        raise BenchError(f"`begin <= end` must hold, but got ({begin=}, {end=})")
    if step >= end:
        return final
    if step <= begin:
        return initial
    return final + (initial - final) * math.pow(1 - (step - begin) / (end - begin), exponent)


@dataclass
class State(masks.Masked):
    """The masks, the stored values of masked weights (`regrow`), and the scheduled sparsity of the last update."""

    stored: dict[str, Tensor] = field(default_factory=dict)
    sparsity: float = 0.0


@dataclass(frozen=True)
class Gradual(Unstructured[State]):
    """Magnitude pruning along a polynomial ramp."""

    begin: float = hp(0.0, low=0, below=1, help="where the ramp begins, as a fraction of the run")
    end: float = hp(0.75, above=0, high=1, help="where it ends and the mask is fixed, as a fraction of the run")
    frequency: int = hp(10, low=1, help="steps between mask updates (tf.contrib's default)")
    initial: float = hp(0.0, low=0, high=1, help="sparsity where the ramp begins")
    final: float = hp(0.8, low=0, high=1, help="sparsity at the end, over the prunable weights")
    exponent: float = hp(3.0, above=0, high=100, help="of the ramp; 1 is linear")
    allocation: str = hp("uniform", choices=masks.ALLOCATIONS, help="how layers share the sparsity")
    regrow: bool = hp(True, help="masked weights keep their values and can come back")
    depthwise: bool = hp(False, help="prune depthwise convolutions too")

    def check(self) -> None:
        """The ramp must end after it begins, and must not fall."""
        if not self.begin < self.end:
            raise BenchError(f"`begin < end` must hold, but got (begin={self.begin}, end={self.end}); raise `end`")
        if not self.initial <= self.final:
            raise BenchError(
                f"`initial <= final` must hold, but got (initial={self.initial}, final={self.final}); lower `initial`"
            )

    def alters(self) -> str:
        """A ramp that begins above zero at step 0 masks weights when it is attached."""
        return "weights are masked before the first step" if self._at_once else ""

    @property
    def _at_once(self) -> bool:
        return self.begin == 0 and self.initial > 0

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Masks nothing, unless the ramp begins above zero at step 0."""
        state = State(masks.all_live(self.weights_to_prune(model)))
        if self._at_once:
            self._update(state, model, self.initial, None)
        return state

    def window(self, steps: int) -> tuple[int, int]:
        """The first and the last step of the ramp in a run of ``steps``; a ramp begins at step 0 only where `begin` is 0."""
        end = max(1, round(self.end * steps))
        if self.begin == 0:
            return 0, end
        return min(end, max(1, round(self.begin * steps))), end

    def after_step(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Updates the masks to the scheduled sparsity where an update is due."""
        begin, end = self.window(clock.budget.steps)
        due = begin <= clock.step < end and (clock.step - begin) % self.frequency == 0
        if due or clock.step == end:
            sparsity = sparsity_at(
                clock.step, begin=begin, end=end, initial=self.initial, final=self.final, exponent=self.exponent
            )
            self._update(state, model, sparsity, clock.optimizer)
            if clock.step == end:
                state.stored = {}  # no later update can bring a weight back

    @torch.no_grad()
    def _update(self, state: State, model: nn.Module, sparsity: float, optimizer: Optimizer | None) -> None:
        weights = state.weights(model)
        if self.regrow:
            stored = state.stored or weights
            state.stored = {n: w.where(state.masks[n], stored[n]) for n, w in weights.items()}
            scores = {n: w.abs() for n, w in state.stored.items()}
            for name, value in state.stored.items():
                weights[name].copy_(value)
        else:
            scores = masks.magnitudes(weights, state.masks)
        state.masks, state.sparsity = self.choose(model, scores, sparsity, self.allocation), sparsity
        state.mask_weights_(model, optimizer)

    def zeros_wanted(self, sizes: Sequence[int]) -> int:
        """The share `final` of the weights, rounded in each layer where the allocation is uniform."""
        return masks.to_drop(sizes, self.final, by_layer=self.allocation == "uniform")

    def stats(self, state: State, model: nn.Module) -> Mapping[str, float]:
        """The scheduled sparsity of the last update."""
        return {"scheduled": state.sparsity}


METHOD = Gradual

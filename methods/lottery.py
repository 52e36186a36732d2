"""Lottery tickets: iterative magnitude pruning with rewinding (Frankle and Carbin 2019, arXiv:1803.03635).

Train, mask the share `rate` of the live weights with the smallest magnitudes, rewind the other weights to their values at
the start of the run, and train again. After t prunings the sparsity is

    s_t = min(1 - (1 - rate)^t, final)

so ceil(log(1 - final) / log(1 - rate)) prunings reach `final`; the last one masks exactly the missing number of weights.
There is one training more than there are prunings; the trainings share the steps equally, and each has its own learning-rate
schedule. `scope` says which weights are ranked together: those of all layers ("global"), those of each layer ("layer"; with
"uniform+" none of the first convolution and at most 80 % of the classifier, arXiv:1902.09574), or those of all layers by their
LAMP scores ("lamp", arXiv:2010.07611: with `rewind` = none its official procedure, at 20 prunings).
`rewind` says which values the live weights get:

    init     the values before the first step (the paper)
    early    those after `rewind_at` of the first training (Frankle et al. 2020, arXiv:1912.05671)
    none     those that they have. As the schedule restarts, this is the learning-rate rewinding of Renda et al. 2020
             (arXiv:2003.02389), not their fine-tuning, which keeps the last, small rate

Where the run starts from trained weights (`start`), "init" and "early" rewind to those, or to a step after them. Then it is not
the papers' method, and results are labelled "rewound to trained weights"; set `start` to nothing for lottery tickets.

Differs from the papers:
- All trainings together cost one run; there each is as long as the training of the dense model.
- The number of prunings follows from `final`, which is met exactly.
- A training that starts from early weights has the whole schedule; there it continues from the early step.
- Small networks are pruned layer by layer in the first paper, output layers at half the rate; here all layers have one rate.
- The optimiser starts each training without momentum; the papers do not mention it.

Differs from the official code (facebookresearch/open_lth):
- After t prunings round(s_t * n) of n weights are masked, ties by position. There each pruning takes ceil(rate * live) and
  one more (in the global scope), and all weights that tie with that one.
- The classifier is spared unless `classifier`; there it is pruned in the CIFAR ResNets, and not in VGGs and LeNets.
- Gradients of masked weights are zeroed; there weights are multiplied by the mask before each step.
Batch-norm statistics are rewound with the weights, as in that code; `rewind_norms` = False keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from torch import Tensor, nn

from bench import masks
from bench.claims import Claim
from bench.config import hp
from bench.errors import BenchError
from bench.method import Budget, Clock, Phase
from bench.training.rewind import restore_, snapshot
from methods._masked import Unstructured

SPACE: dict[str, BaseDistribution] = {
    "final": FloatDistribution(0.5, 0.98),
    "rate": FloatDistribution(0.1, 0.6),
    "scope": CategoricalDistribution(("layer", "global")),
    "rewind": CategoricalDistribution(("init", "early", "none")),
}

SCOPES = ("layer", "global", "lamp", "uniform+")
REWOUND = "rewound to trained weights"
CLAIMS: tuple[Claim, ...] = ()  # the papers report curves


def prunings(final: float, rate: float) -> int:
    """How many prunings, each of the share ``rate`` (above 0, below 1) of the live weights, reach the sparsity ``final``."""
    return math.ceil(math.log(1 - final) / math.log(1 - rate) - 1e-9)  # 0.488 is three times 0.2, whatever the rounding


def sparsity_after(index: int, final: float, rate: float) -> float:
    """The sparsity after ``index`` prunings: ``1 - (1 - rate) ** index`` before the last of them, then ``final``."""
    if index >= prunings(final, rate):
        return final
    return 1 - math.pow(1 - rate, index)


@dataclass
class State(masks.Masked):
    """The masks, and the values to rewind to."""

    origin: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Lottery(Unstructured[State]):
    """Rounds of training, magnitude pruning and rewinding."""

    final: float = hp(0.8, low=0, below=1, help="sparsity at the end, over the prunable weights")
    rate: float = hp(0.2, above=0, below=1, help="share of the live weights that each pruning takes")
    scope: str = hp("global", choices=SCOPES, help="what is ranked together, see above")
    rewind: str = hp("init", choices=("init", "early", "none"), help="to the run's start, to an early step, or not")
    rewind_at: float = hp(0.1, above=0, high=1, help="the early step, as a fraction of the first training")
    rewind_norms: bool = hp(True, help="rewind batch-norm statistics too")

    @property
    def prunings(self) -> int:
        """The number of prunings; there is one training more."""
        return prunings(self.final, self.rate)

    def from_trained(self) -> str:
        """Tickets are rewound to an initialisation, or to a step soon after it."""
        return REWOUND if self.rewind != "none" else ""

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Masks nothing; keeps the weights to rewind to."""
        weights = self.weights_to_prune(model)
        state = State(masks.all_live(weights))
        if self.rewind == "init" and self.final:
            state.origin = snapshot(model, self.rewind_norms)
        return state

    def phase(self, state: State, index: int, budget: Budget) -> Phase | None:
        """Equal trainings, one more than there are prunings."""
        if budget.steps <= self.prunings:
            raise BenchError(
                f"each training needs a step, but final={self.final} by rate={self.rate} takes {self.prunings + 1} "
                f"trainings and there are {budget.steps} steps; raise `rate` or `epochs`"
            )
        if index > self.prunings:
            return None
        return Phase(f"round{index}", budget.share(index, self.prunings + 1))

    def after_step(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Stores the early weights where `rewind` is "early"."""
        early = self.rewind == "early" and clock.index == 0
        if early and clock.phase_step == max(1, round(self.rewind_at * clock.phase.steps)):
            state.origin = snapshot(model, self.rewind_norms)

    @torch.no_grad()
    def end_phase(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Prunes and rewinds, but for the last training."""
        if clock.index == self.prunings:
            return
        sparsity = sparsity_after(clock.index + 1, self.final, self.rate)
        allocation = "uniform" if self.scope == "layer" else self.scope
        state.masks = self.choose(model, masks.magnitudes(state.weights(model), state.masks), sparsity, allocation)
        restore_(model, state.origin)
        state.mask_weights_(model)

    def zeros_wanted(self, sizes: Sequence[int]) -> int:
        """The share `final` of the weights, rounded in each layer where the scope is the layer."""
        return masks.to_drop(sizes, self.final, by_layer=self.scope == "layer")


METHOD = Lottery

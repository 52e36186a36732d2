"""One-shot pruning: train, prune once, fine-tune (Han et al. 2015, arXiv:1506.02626), or prune at once and train.

After `when` * steps the weights with the lowest scores are masked, once. The score of a weight w (`criterion`):

    magnitude    |w|
    random       a uniform random number
    snip         |w * dL/dw|, the sensitivity to removing w (Lee et al. 2019, arXiv:1810.02340), L over `batches` batches

`allocation` says how many weights each layer loses; each layer then keeps those with its highest scores:

    uniform      the same share of each layer
    global       by a ranking of the scores of all layers together
    erk          by the layer's shape (Evci et al. 2020, arXiv:1911.11134)
    lamp         by a ranking of s_u^2 / (sum of s_v^2 over v ranked at or above u in the layer of u) over all layers
                 (Lee et al. 2021, arXiv:2010.07611)
    uniform+     the same share of each layer, but none of the first convolution and at most 80 % of the classifier (Gale
                 et al. 2019, arXiv:1902.09574)

`when` = 0 prunes before the first step: the initialisation, or a trained model given as `start`. SNIP needs gradients, for
which it spends `batches` steps at a learning rate of 0. Each phase has its own learning-rate schedule.

Differs from the papers:
- Han et al. prune by a multiple of each layer's standard deviation, fine-tune at a small rate, and repeat; here counts are
  exact and the schedule restarts at the full rate (the learning-rate rewinding of Renda et al. 2020, arXiv:2003.02389).
- SNIP is `when` = 0, criterion=snip, allocation=global. Its division of all scores by their sum does not change their
  order, and is left out. Several batches count as one larger batch. The model keeps its own initialisation.
- LAMP is criterion=magnitude, allocation=lamp. LAMP over other scores, and all other combinations, are ours.

Differs from the official code:
- SNIP (namhoonlee/snip-public) scores in evaluation mode, prunes biases too, and then trains from other random weights.
  Here scores are taken in training mode: dropout is active, and batch-norm statistics are updated.
- LAMP (jaeho-lee/layer-adaptive-sparsity) prunes 20 times with a training in between, as `lottery` does with scope=lamp
  and rewind=none, and prunes the classifier too, which is spared here unless `classifier`. There all scores that
  tie at the threshold stay; here counts are exact.
"""

from __future__ import annotations

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
from bench.seeds import generator
from methods._masked import Unstructured

CRITERIA = ("magnitude", "random", "snip")

SPACE: dict[str, BaseDistribution] = {
    "final": FloatDistribution(0.5, 0.98),
    "criterion": CategoricalDistribution(CRITERIA),
    "allocation": CategoricalDistribution(("uniform", "global", "erk", "lamp")),
    "when": FloatDistribution(0.0, 0.8),
}

CLAIMS: tuple[Claim, ...] = ()  # Han et al. and LAMP prune many times; tables of SNIP could not be checked


@dataclass
class State(masks.Masked):
    """The masks and, in SNIP's scoring phase, the sum of the gradients so far."""

    gradients: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class OneShot(Unstructured[State]):
    """One pruning, with training before and after it."""

    final: float = hp(0.8, low=0, below=1, help="sparsity after the pruning, over the prunable weights")
    criterion: str = hp("magnitude", choices=CRITERIA, help="the score of a weight")
    allocation: str = hp("uniform", choices=masks.ALLOCATIONS, help="how layers share the sparsity")
    when: float = hp(0.5, low=0, below=1, help="share of the run that trains the dense model; 0 prunes at once")
    batches: int = hp(1, low=1, high=1000, help="batches that SNIP's scores are taken over, a step each")

    @property
    def _at_once(self) -> bool:
        return self.when == 0 and self.final > 0 and self.criterion != "snip"

    def alters(self) -> str:
        """A pruning that needs neither training nor gradients is made when the method is attached."""
        return "weights are masked before the first step" if self._at_once else ""

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Masks nothing, unless the pruning needs neither training nor gradients."""
        state = State(masks.all_live(self.weights_to_prune(model)))
        if self._at_once:  # there is no clock yet, but the loop has just seeded torch from the run's seed
            self._prune(state, model, generator(torch.initial_seed(), "oneshot"))
        return state

    def plan(self, steps: int) -> list[Phase]:
        """The phases of a run of ``steps``: dense, score and fine-tune, without those of 0 steps."""
        if self.final == 0:
            return [Phase("dense", steps)]
        dense = max(1, round(self.when * steps)) if self.when else 0
        score = self.batches if self.criterion == "snip" else 0
        if dense + score >= steps:
            raise BenchError(
                f"fine-tuning needs a step, but of {steps} dense training takes {dense} (when={self.when}) and scoring "
                f"{score} (batches={self.batches}); lower `when` or `batches`, or raise `epochs`"
            )
        phases = [Phase("dense", dense), Phase("score", score, lr=0.0), Phase("fine-tune", steps - dense - score)]
        return [phase for phase in phases if phase.steps]

    def phase(self, state: State, index: int, budget: Budget) -> Phase | None:
        """The phases of `plan`, one after the other."""
        return dict(enumerate(self.plan(budget.steps))).get(index)

    def after_backward(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Adds up SNIP's gradients in the scoring phase; zeros the gradients of masked weights in fine-tuning."""
        if clock.phase.name == "score":
            weights = state.weights(model)
            found = dict(state.gradients) or {name: torch.zeros_like(weight) for name, weight in weights.items()}
            for name, weight in weights.items():
                if weight.grad is not None:
                    found[name] = found[name] + weight.grad
            state.gradients = found
        elif clock.phase.name == "fine-tune":
            state.mask_gradients_(model)

    def end_phase(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Prunes before fine-tuning."""
        last = "score" if self.criterion == "snip" else "dense"
        if self.final and clock.phase.name == last:
            self._prune(state, model, clock.rng("oneshot"))

    @torch.no_grad()
    def _prune(self, state: State, model: nn.Module, rng: torch.Generator) -> None:
        state.masks = self.choose(model, self._scores(state, model, rng), self.final, self.allocation)
        state.gradients = {}
        state.mask_weights_(model)

    def _scores(self, state: State, model: nn.Module, rng: torch.Generator) -> dict[str, Tensor]:
        weights = state.weights(model)
        if self.criterion == "random":
            return masks.random_scores(weights, rng)
        if self.criterion == "snip":
            return {name: (weight * state.gradients[name]).abs() for name, weight in weights.items()}
        return masks.magnitudes(weights, state.masks)

    def zeros_wanted(self, sizes: Sequence[int]) -> int:
        """The share `final` of the weights, rounded in each layer where the allocation is uniform."""
        return masks.to_drop(sizes, self.final, by_layer=self.allocation == "uniform")


METHOD = OneShot

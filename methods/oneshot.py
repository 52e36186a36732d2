"""One-shot pruning: train, prune once, fine-tune (Han et al. 2015, arXiv:1506.02626), or prune at once and train.

At `when` * steps the weights with the lowest scores are masked for good. Scores (`criterion`) of a weight w:

    magnitude    |w|
    random       a uniform random number
    snip         |w * dL/dw|, the sensitivity to removing w (Lee et al. 2019, arXiv:1810.02340), L over `batches` batches

How many weights each layer loses (`allocation`) is a question of its own; each layer then keeps its highest scores:

    uniform      the same share of each layer
    global       as many as a ranking of all scores together leaves
    erk          by the layer's shape (Evci et al. 2020, arXiv:1911.11134)
    lamp         as many as a ranking of s_u^2 / (sum of s_v^2 over v ranked at or above u in the layer of u) leaves
                 (Lee et al. 2021, arXiv:2010.07611)

`when` = 0 prunes before the first step: at initialisation, or a trained model given as `start`. SNIP needs gradients, for
which it spends `batches` steps at a learning rate of 0. Each phase has a learning-rate schedule of its own.

Differs from the papers:
- Han et al. prune by a multiple of each layer's standard deviation, fine-tune at a small rate, and repeat; here counts are
  exact and the schedule starts over at the full rate (the learning-rate rewinding of Renda et al. 2020, arXiv:2003.02389).
- SNIP is `when` = 0, criterion=snip, allocation=global; its division of all scores by their sum orders nothing anew, and
  is left out. Several batches count as one larger batch. The model keeps its own initialisation.
- LAMP is criterion=magnitude, allocation=lamp; over other scores it is ours, as are all other combinations.

Differs from the official code:
- SNIP (namhoonlee/snip-public) scores in evaluation mode, prunes biases too, and trains on from other random weights; here
  the model scores as it trains, with the statistics of its batch norms and its dropout going on.
- LAMP (jaeho-lee/layer-adaptive-sparsity) prunes 20 times with a training in between, and the classifier too, which is
  spared here unless `classifier`. Scores that tie at the threshold all stay there; here counts are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from torch import Tensor, nn

from bench import masks
from bench.claims import Claim
from bench.config import hp
from bench.errors import BenchError, Ineffective
from bench.method import Budget, Clock, Method, Phase
from bench.seeds import generator
from methods import gradual

CRITERIA = ("magnitude", "random", "snip")
ALLOCATIONS = ("uniform", "global", "erk", "lamp")

SPACE: dict[str, BaseDistribution] = {
    "final": FloatDistribution(0.5, 0.98),
    "criterion": CategoricalDistribution(CRITERIA),
    "allocation": CategoricalDistribution(ALLOCATIONS),
    "when": FloatDistribution(0.0, 0.8),
}

CLAIMS: tuple[Claim, ...] = ()  # Han et al. and LAMP prune many times; tables of SNIP could not be checked


def lamp(scores: Tensor) -> Tensor:
    """LAMP scores of a layer: each score's square over the sum of the squares ranked at or above it, float64, 0 to 1.

    Equal scores are ranked by position, the later above. The order within the layer stays the same, and its highest is 1
    (all are 0 where all scores are). Scores must not be negative.
    """
    flat = scores.reshape(-1).double()
    order = flat.argsort(stable=True)
    squares = flat[order].square()
    above = squares.flip(0).cumsum(0).flip(0)
    shares = squares / above.where(above > 0, 1.0)
    return torch.empty_like(flat).scatter_(0, order, shares).view(scores.shape)


def choose(scores: dict[str, Tensor], sparsity: float, allocation: str) -> dict[str, Tensor]:
    """Masks over scores by name that keep the highest at the given sparsity; see `OneShot.allocation`."""
    if allocation == "lamp":
        return masks.keep_top({name: lamp(score) for name, score in scores.items()}, sparsity, "global")
    return gradual.choose(scores, sparsity, allocation)


def uniform(like: Mapping[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """A random number from [0, 1) for each weight, on its device; drawn on the CPU, so the same everywhere."""
    return {name: torch.rand(w.shape, generator=rng).to(w.device) for name, w in like.items()}


@dataclass
class State(masks.Masked):
    """Masks, and while SNIP scores, the sum of the gradients so far."""

    gradients: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class OneShot(Method[State]):
    """One pruning, and training around it."""

    target = "final"

    final: float = hp(0.8, low=0, below=1, help="sparsity after the pruning, over the prunable weights")
    criterion: str = hp("magnitude", choices=CRITERIA, help="the score of a weight")
    allocation: str = hp("uniform", choices=ALLOCATIONS, help="how layers share the sparsity")
    when: float = hp(0.5, low=0, below=1, help="share of the run that trains the dense model; 0 prunes at once")
    batches: int = hp(1, low=1, high=1000, help="batches that SNIP's scores are taken over, a step each")
    classifier: bool = hp(False, help="prune the classifier too")

    def prunable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Convolutions and linear layers, with or without the classifier."""
        return masks.prunable(model, classifier=self.classifier)

    @property
    def _at_once(self) -> bool:
        return self.when == 0 and self.final > 0 and self.criterion != "snip"

    def alters(self) -> str:
        """What needs no training and no gradient is pruned when attached."""
        return "weights are masked before the first step" if self._at_once else ""

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Masks nothing, unless that is all there is to wait for."""
        weights = self.prunable(model)
        if not weights:
            raise Ineffective(
                "oneshot needs a layer to prune, but found none besides the classifier; "
                "set classifier=true or choose another model"
            )
        state = State(masks.all_live(weights))
        if self._at_once:  # there is no clock yet, but the loop has just seeded torch from the run's seed
            self._prune(state, model, generator(torch.initial_seed(), "oneshot"))
        return state

    def plan(self, steps: int) -> list[Phase]:
        """The phases of a run of ``steps``: dense, score and fine-tune, as far as they are wanted."""
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
        """One of the `plan` after the other."""
        return dict(enumerate(self.plan(budget.steps))).get(index)

    def after_backward(self, state: State, model: nn.Module, clock: Clock) -> None:
        """SNIP's gradients are added up; afterwards masked weights get none."""
        if clock.phase.name == "score":
            before = state.gradients or {name: torch.zeros_like(w) for name, w in state.weights(model).items()}
            grads = {name: w.grad for name, w in state.weights(model).items()}
            state.gradients = {n: before[n] if g is None else before[n] + g for n, g in grads.items()}
        elif clock.phase.name == "fine-tune":
            state.mask_gradients_(model)

    def end_phase(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Prune before fine-tuning."""
        if self.final and clock.phase.name == ("score" if self.criterion == "snip" else "dense"):
            self._prune(state, model, clock.rng("oneshot"))

    @torch.no_grad()
    def _prune(self, state: State, model: nn.Module, rng: torch.Generator) -> None:
        state.masks = choose(self._scores(state, model, rng), self.final, self.allocation)
        state.gradients = {}
        state.mask_weights_(model)

    def _scores(self, state: State, model: nn.Module, rng: torch.Generator) -> dict[str, Tensor]:
        weights = state.weights(model)
        if self.criterion == "random":
            return uniform(weights, rng)
        if self.criterion == "snip":
            return {name: (weight * state.gradients[name]).abs() for name, weight in weights.items()}
        return masks.magnitudes(weights, state.masks)

    def finish(self, state: State, model: nn.Module) -> nn.Module:
        """The model as it is: its masked weights are zeros."""
        sizes = [mask.numel() for mask in state.masks.values()]
        parts = sizes if self.allocation == "uniform" else [sum(sizes)]
        wanted, got = sum(round(self.final * n) for n in parts), masks.count(state.masks)
        if got != wanted:
            raise Ineffective(
                f"oneshot must mask {wanted} of {sum(sizes)} weights, but masked {got}; the run was cut short"
            )
        return model


METHOD = OneShot

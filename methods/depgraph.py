"""DepGraph (Fang et al. 2023, arXiv:2301.12900): coupled channels are scored, trained sparse and removed together.

The dependency graph gives channel groups: all slices of all tensors that must be removed with an output channel
(`bench.channels.groups`). A run learns (densely, or with group sparsity), prunes, and fine-tunes the smaller model. The
importance of channel k of a group is the mean over its layers of sum |w_k|^2 (rows, columns, norm scales), divided by the
mean of the group's channels that are still there (`normalizer`); the channels of the lowest importance, over all groups, are
removed until the budget is met (`final`, `budget`). Sparse learning adds to the gradients of rows, columns and norm scales

    reg * 2^(alpha * (I_max - I_k) / (I_max - I_min)) * w_k        with I the square root of the importance

in place of weight decay. Other importances: "magnitude" (mean |w| of the rows), "bn_scale" (|gamma|, Liu et al. 2017),
"taylor" (|sum w g|, the root mean square over `batches`, Molchanov et al. 2019), "hessian" (OBD-C, sum w^2 F of the rows,
Wang et al. 2019), "fpgm" (distance to the other rows, He et al. 2019), "random".

Differs from the paper:
- The learning, the pruning and the fine-tuning share one budget of steps (`learn`, `prune`, the rest).
- The budget is met within 1 %, by single steps of channels in one or two groups where the ranking alone would miss it.
- The factors of sparse learning are computed anew once per epoch; in the paper's code at every step.
Differs from the official code (Torch-Pruning 1.6.1, reproduce/main.py):
- Pruning takes `removals` choices, each for an equal share of the cost, along a stretch of training. There, up to 400 steps
  of equal shares of the channels, scored and normalised anew each, without any training between them: `removals=400
  between=nothing`. Its recipe with sparse learning divides by the maximum (`normalizer=max`), that without by the mean.
- "taylor" and "hessian" use `batches` batches of the training split, not augmented, in an order of their own, with the model
  in eval mode; they are not held out from training, and their passes are not part of the budget. OBD-C takes 10 there.
- Filters of depthwise convolutions count in scores and are trained sparse; there they do neither (`depthwise=false`).
- The weights kept are the last ones; there, the best on the test split are reported.
- Channels are zeroed where they are chosen (or decay, see `methods.decay`) and removed at the end of the pruning phase.
- `round_to` is not used there.
- The groups come from our own `bench.channels.couplings`: the same as Torch-Pruning's where those are right (a test
  compares them), for more architectures, attention heads included. A group that fails the proof, in which its channels are
  reordered, is not pruned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.channels.groups import Group
from bench.claims import Claim
from bench.config import hp
from bench.method import Budget, Clock, Phase
from bench.recipe import Recipe
from methods import _importance
from methods._importance import IMPORTANCES, NORMALIZERS, depthwise, importance, normalized, shrinkage, without
from methods._leaving import Channels
from methods._structured import Structured, nth_phase

BETWEEN = ("training", "nothing")
SPACE: dict[str, BaseDistribution] = {
    "final": FloatDistribution(0.3, 0.8),
    "importance": CategoricalDistribution(IMPORTANCES),
    "normalizer": CategoricalDistribution(NORMALIZERS),
    "scope": CategoricalDistribution(("global", "uniform")),
    "learn": FloatDistribution(0.1, 0.6),
    "reg": FloatDistribution(1e-5, 1e-2, log=True),
    "sparse": CategoricalDistribution((True, False)),
    "removals": IntDistribution(1, 10),
}

_REPO = "VainF/Torch-Pruning, reproduce/readme.md"
CLAIMS = (
    Claim("cifar_resnet56", "cifar10", 93.53, _REPO, note="dense"),
    Claim("cifar_resnet56", "cifar10", 93.46, _REPO, note="without sparse learning, 2.11x fewer MACs; best on test"),
    Claim("cifar_resnet56", "cifar10", 93.36, _REPO, note="without sparse learning, 2.51x fewer MACs; best on test"),
    Claim(
        "cifar_resnet56",
        "cifar10",
        93.77,
        _REPO,
        note="with sparse learning (max normaliser), 2.13x fewer MACs; best on test",
    ),
    Claim(
        "cifar_resnet56",
        "cifar10",
        93.64,
        _REPO,
        note="with sparse learning (max normaliser), 2.57x fewer MACs; best on test",
    ),
)


@dataclass
class State(Channels):
    """Channels, and the factors of sparse learning, by parameter name and of its shape (``pull``)."""

    pull: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class DepGraph(Structured[State]):
    """Learn, prune groups of channels, fine-tune."""

    importance: str = hp("group_norm", choices=IMPORTANCES, help="what a channel is ranked by")
    normalizer: str = hp("mean", choices=NORMALIZERS, help="what a group's scores are divided by")
    sparse: bool = hp(True, help="learn with group sparsity before pruning; else densely")
    reg: float = hp(5e-4, low=0, high=1, help="strength of sparse learning")
    alpha: float = hp(
        4.0, low=0, high=20, help="sparse learning: how much harder unimportant channels are pulled (2^alpha)"
    )
    learn: float = hp(0.4, low=0, below=1, help="share of the run before pruning")
    prune: float = hp(0.1, low=0, below=1, help="share of the run in which channels are removed")
    removals: int = hp(1, low=1, high=400, help="number of times that channels are chosen, each for an equal share")
    between: str = hp("training", choices=BETWEEN, help="what is between them: training, or nothing, as Torch-Pruning")
    batches: int = hp(16, low=1, high=10_000, help="batches over which taylor and hessian are averaged")
    depthwise: bool = hp(True, help="depthwise filters count in scores and sparse learning; not in Torch-Pruning")

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Finds the groups."""
        return self.channels(State, model, example)

    def phase(self, state: State, index: int, budget: Budget) -> Phase | None:
        """Learn, prune, fine-tune; without a target, train."""
        if self.final == 0:
            return super().phase(state, index, budget)
        learn = min(round(self.learn * budget.steps), budget.steps - 1)
        prune = max(1, min(round(self.prune * budget.steps), budget.steps - learn))
        parts = [("learn", learn), ("prune", prune), ("fine-tune", budget.steps - learn - prune)]
        return nth_phase(parts, index)

    def optimizer(self, state: State, model: nn.Module, recipe: Recipe, phase: Phase) -> Optimizer:
        """The recipe's; sparse learning takes the place of weight decay."""
        made = recipe.make_optimizer(model)
        if self._learns_sparse(phase):
            for group in made.param_groups:
                group["weight_decay"] = 0.0
        return made

    def _learns_sparse(self, phase: Phase) -> bool:
        return self.sparse and self.final > 0 and phase.name == "learn"

    def after_backward(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Add the gradients of sparse learning; then as every structured method."""
        if self._learns_sparse(clock.phase):
            if not state.pull or clock.phase_step % clock.budget.epoch_steps == 0:
                state.pull = self._pull(state, model)
            values = dict(model.named_parameters())
            learning = [name for name in state.pull if values[name].grad is not None]
            grads: list[Tensor] = [cast(Tensor, values[name].grad) for name in learning]
            weights = [values[name].detach() for name in learning]
            torch._foreach_addcmul_(grads, weights, [state.pull[name] for name in learning])
        super().after_backward(state, model, clock)

    @torch.no_grad()
    def _pull(self, state: State, model: nn.Module) -> dict[str, Tensor]:
        """`reg` times the factor of sparse learning, by parameter name: of each entry the sum over its row and its column."""
        values, found = dict(model.named_parameters()), dict[str, Tensor]()
        nothing, skipped = torch.Generator(), self._skipped(model)
        for group in (without(group, skipped) for group in state.groups):
            gamma = self.reg * shrinkage(importance(values, group, "group_norm", nothing), self.alpha)
            for member in group.members:
                if member.name.endswith(".weight") and member.name in values:
                    weight = values[member.name]
                    along = torch.zeros(weight.shape[member.dim], device=weight.device, dtype=weight.dtype)
                    along[member.index.to(weight.device)] = gamma.to(weight)[member.channel.to(weight.device)]
                    place = found.setdefault(member.name, torch.zeros_like(weight))
                    place += along.view([-1 if d == member.dim else 1 for d in range(weight.dim())])
        return found

    def after_step(self, state: State, model: nn.Module, clock: Clock) -> None:
        """In the pruning phase, choose channels at even distances, early enough for a decay to end in the phase."""
        super().after_step(state, model, clock)
        if clock.phase.name == "prune":
            for share in self.choices(clock.phase.steps).get(clock.phase_step, ()):
                self.select_(state, model, clock, share)

    def choices(self, steps: int) -> dict[int, list[float]]:
        """When channels are chosen: the shares of the cost to remove, by the step of the pruning phase (of ``steps``). Where
        channels can be released, others are chosen in their place after each decay."""
        decays, found = self.leave.how == "decay", dict[int, list[float]]()
        needed = self.leave.steps if decays else 1
        room = max(0, steps - needed)
        for j in range(self.removals):
            at = 1 + j * room // self.removals if self.between == "training" else 1
            found.setdefault(at, []).append(self.final * (j + 1) / self.removals)
        if decays and self.leave.rectify:
            for again in range(max(found) + self.leave.steps, room + 1, self.leave.steps):
                found[again] = [self.final]
        return found

    def scores(self, state: State, model: nn.Module, clock: Clock) -> dict[str, Tensor]:
        """Normalised importances; random ones depend on the run's seed and the step alone."""
        skipped = self._skipped(model)
        found = self._importances([without(g, skipped) for g in state.groups], model, clock)
        return {root: normalized(score, self.normalizer, state.given_up(root)) for root, score in found.items()}

    def _skipped(self, model: nn.Module) -> set[str]:
        """The weights that neither count in scores nor are trained sparse."""
        return set() if self.depthwise else depthwise(model)

    def _importances(self, found: list[Group], model: nn.Module, clock: Clock) -> dict[str, Tensor]:
        if self.importance == "taylor":
            return _importance.taylor(model, found, clock.scoring(self.batches))
        if self.importance == "hessian":
            return _importance.hessian(model, found, clock.scoring(self.batches), clock.rng("labels"))
        values = dict(model.named_parameters())
        return {g.root: importance(values, g, self.importance, clock.rng(f"importance {g.root}")) for g in found}

    def end_phase(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Make the model smaller after the pruning phase."""
        if clock.phase.name == "prune":
            self.remove_(state, model, clock)
            state.pull = {}


METHOD = DepGraph

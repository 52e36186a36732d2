"""Adaptive sparsity loss, "Weight Pruning via Adaptive Sparsity Loss" (Retsinas et al. 2020, arXiv:2006.02768; ICIP 2021).

Each layer, of weights W with standard deviation sigma, has one trainable threshold r in units of sigma:

    W <- W - mean(W)                                 in place, at each forward
    theta = clamp(r, 0, 5) * sigma + 1e-6            sigma is unbiased, and a constant to the gradient
    What  = W  where  |W| > theta,  else 0           what the layer computes with
    dL/dW = dL/dWhat                                 of pruned weights too, so that they can return
    dL/dr = -(sigma / theta) * sum over the pruned of W * dL/dWhat;  0 for r outside [0, 5]

The share s(r) = erf(r / sqrt 2) of normal weights is pruned. With s_bar the mean of s over the layers, weighted by their
numbers of weights, the loss gets `strength` * (s_bar - `final`)^2: the budget pulls thresholds up, and the task pulls
them down where it needs the weights. They start at s = `begin` * `final`; their learning rate is `threshold_lr` times
that of the weights, without weight decay. (AdamW moves them by about that rate at each step, whatever the strength, so it
needs a larger `threshold_lr`.)

Thresholds meet the budget in the estimate s, not in counts: at s = 0.9, 95 % of uniformly distributed weights are zero.
Therefore `project`, which is ours, ranks the weights of all layers by |W| / theta and keeps exactly the number that `final`
leaves (those above 1, if s and the loss were exact); the last share `fine_tune` of the run trains them under fixed masks.
Without it the masks are those of the thresholds, and no sparsity is guaranteed. Stats show the estimate, the sparsity of the
thresholds when the masks were fixed (`measured`), and how many mask entries the projection changed (`projected`).

No table of the paper's results could be obtained, so CLAIMS are empty; the method is known from its abstract and code.

Differs from the paper: projection, fine-tuning and `form` "absolute" are ours. With `weighting` "macs" the loss is on
operations, and "uniform" counts each layer once; the projection always counts weights, as this suite does.

Differs from the official code (georgeretsi/SparsityLoss):
- `scope` "layer" is its `--sparsity fixed`, which crashes there (an argument is passed twice). "hinge" and "frozen" are
  in its comments only, with one error each (density for sparsity).
- Weights with |W| <= theta are pruned, as in its code; its README says less than.
- Kept weights are unchanged bit for bit; there they are divided by theta and multiplied again.
- A layer's size is its number of weights; there a depthwise convolution counts as if it had no groups.
- Layers that share a weight share a threshold. A layer whose weight another module reads (as some attentions do) is pruned
  too: `Thresholded.weight` is What. One- and three-dimensional convolutions are pruned as well.
- Its sparsity is that of the wrapped layers, and its count of weights includes the thresholds; here each denominator is
  measured separately. It evaluates on the test split after every epoch; here training never reads that split.
- The recipe's schedule spans each phase; there two cosines span the halves of the run.
- Weights are re-centred until the masks are fixed; there until the end.
The classifier is pruned as in that code, unless `classifier` is False.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from torch import Tensor, nn
from torch.optim import Optimizer

from bench import masks, measure
from bench.claims import Claim
from bench.config import hp
from bench.method import Budget, Clock, Phase
from bench.recipe import Recipe
from methods._masked import Unstructured
from methods._thresholded import Thresholded, sparsity_of, threshold_for, unwrap_, wrap_

FORMS = ("squared", "absolute", "hinge")
WEIGHTINGS = ("parameters", "macs", "uniform")
SCOPES = ("network", "layer", "frozen")

SPACE: dict[str, BaseDistribution] = {
    "strength": FloatDistribution(1.0, 100.0, log=True),
    "threshold_lr": FloatDistribution(1e-3, 1e-1, log=True),
    "begin": FloatDistribution(0.0, 1.0),
    "form": CategoricalDistribution(FORMS),
    "weighting": CategoricalDistribution(WEIGHTINGS),
    "scope": CategoricalDistribution(SCOPES),
    "final": FloatDistribution(0.5, 0.98),
    "fine_tune": FloatDistribution(0.0, 0.5),
}
CLAIMS: tuple[Claim, ...] = ()


def distance(estimate: Tensor, target: float, form: str) -> Tensor:
    """The distance of estimated sparsities from a target, elementwise: squared, absolute, or only below it ("hinge")."""
    if form == "hinge":
        return torch.relu(target - estimate)
    if form == "squared":
        return (estimate - target).square()
    return (estimate - target).abs()


@dataclass
class State(masks.Masked):
    """The wrapped layers, their shares of the estimate, and the stats of the moment when the masks were fixed."""

    layers: list[str] = field(default_factory=list)
    shares: Tensor = field(default_factory=lambda: torch.zeros(0))
    report: dict[str, float] = field(default_factory=dict)

    def wrapped(self, model: nn.Module) -> dict[str, Thresholded]:
        """The wrappers by path; empty once the masks are fixed."""
        layers = [] if self.masks else self.layers
        return {path: cast(Thresholded, model.get_submodule(path)) for path in layers}


@dataclass(frozen=True)
class Adaptive(Unstructured[State]):
    """A trainable threshold per layer, and a loss on the sparsity that the thresholds imply."""

    spared = "lower `minimum`, set classifier=true, first=true or depthwise=true"
    stronger = "raise `strength`"

    final: float = hp(0.8, low=0, below=1, help="wanted sparsity of the pruned layers; 0 leaves the model alone")
    strength: float = hp(10.0, above=0, high=1e6, help="weight of the sparsity loss (lambda)")
    threshold_lr: float = hp(0.01, above=0, high=1e3, help="learning rate of thresholds, as a factor on the recipe's")
    begin: float = hp(0.6, low=0, high=1, help="sparsity that thresholds start at, as a share of `final`")
    form: str = hp("squared", choices=FORMS, help="of the sparsity loss; hinge ignores sparsities above `final`")
    weighting: str = hp("parameters", choices=WEIGHTINGS, help="of layers in the network's estimate")
    scope: str = hp(
        "network", choices=SCOPES, help="loss on the network's mean or on each layer; frozen: no training of r"
    )
    minimum: int = hp(1000, low=2, help="weights that a layer must have to be pruned")
    classifier: bool = hp(True, help="prune the classifier too")
    project: bool = hp(True, help="prune exactly `final` of the weights, not what the thresholds give")
    fine_tune: float = hp(0.2, low=0, below=1, help="share of the run under fixed masks; 0 fixes them at the end")

    @property
    def wanted(self) -> float | None:
        """The sparsity asked for; None where the thresholds decide."""
        return self.final if self.project else None

    def prunable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Layers of at least `minimum` weights. A model that is a single layer has none: it cannot be wrapped in place."""
        weights = super().prunable(model)
        return {name: w for name, w in weights.items() if w.numel() >= self.minimum and "." in name}

    def alters(self) -> str:
        """The thresholds are in force from the start."""
        return "weights are re-centred, and masked by thresholds, before the first step" if self.final else ""

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Wraps the layers, with thresholds at `begin` * `final`; frozen thresholds are at `final`."""
        if not self.final:
            return State({})
        weights = self.weights_to_prune(model)
        shares = self._shares(model, weights, example)
        start = self.final if self.scope == "frozen" else self.begin * self.final
        wrap_(model, weights, threshold_for(start), train=self.scope != "frozen")
        return State({}, [name.removesuffix(".weight") for name in weights], shares)

    def _shares(self, model: nn.Module, weights: Mapping[str, Tensor], example: Tensor) -> Tensor:
        costs = {name: weight.numel() for name, weight in weights.items()}
        if self.weighting == "uniform":
            costs = dict.fromkeys(weights, 1)
        if self.weighting == "macs":
            batch, channels, height, width = example.shape
            costs = measure.macs(model, (batch, channels, height, width))
        shares = next(iter(weights.values())).detach().new_tensor([costs[name] for name in weights])
        return shares / shares.sum()

    def phase(self, state: State, index: int, budget: Budget) -> Phase | None:
        """Training with thresholds, then with fixed masks; one phase of plain training where nothing is wrapped."""
        if not state.layers:
            return super().phase(state, index, budget)
        last = min(budget.steps - 1, math.ceil(self.fine_tune * budget.steps))
        if index == 0:
            return Phase("adaptive", budget.steps - last)
        if index == 1 and last:
            return Phase("fine-tune", last)
        return None

    def optimizer(self, state: State, model: nn.Module, recipe: Recipe, phase: Phase) -> Optimizer:
        """The recipe's optimiser, with the thresholds in their own group."""
        rs = {id(w.r): w.r for w in state.wrapped(model).values() if w.r.requires_grad}
        if not rs:
            return recipe.make_optimizer(model)
        groups = recipe.groups(model)
        for group in groups:
            group["params"] = [p for p in cast(list[nn.Parameter], group["params"]) if id(p) not in rs]
        own = {"params": list(rs.values()), "lr": recipe.lr * self.threshold_lr, "weight_decay": 0.0}
        return recipe.optimizer_for([*groups, own])

    def penalty(self, state: State, model: nn.Module, clock: Clock) -> Tensor | None:
        """The sparsity loss while thresholds are trained: on the network's mean estimate, or the mean over the layers."""
        rs: list[Tensor] = [wrapper.r for wrapper in state.wrapped(model).values()]
        if not rs or self.scope == "frozen":
            return None
        estimates = sparsity_of(torch.stack(rs))
        if self.scope == "network":
            estimates = estimates @ state.shares
        return self.strength * distance(estimates, self.final, self.form).mean()

    @torch.no_grad()
    def end_phase(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Fixes the masks and removes the wrappers after the first phase."""
        wrapped = state.wrapped(model)
        if not wrapped:
            return
        kept = {f"{path}.weight": wrapper.weight != 0 for path, wrapper in wrapped.items()}
        ratios = {f"{path}.weight": wrapper.ratios() for path, wrapper in wrapped.items()}
        chosen = masks.keep_top(ratios, self.final, "global" if self.scope == "network" else "layer")
        state.report = {**self.stats(state, model), "measured": masks.zeros(kept), "projected": 0}
        state.masks = kept
        if self.project:
            state.report["projected"] = sum(int((chosen[name] ^ kept[name]).sum()) for name in kept)
            state.masks = chosen
        unwrap_(model)
        state.mask_weights_(model)

    def rebuild(self, state: State, model: nn.Module) -> None:
        """Removes the wrappers where the run was stopped under fixed masks."""
        if state.masks:
            unwrap_(model)

    def zeros_wanted(self, sizes: Sequence[int]) -> int | None:
        """With the projection the share `final` of the weights, rounded in each layer but for the network's scope."""
        if self.project or not self.final:
            return masks.to_drop(sizes, self.final, by_layer=self.scope != "network")
        return None

    def stats(self, state: State, model: nn.Module) -> Mapping[str, float]:
        """The estimated sparsity, the loss's own weighted estimate where it differs, and the mean threshold. Once the masks
        are fixed: their last values, the sparsity of the thresholds, and the mask entries that the projection changed."""
        wrapped = state.wrapped(model).values()
        if not wrapped:
            return state.report
        rs = torch.stack([w.r.detach() for w in wrapped]).detach()
        sizes = rs.new_tensor([w.layer.get_parameter("weight").numel() for w in wrapped])
        estimates, found = sparsity_of(rs), {"threshold": float(rs.mean())}
        if self.scope == "network" and self.weighting != "parameters":
            found["weighted_estimate"] = float(estimates @ state.shares)
        return {"estimate": float(estimates @ sizes / sizes.sum()), **found}

    def effective(self, state: State, model: nn.Module) -> Mapping[str, Tensor]:
        """The thresholded weights; once the masks are fixed, the parameters."""
        with torch.no_grad():
            thresholded = {f"{path}.layer.weight": w.weight for path, w in state.wrapped(model).items()}
        return thresholded or self.prunable(model)


METHOD = Adaptive

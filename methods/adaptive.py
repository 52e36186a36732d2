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
that of the weights, without decay. (Under AdamW they move by about that rate at each step, whatever the strength, so a
larger `threshold_lr` is needed there.)

Thresholds meet the budget in the estimate s, not in counts: at s = 0.9, 95 % of uniform weights are zero. So with
`project`, which is ours, the weights of all layers are ranked by |W| / theta, exactly as many are kept as `final` leaves
(those above 1, were s and the loss exact), and the last `fine_tune` of the run trains them under fixed masks. Without it
the masks are what the thresholds give, and no sparsity is promised. Stats show the estimate, what the thresholds gave
when the masks were fixed (`measured`), and how many mask entries the projection changed (`projected`).

No table of the paper's results could be obtained, so CLAIMS are empty; the method is known from its abstract and code.

Differs from the paper: projection, fine-tuning and `form` "absolute" are ours. With `weighting` "macs" the loss is on
operations, and "uniform" counts each layer once, but the projection counts weights in any case, as this suite does.

Differs from the official code (georgeretsi/SparsityLoss):
- `scope` "layer" is its `--sparsity fixed`, which crashes there (an argument is passed twice). "hinge" and "frozen" are
  in its comments only, with a slip each (density for sparsity).
- |W| <= theta is pruned, as in its code; its README says less than.
- Survivors are the weights bit for bit; there they are divided by theta and multiplied again.
- A layer's size is its number of weights; there a depthwise convolution counts as if it had no groups.
- Layers that share a weight share a threshold, and a layer whose owner reads its weight (as some attentions do) is
  pruned too: `Thresholded.weight` is What. One- and three-dimensional convolutions are pruned as well.
- Its sparsity is that of the wrapped layers, and its count of weights includes the thresholds; here every denominator is
  measured apart. It looks at the test split after every epoch; here it is not seen in training.
- The recipe's schedule spans each phase; there two cosines span the halves of the run.
- Re-centring ends with the thresholds; there it goes on to the end.
The classifier is pruned as there, unless `classifier` is False.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from bench import masks, measure
from bench.claims import Claim
from bench.config import hp
from bench.errors import BenchError, Ineffective
from bench.method import Budget, Clock, Method, Phase
from bench.recipe import Recipe

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

Number = TypeVar("Number", float, Tensor)


def sparsity_of(r: Number) -> Number:
    """The share of normal weights within ``r`` standard deviations of their mean: erf(r / sqrt 2)."""
    return torch.erf(r / math.sqrt(2)) if isinstance(r, Tensor) else math.erf(r / math.sqrt(2))


def threshold_for(sparsity: Number) -> Number:
    """The inverse of `sparsity_of`: sqrt 2 * erfinv(sparsity). Raises `BenchError` for a float outside [0, 1)."""
    if isinstance(sparsity, Tensor):
        return torch.erfinv(sparsity) * math.sqrt(2)
    if not 0 <= sparsity < 1:
        raise BenchError(f"`0 <= sparsity < 1` must hold, but got sparsity={sparsity!r}; no threshold prunes all")
    return float(torch.erfinv(torch.tensor(sparsity, dtype=torch.float64))) * math.sqrt(2)


def distance(estimate: Tensor, target: float, form: str) -> Tensor:
    """How far estimated sparsities are from a target, elementwise: squared, absolute, or only what is missing."""
    if form == "hinge":
        return torch.relu(target - estimate)
    return (estimate - target).square() if form == "squared" else (estimate - target).abs()


def centre_(weight: Tensor) -> Tensor:
    """Subtract the mean in place, and return the unbiased standard deviation, a scalar.

    On a CPU it is the norm of the rows' norms: torch's own is as accurate, and ten to sixty times as slow.
    """
    with torch.no_grad():
        weight.sub_(weight.mean())
        rows = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.dim())))
        norm: Tensor = torch.linalg.vector_norm(rows)
        return norm / math.sqrt(weight.numel() - 1)


class _HardThreshold(torch.autograd.Function):
    """Weights above ``theta = r * sigma + 1e-6``, with the module's gradients; few and plain passes, as layers are many."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, r: Tensor, sigma: Tensor) -> Tensor:
        theta = theta_of(r, sigma)
        kept = weight.abs().gt_(theta).mul_(weight)  # 0 and 1 as floats: several times as fast as through bools
        if ctx.needs_input_grad[1]:
            ctx.save_for_backward(kept - weight, sigma / theta)
        return kept

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        if not ctx.needs_input_grad[1]:
            return grads[0], None, None
        lost, slope = ctx.saved_tensors
        return grads[0], (grads[0] * lost).sum() * slope, None


def theta_of(r: Tensor, sigma: Tensor) -> Tensor:
    """The threshold in units of the weight, for an r inside its bounds."""
    return (r * sigma).add_(1e-6)


class Thresholded(nn.Module):
    """A convolution or linear layer that computes with its weights above a trainable threshold.

    Args:
        layer: the layer, whose weight and bias stay its own.
        r: the threshold in standard deviations of the weight; a parameter is taken as it is, so that layers can share it.

    ``weight`` is the thresholded weight; whatever else the wrapper does not have is the layer's.
    """

    def __init__(self, layer: nn.Module, r: float | Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.r = r if isinstance(r, nn.Parameter) else nn.Parameter(layer.get_parameter("weight").new_tensor(float(r)))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    @property
    def weight(self) -> Tensor:
        """The weights above the threshold, zero elsewhere; re-centres the layer's weight in place."""
        weight = self.layer.get_parameter("weight")
        return cast(Tensor, _HardThreshold.apply(weight, self.r.clamp(0, 5), centre_(weight)))

    def ratios(self) -> Tensor:
        """Magnitudes in units of the threshold: the weights that stay are those above 1. Re-centres too."""
        weight = self.layer.get_parameter("weight").detach()
        return weight.abs() / theta_of(self.r.detach().clamp(0, 5), centre_(weight))

    def forward(self, x: Tensor) -> Tensor:
        """What the layer computes, with the thresholded weight."""
        return cast(Tensor, functional_call(self.layer, {"weight": self.weight}, (x,), tie_weights=False))


def wrap_(model: nn.Module, names: Iterable[str], r: float, *, train: bool = True) -> None:
    """Replace the layers that hold the named weights by `Thresholded`, in place, with one threshold to a weight."""
    weights = [model.get_parameter(name) for name in names]
    rs = {id(w): nn.Parameter(w.detach().new_tensor(r), requires_grad=train) for w in weights}
    made: dict[int, Thresholded] = {}
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, masks.LAYERS) and id(module.weight) in rs:
            wrapper = made.setdefault(id(module), Thresholded(module, rs[id(module.weight)]))
            model.set_submodule(path, wrapper)


def unwrap_(model: nn.Module) -> None:
    """Put the layers back in the place of their wrappers."""
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, Thresholded):
            model.set_submodule(path, module.layer)


@dataclass
class State(masks.Masked):
    """The wrapped layers and their shares of the estimate; once the masks are fixed, what had been reached then."""

    layers: list[str] = field(default_factory=list)
    shares: Tensor = field(default_factory=lambda: torch.zeros(0))
    report: dict[str, float] = field(default_factory=dict)

    def wrapped(self, model: nn.Module) -> dict[str, Thresholded]:
        """The wrappers by path; none once the masks are fixed."""
        layers = [] if self.masks else self.layers
        return {path: cast(Thresholded, model.get_submodule(path)) for path in layers}


@dataclass(frozen=True)
class Adaptive(Method[State]):
    """A trainable threshold per layer, and a loss on the sparsity that the thresholds promise."""

    target = "final"

    final: float = hp(0.8, low=0, below=1, help="wanted sparsity of the pruned layers; 0 leaves the model alone")
    strength: float = hp(10.0, above=0, high=1e6, help="weight of the sparsity loss (lambda)")
    threshold_lr: float = hp(0.01, above=0, high=1e3, help="learning rate of thresholds, as a factor on the recipe's")
    begin: float = hp(0.6, low=0, high=1, help="sparsity that thresholds start at, as a share of `final`")
    form: str = hp("squared", choices=FORMS, help="of the sparsity loss; hinge does not mind more than `final`")
    weighting: str = hp("parameters", choices=WEIGHTINGS, help="of layers in the network's estimate")
    scope: str = hp(
        "network", choices=SCOPES, help="loss on the network's mean, on each layer, or thresholds not trained"
    )
    minimum: int = hp(1000, low=2, help="weights that a layer must have to be pruned")
    classifier: bool = hp(True, help="prune the classifier too")
    project: bool = hp(True, help="prune exactly `final` of the weights; else what the thresholds give")
    fine_tune: float = hp(0.2, low=0, below=1, help="share of the run under fixed masks; 0 fixes them at the end")

    @property
    def wanted(self) -> float | None:
        """The sparsity asked for; none where the thresholds alone decide."""
        return self.final if self.project else None

    def prunable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Layers of at least `minimum` weights; a model that is nothing but one layer has none."""
        weights = masks.prunable(model, classifier=self.classifier)
        return {name: w for name, w in weights.items() if w.numel() >= self.minimum and "." in name}

    def alters(self) -> str:
        """Thresholds work at once."""
        return "weights are re-centred, and masked by thresholds, before the first step" if self.final else ""

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Wrap the layers, with thresholds at `begin` * `final`; those that stay are at `final` from the start."""
        if not self.final:
            return State({})
        weights = self.prunable(model)
        if not weights:
            raise Ineffective(
                f"adaptive needs a layer of minimum={self.minimum} weights or more to prune, but found none; "
                "lower `minimum`, set classifier=true, or choose another model"
            )
        shares = self._shares(model, weights, example)
        start = self.final if self.scope == "frozen" else self.begin * self.final
        wrap_(model, weights, threshold_for(start), train=self.scope != "frozen")
        return State({}, [name.removesuffix(".weight") for name in weights], shares)

    def _shares(self, model: nn.Module, weights: Mapping[str, Tensor], example: Tensor) -> Tensor:
        costs = {name: 1 if self.weighting == "uniform" else weight.numel() for name, weight in weights.items()}
        if self.weighting == "macs":
            batch, channels, height, width = example.shape
            costs = measure.macs(model, (batch, channels, height, width))
        shares = next(iter(weights.values())).detach().new_tensor([costs[name] for name in weights])
        return shares / shares.sum()

    def phase(self, state: State, index: int, budget: Budget) -> Phase | None:
        """Trainable thresholds, then fixed masks; with nothing wrapped, plain training."""
        if not state.layers:
            return super().phase(state, index, budget)
        last = min(budget.steps - 1, math.ceil(self.fine_tune * budget.steps))
        parts = [("adaptive", budget.steps - last), ("fine-tune", last)]
        return Phase(*parts[index]) if index < 2 and parts[index][1] else None

    def optimizer(self, state: State, model: nn.Module, recipe: Recipe, phase: Phase) -> Optimizer:
        """The recipe's, with the thresholds in a group of their own."""
        rs = {id(w.r): w.r for w in state.wrapped(model).values() if w.r.requires_grad}
        if not rs:
            return recipe.make_optimizer(model)
        groups = recipe.groups(model)
        for group in groups:
            group["params"] = [p for p in cast(list[nn.Parameter], group["params"]) if id(p) not in rs]
        own = {"params": list(rs.values()), "lr": recipe.lr * self.threshold_lr, "weight_decay": 0.0}
        return recipe.optimizer_for([*groups, own])

    def penalty(self, state: State, model: nn.Module, clock: Clock) -> Tensor | None:
        """The sparsity loss, while there are thresholds to train; each layer counts once where each has its own."""
        rs: list[Tensor] = [wrapper.r for wrapper in state.wrapped(model).values()]
        if not rs or self.scope == "frozen":
            return None
        estimates = sparsity_of(torch.stack(rs))
        estimates = estimates @ state.shares if self.scope == "network" else estimates
        return self.strength * distance(estimates, self.final, self.form).mean()

    def after_backward(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Masked weights get no gradient."""
        state.mask_gradients_(model)

    @torch.no_grad()
    def end_phase(self, state: State, model: nn.Module, clock: Clock) -> None:
        """After the first phase: fix the masks and take the wrappers off."""
        wrapped = state.wrapped(model)
        if not wrapped:
            return
        kept = {f"{path}.weight": wrapper.weight != 0 for path, wrapper in wrapped.items()}
        ratios = {f"{path}.weight": wrapper.ratios() for path, wrapper in wrapped.items()}
        chosen = masks.keep_top(ratios, self.final, "global" if self.scope == "network" else "layer")
        state.report = dict(self.stats(state, model)) | {
            "measured": masks.zeros(kept),
            "projected": sum(int((chosen[n] ^ kept[n]).sum()) for n in kept) if self.project else 0,
        }
        state.masks = chosen if self.project else kept
        unwrap_(model)
        state.mask_weights_(model)

    def rebuild(self, state: State, model: nn.Module) -> None:
        """A run stopped under fixed masks goes on without wrappers."""
        if state.masks:
            unwrap_(model)

    def finish(self, state: State, model: nn.Module) -> nn.Module:
        """The model as it is; a missed target, or thresholds that pruned nothing, are errors."""
        sizes, got = [mask.numel() for mask in state.masks.values()], masks.count(state.masks)
        parts = [sum(sizes)] if self.scope == "network" else sizes
        if len(sizes) < len(state.layers) or (self.project and got != sum(round(self.final * n) for n in parts)):
            raise Ineffective(
                f"adaptive must mask final={self.final} of the weights, but masked {got}; it was cut short"
            )
        if not self.project and state.layers and not got:
            raise Ineffective("adaptive must prune something, but its thresholds took no weight; raise `strength`")
        return model

    def stats(self, state: State, model: nn.Module) -> Mapping[str, float]:
        """The estimate over the weights, the loss's own where that is another, and the mean threshold; these stay as they
        were when the masks were fixed, with what the thresholds then pruned and what the projection changed."""
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
        """The weights above their thresholds; once the masks are fixed, the parameters."""
        with torch.no_grad():
            thresholded = {f"{path}.layer.weight": w.weight for path, w in state.wrapped(model).items()}
        return thresholded or self.prunable(model)


METHOD = Adaptive

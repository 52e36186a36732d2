"""DPM, the Decay Pruning Method (Yang et al. 2024, arXiv:2406.03879): a removal policy, inside a host that chooses channels.

Smooth pruning: where the host would zero a channel at once, its length falls to zero in N steps while training goes on.
Let w be all parameters of the channel, and l = |w| when the host chose it. After each optimiser step, n = 1, ..., N,

    w <- (1 - n/N) * l * w / |w|

and at n = N the channel is removed: exactly zero, frozen, without momentum. Channels that decay together share weights (the
row of one channel, the column that another reads): each has exactly the length that its law says, and a shared weight is
scaled by the geometric mean of both factors (`methods._lengths`). The first of the N steps is taken where the host would zero
the channel, so N = 1 is the host, bit for bit. A decaying channel counts as removed in the host's budget. Channels that still
decay when the host makes the model smaller are removed at once: N must fit into the phase, and the curve `cut` counts the
channels for which it did not.

Self-rectifying (`rectify`) is a reconstruction: of its criteria only the names are known. Before each optimiser step, with
the channel's gradient g and rho = -<g, w> / |w| (positive where descent would lengthen w, so that the channel resists),

    C_rate = rho / |g|                the share of the gradient that works against the decay
    C_len  = lr * rho / (l / N)       "gain": the length that a step adds, over the length that a decay step takes
             lr * rho / |w|           "relative": the length that a step adds, over the present length
             |w| / l                  "remaining": the share of the length that is left

and a channel with C_rate > `rate` and C_len > `length` (`rule`: both, or either) `persistence` steps in a row is released:
it is trained on from its present weights, counts in the host's budget again, and cannot be chosen again for `cooldown` steps.
The default thresholds release a few per cent of the channels that decay in ResNet-20 at lr=0.01; C_len grows with lr and N.

`members` are the parameters that decay: all of the channel, its norms, or the norms' scales ("gates"). A convolution before
a batch norm is scale-invariant: shrinking it alone changes no output, and its gradient does not resist; so "all" includes
the norms and the weights with which the following layers read the channel. `law`: linear as above, cosine, or
multiplicative, which scales by (N - n) / (N - n + 1) and keeps what training adds (as does HESSO, OTO's later optimiser;
arXiv:2409.09085).

This method runs a host at its defaults with this removal policy. Every host takes the policy as its field `leave`: with
`bench run depgraph leave.how=decay leave.steps=50` the host's own fields can be set too.

Differs from the paper:
- The linear law was read from an independent implementation and the authors' figure; the paper's formula was not seen.
- The criteria's formulas, all defaults, the cool-down and the effect of a release on the budget are ours.
- What a weight does that two decaying channels share is ours: the paper gives each channel's length alone.
- A host takes its own step first and the decay follows: OTOv2 would take a decay for the optimiser's step.
- Where a phase of the host ends before a decay does, the channels that still decay are removed at once, so that the budget
  is met.
Differs from the official code: none was published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn
from torch.optim import Optimizer

from bench import registry
from bench.channels.costs import BUDGETS
from bench.claims import Claim
from bench.config import hp
from bench.method import Budget, Clock, Method, Phase
from bench.recipe import Recipe
from methods._decay_law import LAWS, VARIANTS, decayed_norm, resistance
from methods._leaving import MEMBERS, RECONSTRUCTION, Leave
from methods._structured import FALLBACKS, Structured

__all__ = ["CLAIMS", "METHOD", "SPACE", "Decay", "decayed_norm", "resistance"]

HOSTS = ("depgraph", "otov2", "gate_decorator")
SPACE: dict[str, BaseDistribution] = {
    "final": FloatDistribution(0.3, 0.8),
    "steps": IntDistribution(1, 500, log=True),
    "law": CategoricalDistribution(LAWS),
    "members": CategoricalDistribution(MEMBERS),
    "rectify": CategoricalDistribution((True, False)),
    "rate": FloatDistribution(0.0, 0.9),
    "length": FloatDistribution(1e-4, 10.0, log=True),
    "variant": CategoricalDistribution(VARIANTS),
    "persistence": IntDistribution(1, 10),
}

_REPO = "Miocio-nora/Decay_Pruning_Method, README"
CLAIMS = (
    Claim("cifar_vgg16_bn", "cifar10", 93.4, _REPO, note="OTOv2 alone: 26.5 % of the MACs, 4.8 % of the parameters"),
    Claim("cifar_vgg16_bn", "cifar10", 93.6, _REPO, note="OTOv2 with smooth pruning: 26.4 % and 4.8 %"),
    Claim("cifar_vgg16_bn", "cifar10", 93.8, _REPO, note="OTOv2, self-rectifying too: 25.8 % and 4.8 %"),
    Claim(
        "cifar_resnet56", "cifar10", 93.84, _REPO, note="DepGraph alone: 46.86 % of the MACs, 52.9 % of the parameters"
    ),
    Claim("cifar_resnet56", "cifar10", 93.96, _REPO, note="DepGraph with smooth pruning: 46.32 % and 49.69 %"),
    Claim("cifar_resnet56", "cifar10", 94.13, _REPO, note="DepGraph, self-rectifying too: 45.80 % and 47.22 %"),
    Claim("cifar_resnet56", "cifar10", 93.32, _REPO, note="DepGraph without sparse learning alone: 47.2 % and 69.7 %"),
    Claim("cifar_resnet56", "cifar10", 93.62, _REPO, note="the same with smooth pruning: 46.7 % and 68.1 %"),
    Claim("cifar_resnet56", "cifar10", 93.71, _REPO, note="the same, self-rectifying too: 47.1 % and 65.7 %"),
    Claim(
        "cifar_vgg16_bn",
        "cifar10",
        91.50,
        _REPO,
        note="Gate Decorator alone: 9.86 % of the MACs, 1.98 % of the parameters",
    ),
    Claim("cifar_vgg16_bn", "cifar10", 91.58, _REPO, note="Gate Decorator with smooth pruning: 9.88 % and 1.97 %"),
    Claim("cifar_vgg16_bn", "cifar10", 91.74, _REPO, note="Gate Decorator, self-rectifying too: 9.79 % and 1.95 %"),
)


@dataclass(frozen=True)
class Decay(Method[Any]):
    """A host that removes channels by a decay. Every hook is the host's."""

    target = "final"
    tolerance = 0.02
    reconstruction = RECONSTRUCTION

    host: str = hp("depgraph", choices=HOSTS, help="the method that chooses the channels, at its defaults")
    final: float = hp(0.5, low=0, below=1, help="share to remove, met within 1 %")
    budget: str = hp("macs", choices=BUDGETS, help="what `final` counts")
    steps: int = hp(10, low=1, high=1_000_000, help="N, the steps of a decay; 1 is the host")
    law: str = hp("linear", choices=LAWS, help="how the length of a channel falls")
    members: str = hp(
        "all", choices=MEMBERS, help="what decays: all of the channel, its norms, or their scales (gates)"
    )
    rectify: bool = hp(True, help="release channels that resist")
    rate: float = hp(0.2, low=-1, high=2, help="T_rate: C_rate above which a channel resists; more than 1: never")
    length: float = hp(0.001, low=-1e6, high=1e6, help="T_len: C_len above which a channel resists")
    variant: str = hp("gain", choices=VARIANTS, help="what C_len measures")
    rule: str = hp("both", choices=("both", "either"), help="which of the two criteria must hold")
    persistence: int = hp(3, low=1, high=1_000_000, help="steps in a row for which they must hold")
    cooldown: int = hp(500, low=0, high=1_000_000, help="steps before a released channel can be chosen again")
    fallback: str = hp("refuse", choices=FALLBACKS, help="with too few removable channels: refuse, or mask channels")

    def identity(self) -> dict[str, Any]:
        """The name with the fields that differ from their defaults, and how the host rounds since that is by width."""
        return {**super().identity(), **({"round_to": self.inner.round_to} if self.final > 0 else {})}

    @property
    def reconstructed(self) -> str:
        """What is ours: the criteria of self-rectifying, where channels can be released; else ""."""
        return self.inner.reconstructed

    @property
    def inner(self) -> Structured[Any]:
        """The host, with this removal policy."""
        return _host(self)

    def prunable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The host's."""
        return self.inner.prunable(model)

    def attach(self, model: nn.Module, example: Tensor) -> Any:
        """The host's."""
        return self.inner.attach(model, example)

    def phase(self, state: Any, index: int, budget: Budget) -> Phase | None:
        """The host's."""
        return self.inner.phase(state, index, budget)

    def optimizer(self, state: Any, model: nn.Module, recipe: Recipe, phase: Phase) -> Optimizer:
        """The host's."""
        return self.inner.optimizer(state, model, recipe, phase)

    def penalty(self, state: Any, model: nn.Module, clock: Clock) -> Tensor | None:
        """The host's."""
        return self.inner.penalty(state, model, clock)

    def after_backward(self, state: Any, model: nn.Module, clock: Clock) -> None:
        """The host's, which releases decaying channels that resist."""
        self.inner.after_backward(state, model, clock)

    def after_step(self, state: Any, model: nn.Module, clock: Clock) -> None:
        """The host's, which takes a decay step."""
        self.inner.after_step(state, model, clock)

    def end_phase(self, state: Any, model: nn.Module, clock: Clock) -> None:
        """The host's."""
        self.inner.end_phase(state, model, clock)

    def rebuild(self, state: Any, model: nn.Module) -> None:
        """The host's."""
        self.inner.rebuild(state, model)

    def finish(self, state: Any, model: nn.Module) -> nn.Module:
        """The host's."""
        return self.inner.finish(state, model)

    def label(self, state: Any) -> str:
        """The host's."""
        return self.inner.label(state)

    def kept(self, state: Any) -> Mapping[str, Any]:
        """The host's."""
        return self.inner.kept(state)

    def attained(self, metrics: Mapping[str, float]) -> float | None:
        """The host's."""
        return self.inner.attained(metrics)

    def masks(self, state: Any) -> Mapping[str, Tensor]:
        """The host's."""
        return self.inner.masks(state)

    def stats(self, state: Any, model: nn.Module) -> Mapping[str, float]:
        """The host's."""
        return self.inner.stats(state, model)


@cache
def _host(method: Decay) -> Structured[Any]:
    own = {f.name: getattr(method, f.name) for f in fields(Leave) if f.name != "how"}
    cls: type[Structured[Any]] = registry.load(registry.METHODS, method.host).METHOD
    return cls.from_dict(
        {
            "final": method.final,
            "budget": method.budget,
            "leave": Leave(how="decay", **own),
            "fallback": method.fallback,
        }
    )


METHOD = Decay

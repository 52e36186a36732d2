"""Small-dense: a smaller model with as many weights, trained from scratch (Zhu & Gupta 2017, arXiv:1710.01878, table 2).

The control of that paper: instead of pruning a large model to n weights, train a dense model of n weights, a narrower one
where its family has a width (there MobileNetV1 at widths 0.25, 0.5 and 0.75). Let the dense model have N convolution and
linear weights in all, P of which are prunable (those without the classifier's). For comparison with a model that is pruned by
the share `final`, it is replaced by the sibling whose number of weights is nearest to

    n = N - round(final * P)

by the ratio |log(weights / n)|. `bench.models.smaller` finds it: for our families and timm's EfficientNets, MobileNets,
ResNets, ConvNeXts and vision transformers a `width` in thousandths, for others an architecture whose name differs in its
sizes only. A run's record says which architecture was built ("architecture"); its "weights_left" and "macs/fraction" are
relative to the dense model that the run names, "wanted/weights_left" is n / N, and its sparsities are 0.

Differs from the paper:
- The width is searched for, so that the smaller model has as many weights as a pruned one; there it is one of three.
- The width scales the channels that timm scales; heads that timm keeps (1280 features of MobileNetV2 and V3) stay as wide.
- The smaller model gets the run's own steps and recipe, as every method here.
Differs from the official code: that code prunes, and has no smaller models.
"""

from __future__ import annotations

from dataclasses import dataclass

from optuna.distributions import BaseDistribution, FloatDistribution
from torch import Tensor, nn

from bench import layers, masks, models
from bench.claims import Claim
from bench.config import hp
from bench.errors import Ineffective
from bench.method import Method

SPACE: dict[str, BaseDistribution] = {"final": FloatDistribution(0.5, 0.98)}

_T2 = "arXiv:1710.01878, table 2"
_NOTE = "width {}, {} M weights; sparsity is the share of all weights that it does without"
CLAIMS = (
    Claim("mobilenetv1_100", "imagenet", 70.6, _T2, sparsity=0.0, note="dense, width 1, 4.21 M weights"),
    Claim("mobilenetv1_100", "imagenet", 68.4, _T2, sparsity=0.390, note=_NOTE.format(0.75, 2.57)),
    Claim("mobilenetv1_100", "imagenet", 63.7, _T2, sparsity=0.686, note=_NOTE.format(0.5, 1.32)),
    Claim("mobilenetv1_100", "imagenet", 50.6, _T2, sparsity=0.891, note=_NOTE.format(0.25, 0.46)),
)


def weights_wanted(model: nn.Module, final: float) -> int:
    """n: how many convolution and linear weights a model keeps when the share ``final`` of the prunable ones is removed."""
    everything = sum(weight.numel() for weight in layers.weights(model).values())
    prunable = sum(weight.numel() for weight in masks.prunable(model).values())
    if not prunable:
        raise Ineffective("small_dense needs a layer to make smaller, but found none; choose another model")
    return everything - round(final * prunable)


@dataclass
class State:
    """Empty: only the weights change."""


@dataclass(frozen=True)
class SmallDense(Method[State]):
    """Dense training of a smaller model."""

    target = "final"

    final: float = hp(0.8, low=0, below=1, help="share of the dense model's prunable weights to do without")
    factor: float = hp(2.0, low=1, high=100, help="largest ratio between the smaller model's number of weights and n")

    @property
    def wanted(self) -> float | None:
        """None: nothing is masked. The weights left are compared with the dense model's."""
        return None

    def architecture(self, model: str, *, classes: int, channels: int, image_size: int) -> str:
        """The sibling with the nearest number of weights; the model itself where `final` is 0."""
        if self.final == 0:
            return model
        shape = {"classes": classes, "channels": channels, "image_size": image_size}
        wanted = max(1, weights_wanted(models.empty(model, **shape), self.final))
        found = models.smaller(model, wanted, **shape)
        if max(found.weights, wanted) > self.factor * min(found.weights, wanted):
            raise Ineffective(
                f"the smaller model must have the weights wanted within a factor of {self.factor:g}, but final={self.final:g} "
                f"of {model} leaves {wanted:,} and the nearest, {found.model}, has {found.weights:,}; lower `final`, raise "
                "`factor`, or choose another model"
            )
        return found.model

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Leaves the model as it is: it was built smaller. Raises `Ineffective` where it has no prunable weight."""
        weights_wanted(model, 0.0)
        return State()


METHOD = SmallDense

"""The base of the unstructured methods: they mask single weights, and meet an exact number of zeros or fail.

A method chooses its masks; the base finds the weights, stops the gradients of masked weights, and checks the number of
zeros of the finished model. The state of such a method is `bench.masks.Masked` or derived from it. Layers that transform their
weight before they use it are never masked (`bench.layers`).
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, TypeVar

from torch import Tensor, nn

from bench import layers, masks
from bench.config import hp
from bench.errors import Ineffective
from bench.method import Clock, Method

State = TypeVar("State", bound=masks.Masked)


@dataclass(frozen=True)
class Unstructured(Method[State], abc.ABC):
    """A method whose field ``final`` is the share of the prunable weights that are masked at the end.

    The fields say which layers are chosen; a method declares them again where its paper chooses others. ``spared`` names the
    settings that add weights to the prunable ones; ``stronger`` those that make the method prune more, for a method that
    chooses the number of zeros itself.
    """

    target = "final"
    spared: ClassVar[str] = "set classifier=true, first=true or depthwise=true"
    stronger: ClassVar[str] = ""

    _: KW_ONLY
    classifier: bool = hp(False, help="prune the classifier too")
    first: bool = hp(True, help="prune the first convolution too")
    depthwise: bool = hp(True, help="prune depthwise convolutions too")

    def prunable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Convolutions and linear layers that a mask reaches, as `classifier`, `first` and `depthwise` choose them."""
        return masks.prunable(model, classifier=self.classifier, first=self.first, depthwise=self.depthwise)

    def choose(
        self, model: nn.Module, scores: dict[str, Tensor], sparsity: float, allocation: str
    ) -> dict[str, Tensor]:
        """Masks by `bench.masks.choose`, which is told the model's first convolution and its classifier."""
        first, last = layers.first_convolution(model), layers.classifier_weights(model)
        return masks.choose(scores, sparsity, allocation, first=first, last=last)

    def weights_to_prune(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The prunable weights by name. Raises `Ineffective` where the model has none."""
        found = self.prunable(model)
        if not found:
            raise Ineffective(
                f"{self.name} needs a layer to prune, but found none besides what is spared; "
                f"{self.spared}, or choose another model"
            )
        return found

    def after_backward(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Zeros the gradients of masked weights."""
        state.mask_gradients_(model)

    @abc.abstractmethod
    def zeros_wanted(self, sizes: Sequence[int]) -> int | None:
        """How many weights the finished model must have masked, of prunable layers of ``sizes`` weights; None where the
        method itself decides, which must then be one at least."""

    def finish(self, state: State, model: nn.Module) -> nn.Module:
        """The model as it is: its masked weights are zeros. Raises `Ineffective` where the number of zeros is wrong."""
        sizes = [weight.numel() for weight in self.prunable(model).values()]
        wanted, got = self.zeros_wanted(sizes), masks.count(state.masks)
        if wanted is None and got == 0:
            raise Ineffective(f"{self.name} must mask a weight, but masked none of {sum(sizes)}; {self.stronger}")
        if wanted is not None and got != wanted:
            raise Ineffective(
                f"{self.name} must mask {wanted} of {sum(sizes)} weights, but masked {got}; the run was cut short or diverged"
            )
        return model

"""The base of our families: timm's interface to a classifier, and registration in timm's registry."""

from __future__ import annotations

import abc
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, is_model_in_modules, register_model
from torch import Tensor, nn

default_cfgs: dict[str, Any] = {}  # `register_model` looks for this name in the module of the function it is given


def scaled(channels: int, width: float) -> int:
    """The number of channels times a width, rounded to the nearest integer (halves to the even one), at least 1."""
    return max(1, round(channels * width))


class Classifier(nn.Module, abc.ABC):
    """A network whose last layer is linear, named ``linear``, over ``num_features`` pooled features."""

    linear: nn.Module

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.num_classes = 0

    @staticmethod
    def initialise(module: nn.Module) -> None:
        """Draws the weights of one layer: convolutions from N(0, 2 / fan out), linear layers as PyTorch does, biases 0.

        As in wide residual networks (Zagoruyko & Komodakis 2016) and in the SAP code (Diao et al. 2023).
        """
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def complete(self, num_classes: int) -> None:
        """Initialises the layers and adds the classifier; each constructor calls it last."""
        self.apply(self.initialise)
        self.reset_classifier(num_classes)

    @abc.abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to pooled features (N, num_features)."""

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.linear(self.embed(x))
        return logits

    def get_classifier(self) -> nn.Module:
        """The last layer, as in timm."""
        return self.linear

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replaces the last layer for another number of classes, as in timm; 0 removes it."""
        weight = next(self.parameters())
        self.num_classes = num_classes
        self.linear = nn.Identity()
        if num_classes:
            self.linear = nn.Linear(self.num_features, num_classes)
        self.linear.apply(self.initialise).to(weight.device, weight.dtype)


def register(
    name: str,
    cls: type[Classifier],
    *,
    input_size: tuple[int, int, int] = (3, 32, 32),
    fixed: bool = False,
    first_conv: str | None = None,
    **arguments: Any,
) -> None:
    """Enters an architecture into timm's registry, once.

    Args:
        name: the architecture's name.
        cls: its class.
        input_size: channels, height and width.
        fixed: whether the shapes of its weights depend on the input size.
        first_conv: the name of its first layer.
        arguments: arguments of the class.
    """
    if is_model_in_modules(name, __name__.rpartition(".")[2]):
        return  # timm would warn where the module is imported again
    cfg = {
        "input_size": input_size,
        "fixed_input_size": fixed,
        "num_classes": 10,
        "first_conv": first_conv,
        "classifier": "linear",
        "crop_pct": 1.0,
    }

    def build(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        model: nn.Module = build_model_with_cfg(cls, name, pretrained, **arguments, **kwargs)
        return model

    build.__name__ = build.__qualname__ = name
    default_cfgs.update(generate_default_cfgs({name: cfg}))
    register_model(build)

"""LeNet-300-100 (LeCun et al. 1998) and Caffe's LeNet-5, the two networks of Han et al. (2015, arXiv:1506.02626).

Weights are drawn from Glorot's uniform distribution, biases are 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bench.models.family import Classifier, register, scaled


def glorot(module: nn.Module) -> None:
    """Draws uniform weights of variance 2 / (fan in + fan out); biases are 0."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width; one number means both, as in timm's ``img_size``."""
    return (size, size) if isinstance(size, int) else size


class LeNet300(Classifier):
    """Two hidden layers of 300 and 100 units: 266,200 weights and 410 biases on 28 x 28 grey pixels.

    ``width`` scales both.
    """

    initialise = staticmethod(glorot)

    def __init__(
        self, num_classes: int = 10, in_chans: int = 1, img_size: int | tuple[int, int] = 28, width: float = 1.0
    ) -> None:
        first, second = scaled(300, width), scaled(100, width)
        super().__init__(second)
        self.fc1 = nn.Linear(in_chans * math.prod(pair(img_size)), first)
        self.fc2 = nn.Linear(first, second)
        self.complete(num_classes)

    def embed(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to features (N, num_features)."""
        return torch.relu(self.fc2(torch.relu(self.fc1(x.flatten(1)))))


class LeNet5(Classifier):
    """20 and 50 5x5 filters, 500 units: 430,500 weights and 580 biases on 28 x 28 grey pixels.

    As in Caffe's `lenet.prototxt`, a max-pooling by two follows each convolution, without a ReLU. ``width`` scales filters and
    units.
    """

    initialise = staticmethod(glorot)

    def __init__(
        self, num_classes: int = 10, in_chans: int = 1, img_size: int | tuple[int, int] = 28, width: float = 1.0
    ) -> None:
        first, second, units = (scaled(channels, width) for channels in (20, 50, 500))
        super().__init__(units)
        sides = [((side - 4) // 2 - 4) // 2 for side in pair(img_size)]
        if min(sides) < 1:
            raise ValueError(f"LeNet-5 needs at least 16 x 16 pixels, but got {img_size=}")
        self.conv1 = nn.Conv2d(in_chans, first, 5)
        self.conv2 = nn.Conv2d(first, second, 5)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(second * math.prod(sides), units)
        self.complete(num_classes)

    def embed(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to features (N, num_features)."""
        y: Tensor = self.pool(self.conv2(self.pool(self.conv1(x))))
        return torch.relu(self.fc1(y.flatten(1)))


register("lenet_300_100", LeNet300, input_size=(1, 28, 28), fixed=True, first_conv="fc1")
register("lenet5", LeNet5, input_size=(1, 28, 28), fixed=True, first_conv="conv1")

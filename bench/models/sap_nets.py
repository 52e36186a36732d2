"""The plain CNN and MLP of the code of "Pruning Deep Neural Networks from a Sparsity Perspective" (Diao et al. 2023).

As in that code, the convolutions have biases, and an average over all pixels replaces the fourth max-pooling.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from bench.models.family import Classifier, register, scaled
from bench.models.lenet import pair

CHANNELS = (64, 128, 256, 512)


class SapCNN(Classifier):
    """Four conv3-BN-ReLU with 64, 128, 256 and 512 channels, and max-pooling between them; inputs of 8 pixels or more.

    ``width`` scales all channels.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 3, width: float = 1.0) -> None:
        super().__init__(scaled(CHANNELS[-1], width))
        layers: list[nn.Module] = []
        for channels in (scaled(c, width) for c in CHANNELS):
            conv = nn.Conv2d(in_chans, channels, 3, 1, 1)
            layers += [conv, nn.BatchNorm2d(channels), nn.ReLU(True), nn.MaxPool2d(2)]
            in_chans = channels
        self.blocks = nn.Sequential(*layers[:-1])
        self.complete(num_classes)

    def embed(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to pooled features (N, num_features)."""
        y: Tensor = self.blocks(x)
        return y.mean((2, 3))


class SapMLP(Classifier):
    """Hidden layers of 128 and 256 units with ReLU; ``width`` scales both."""

    def __init__(
        self, num_classes: int = 10, in_chans: int = 3, img_size: int | tuple[int, int] = 32, width: float = 1.0
    ) -> None:
        one, two = scaled(128, width), scaled(256, width)
        super().__init__(two)
        inputs = in_chans * math.prod(pair(img_size))
        self.blocks = nn.Sequential(nn.Flatten(), nn.Linear(inputs, one), nn.ReLU(), nn.Linear(one, two), nn.ReLU())
        self.complete(num_classes)

    def embed(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to features (N, num_features)."""
        features: Tensor = self.blocks(x)
        return features


register("sap_cnn", SapCNN, first_conv="blocks.0")
register("sap_mlp", SapMLP, fixed=True, first_conv="blocks.1")

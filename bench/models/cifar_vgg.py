"""VGG-16 and VGG-19 with batch norm for CIFAR: configurations D and E of Simonyan & Zisserman (2015, arXiv:1409.1556).

One linear layer, from 512 features to the classes, replaces the three of the ImageNet model, as in the pruning papers (Li et
al. 2017, arXiv:1608.08710; Liu et al. 2017, arXiv:1708.06519). Convolutions have no bias, since a batch norm follows each.
"""

from __future__ import annotations

from torch import Tensor, nn

from bench.models.family import Classifier, register, scaled

STAGES = ((64, 2, 2), (128, 2, 2), (256, 3, 4), (512, 3, 4), (512, 3, 4))
"""Each stage's channels, and its numbers of convolutions in VGG-16 and VGG-19; a stage ends with a max-pooling by two."""


class CifarVGG(Classifier):
    """VGG of ``depth`` 16 or 19, for inputs of 32 pixels or more. ``width`` scales all channels."""

    def __init__(self, depth: int, num_classes: int = 10, in_chans: int = 3, width: float = 1.0) -> None:
        super().__init__(scaled(STAGES[-1][0], width))
        layers: list[nn.Module] = []
        for full, sixteen, nineteen in STAGES:
            channels = scaled(full, width)
            for _ in range({16: sixteen, 19: nineteen}[depth]):
                layers += [nn.Conv2d(in_chans, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(True)]
                in_chans = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.complete(num_classes)

    def embed(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to pooled features (N, num_features)."""
        y: Tensor = self.features(x)
        return y.mean((2, 3))


for _depth in (16, 19):
    register(f"cifar_vgg{_depth}_bn", CifarVGG, first_conv="features.0", depth=_depth)

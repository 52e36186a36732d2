"""ResNet-20/32/44/56/110 for CIFAR (He, Zhang, Ren & Sun, 2016, arXiv:1512.03385, section 4.2).

``cifar_resnet20`` has the paper's shortcut A, without weights; ``cifar_resnet20b`` has shortcut B, a 1x1 projection.
Between stages, shortcut A couples channels by a padding that a dependency graph does not see: use B for structured methods.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.family import Classifier, register, scaled


class PadShortcut(nn.Module):
    """Shortcut A: takes every ``stride``-th pixel and pads with channels of zeros, half before and half after."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride))."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def _shortcut(inputs: int, outputs: int, stride: int, projection: bool) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if not projection:
        return PadShortcut(inputs, outputs, stride)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """conv3-BN-ReLU-conv3-BN, added to the shortcut, then ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, projection: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride, projection)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y: Tensor = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y)) + self.shortcut(x)
        out: Tensor = self.relu(y)
        return out


class CifarResNet(Classifier):
    """A stem and three stages of ``blocks`` basic blocks each, 6 * blocks + 2 layers in all.

    ``width`` scales the 16, 32 and 64 channels of the stages, each rounded separately; ``projection`` chooses shortcut B.
    """

    def __init__(
        self, blocks: int, projection: bool, num_classes: int = 10, in_chans: int = 3, width: float = 1.0
    ) -> None:
        first, second, third = (scaled(channels, width) for channels in (16, 32, 64))
        super().__init__(third)
        self.conv1 = nn.Conv2d(in_chans, first, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(blocks, first, first, 1, projection)
        self.layer2 = _stage(blocks, first, second, 2, projection)
        self.layer3 = _stage(blocks, second, third, 2, projection)
        self.complete(num_classes)

    @staticmethod
    def initialise(module: nn.Module) -> None:
        """Weights from N(0, 2 / fan in), biases 0 (He et al. 2015, arXiv:1502.01852, which the paper follows)."""
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def embed(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to pooled features (N, num_features)."""
        y: Tensor = self.relu(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        return y.mean((2, 3))


def _stage(blocks: int, inputs: int, outputs: int, stride: int, projection: bool) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride, projection)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1, projection) for _ in range(blocks - 1)))


for _blocks in (3, 5, 7, 9, 18):
    for _suffix in ("", "b"):
        _name = f"cifar_resnet{6 * _blocks + 2}{_suffix}"
        register(_name, CifarResNet, first_conv="conv1", blocks=_blocks, projection=_suffix == "b")

"""Wide residual networks for CIFAR (Zagoruyko & Komodakis, 2016, arXiv:1605.07146), without dropout."""

from __future__ import annotations

from torch import Tensor, nn

from bench.models.family import Classifier, register, scaled


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv3-BN-ReLU-conv3; where the shape changes, the shortcut is a 1x1 convolution after the first ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y: Tensor = self.relu(self.bn1(x))
        kept = x
        if self.shortcut is not None:
            kept = self.shortcut(y)
        y = self.conv2(self.relu(self.bn2(self.conv1(y))))
        return y + kept


class CifarWRN(Classifier):
    """WRN-``depth``-``widen``: three groups of (depth - 4) / 6 blocks with 16, 32 and 64 times ``widen`` channels.

    ``width`` scales all channels, those of the first convolution too, which ``widen`` leaves at 16.
    """

    def __init__(self, depth: int, widen: int, num_classes: int = 10, in_chans: int = 3, width: float = 1.0) -> None:
        stem, first, second, third = (scaled(c, width) for c in (16, 16 * widen, 32 * widen, 64 * widen))
        super().__init__(third)
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(in_chans, stem, 3, 1, 1, bias=False)
        self.layer1 = _group(blocks, stem, first, 1)
        self.layer2 = _group(blocks, first, second, 2)
        self.layer3 = _group(blocks, second, third, 2)
        self.bn = nn.BatchNorm2d(third)
        self.relu = nn.ReLU(inplace=True)
        self.complete(num_classes)

    def embed(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to pooled features (N, num_features)."""
        y: Tensor = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        y = self.relu(self.bn(y))
        return y.mean((2, 3))


def _group(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    first = PreActivationBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(PreActivationBlock(outputs, outputs, 1) for _ in range(blocks - 1)))


for _depth in (16, 28):
    register(f"cifar_wrn{_depth}_8", CifarWRN, first_conv="conv1", depth=_depth, widen=8)

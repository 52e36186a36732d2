"""Numbers from papers that figures and tables show separately from ours, as data; they enter no statistic."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """A model of a paper: its series, its name, and its top-1 (per cent) and size as printed; None: not printed."""

    series: str
    name: str
    top1: float
    nonzero: float | None
    bytes: float | None


SPARSE, SMALL, DENSE = "large sparse", "small dense", "dense"
ZHU_GUPTA = "Zhu and Gupta 2017 (arXiv:1710.01878), tables 2 and 6: MobileNetV1 on ImageNet"
# Table 6 counts 4 bytes for each non-zero parameter and the smaller of a bit mask and 4-bit indices, in MB of 10^6 bytes; it
# has no row for the dense model of full width.
MOBILENET = (
    Point(SMALL, "width 0.25", 50.6, 0.46e6, 1.84e6),
    Point(SMALL, "width 0.5", 63.7, 1.32e6, 5.28e6),
    Point(SMALL, "width 0.75", 68.4, 2.57e6, 10.28e6),
    Point(DENSE, "width 1.0", 70.6, 4.21e6, None),
    Point(SPARSE, "50 % sparse", 69.5, 2.13e6, 9.04e6),
    Point(SPARSE, "75 % sparse", 67.7, 1.09e6, 4.88e6),
    Point(SPARSE, "90 % sparse", 61.8, 0.46e6, 2.07e6),
    Point(SPARSE, "95 % sparse", 53.6, 0.25e6, 1.13e6),
)


@dataclass(frozen=True)
class Left:
    """A pruned model of a paper: its host, the policy by which channels were removed, top-1 (per cent), and the shares (0 to 1)
    of MACs and parameters left."""

    host: str
    policy: str
    model: str
    top1: float
    macs: float
    parameters: float


ALONE, SMOOTH, RECTIFIED = "alone", "+SP", "+SR"
POLICIES = (ALONE, SMOOTH, RECTIFIED)
DPM = "Yang et al. 2024 (arXiv:2406.03879), as printed in the authors' README; CIFAR-10"
RESNET56, VGG16 = "cifar_resnet56", "cifar_vgg16_bn"
DECAY = (
    Left("depgraph", ALONE, RESNET56, 93.84, 0.4686, 0.529),
    Left("depgraph", SMOOTH, RESNET56, 93.96, 0.4632, 0.4969),
    Left("depgraph", RECTIFIED, RESNET56, 94.13, 0.4580, 0.4722),
    Left("depgraph no SL", ALONE, RESNET56, 93.32, 0.472, 0.697),
    Left("depgraph no SL", SMOOTH, RESNET56, 93.62, 0.467, 0.681),
    Left("depgraph no SL", RECTIFIED, RESNET56, 93.71, 0.471, 0.657),
    Left("otov2", ALONE, VGG16, 93.4, 0.265, 0.048),
    Left("otov2", SMOOTH, VGG16, 93.6, 0.264, 0.048),
    Left("otov2", RECTIFIED, VGG16, 93.8, 0.258, 0.048),
    Left("gate_decorator", ALONE, VGG16, 91.50, 0.0986, 0.0198),
    Left("gate_decorator", SMOOTH, VGG16, 91.58, 0.0988, 0.0197),
    Left("gate_decorator", RECTIFIED, VGG16, 91.74, 0.0979, 0.0195),
)

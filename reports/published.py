"""Numbers that papers report and that a figure draws beside ours, as data; never part of any statistic."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """A model of a paper: what was done to it, and its size and top-1 (per cent) as printed; None: not printed."""

    road: str
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

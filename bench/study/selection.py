"""How configurations are chosen for the finals: pure functions of numbers from the validation split."""

from __future__ import annotations

import math
from collections.abc import Sequence

KEPT = 0.5
"""The share of the best accuracy above chance that a configuration must keep to be chosen."""

Point = tuple[float, float]
"""Validation top-1 in per cent, and the share of the weights or MACs that is left."""


def front(points: Sequence[Point]) -> list[int]:
    """Returns the indices of the points that no other beats in both accuracy and size, from the smallest model up."""
    order = sorted(range(len(points)), key=lambda i: (points[i][1], -points[i][0], i))
    found, best = list[int](), -math.inf
    for i in order:
        if points[i][0] > best:
            found.append(i)
            best = points[i][0]
    return found


def spread(points: Sequence[Point], count: int, chance: float) -> list[int]:
    """Returns the indices of at most ``count`` points of the front that together dominate the largest area.

    This is the greedy choice of a subset by its hypervolume. The area is one of accuracy above ``chance`` (per cent) and
    log10 of the compression; its corner is a dense model that guesses. A point that keeps less than `KEPT` of the best accuracy
    above chance has collapsed and is not chosen. A point that adds no area is chosen only if there is no other.
    """
    best_gain = max((accuracy for accuracy, _ in points), default=chance) - chance
    enough = min(best_gain, KEPT * best_gain)  # the best point itself, where all are below chance
    candidates = [i for i in front(points) if points[i][0] - chance >= enough]
    chosen = list[int]()
    while len(chosen) < min(count, len(candidates)):
        gains = {i: _area([points[j] for j in [*chosen, i]], chance) for i in candidates if i not in chosen}
        best = max(gains, key=lambda i: (gains[i], -i))
        if chosen and gains[best] <= _area([points[j] for j in chosen], chance):
            break
        chosen.append(best)
    return sorted(chosen)


def _area(points: Sequence[Point], chance: float) -> float:
    """The area that points dominate in the plane (log10 compression, accuracy above chance)."""
    plane = sorted(((-math.log10(max(left, 1e-9)), max(0.0, top1 - chance)) for top1, left in points), reverse=True)
    area, height = 0.0, 0.0
    for position, (x, y) in enumerate(plane):
        height = max(height, y)
        following = 0.0
        if position + 1 < len(plane):
            following = plane[position + 1][0]
        area += max(0.0, x - max(0.0, following)) * height
    return area


def best(values: Sequence[float]) -> list[int]:
    """Returns the index of the highest value, the first of equal ones; empty for no values."""
    if not values:
        return []
    return [max(range(len(values)), key=lambda i: (values[i], -i))]

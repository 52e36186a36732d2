"""Of how many channels each group keeps multiples."""

from __future__ import annotations

from collections.abc import Sequence

from bench.channels.groups import Group

BY_WIDTH = (1, 2, 4, 8)  # of which groups keep multiples
STEPS = 16  # widths that a group can have, at the least, where these are chosen by its own width


def rounds(groups: Sequence[Group], round_to: int) -> list[int]:
    """Returns the number of which each group keeps multiples. Heads of attention and groups of convolutions are counted one by
    one. A ``round_to`` of 0 stands for the largest of 1, 2, 4 and 8 that is at most a sixteenth of the group's width: coarser
    steps would leave a small network few widths to choose from."""
    found = []
    for group in groups:
        unit = round_to
        if round_to == 0:
            unit = max(u for u in BY_WIDTH if u == 1 or u * STEPS <= group.channels)
        if _is_whole(group):
            unit = 1
        found.append(unit)
    return found


def _is_whole(group: Group) -> bool:
    """Whether a channel is a head, or a group of a convolution: several rows or columns of every weight of the group."""
    weights = [m for m in group.members if m.kind in ("out", "in") and m.name.endswith("weight")]
    return bool(weights) and all(len(m.index) > group.channels for m in weights)

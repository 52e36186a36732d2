"""Whether a ranking of channels has influence on the widths that a budget leaves."""

from __future__ import annotations

from collections import Counter

import torch

from bench.channels.costs import Costs, choose
from bench.seeds import generator

TRIES, ALIKE = (
    8,
    6,
)  # random rankings that show whether a ranking has influence, and of which so many are too many alike


def influential(costs: Costs, share: float, *, scope: str, round_to: int) -> bool:
    """Returns whether the widths that are left depend on the ranking. They do not where at least `ALIKE` of `TRIES` random
    rankings, in which whole groups differ too, leave the same widths: there "random" is as good as "best"."""
    source, seen = generator("channels", "influence"), Counter[tuple[int, ...]]()
    for left in reversed(range(TRIES)):
        scores = {
            g.root: torch.rand(g.channels, generator=source) * torch.rand((), generator=source) for g in costs.groups
        }
        chosen = choose(costs, scores, share, scope=scope, round_to=round_to, exact=False)
        seen[tuple(int(chosen[g.root].sum()) for g in costs.groups)] += 1
        if max(seen.values()) + left < ALIKE:
            return True
    return False

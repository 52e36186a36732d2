"""The cost of a model after channels are removed, and the choice of channels that meets a budget.

Costs are exact: a weight's multiply-accumulates and size are proportional to the positions kept along each of its dimensions,
so a model's cost follows from the number of channels that each group keeps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from bench.channels.groups import Group, tensors
from bench.channels.rounding import rounds
from bench.errors import Ineffective, one_of
from bench.measure.operations import macs

BUDGETS = ("macs", "params", "channels")
SCOPES = ("global", "uniform")
TOLERANCE = 0.01  # of the dense model's cost
FEW = 6  # groups, up to which all choices that differ in two groups are tried
FIRST = 1e30  # its negative is below all scores
GRID = 4096  # steps of the share in the "uniform" scope
MOST_MOVES = 120  # with more single steps, pairs of steps are not tried: they are too many


@dataclass(frozen=True)
class _Term:
    """One tensor's cost: ``unit`` for each of its entries. ``lost[dim]`` holds (group, positions of a channel)."""

    unit: float
    shape: tuple[int, ...]
    lost: Mapping[int, tuple[tuple[int, int], ...]]


@dataclass(frozen=True)
class Costs:
    """The cost of a model as a function of the channels removed from its groups. ``fixed`` depends on no group."""

    budget: str
    groups: tuple[Group, ...]
    terms: tuple[_Term, ...]
    fixed: float

    @classmethod
    def of(cls, model: nn.Module, groups: Sequence[Group], shape: tuple[int, int, int, int], budget: str) -> Costs:
        """Counts the costs of a dense model for images of ``shape`` (N, C, H, W).

        ``budget`` is "macs" (multiply-accumulates of one image), "params" (all parameters) or "channels" (the channels of the
        groups).
        """
        if budget not in BUDGETS:
            raise one_of("budget", budget, BUDGETS)
        if budget == "channels":
            channels = tuple(_Term(1.0, (group.channels,), {0: ((i, 1),)}) for i, group in enumerate(groups))
            return cls(budget, tuple(groups), channels, 0.0)
        lost = dict[str, dict[int, list[tuple[int, int]]]]()
        for place, group in enumerate(groups):
            for member in group.members:
                positions = len(member.index) // group.channels
                lost.setdefault(member.name, {}).setdefault(member.dim, []).append((place, positions))
        counted: Mapping[str, int] = {}
        if budget == "macs":
            counted = macs(model, shape)
        units = _units(model, counted, budget)
        parameters = {n: t for n, t in tensors(model).items() if n in units}
        terms = tuple(
            _Term(units[name], tuple(t.shape), {dim: tuple(parts) for dim, parts in lost.get(name, {}).items()})
            for name, t in parameters.items()
        )
        return cls(budget, tuple(groups), terms, float(counted.get("", 0)))

    def total(self, removed: Sequence[int]) -> float:
        """Returns the cost after ``removed[i]`` channels are removed from group i."""
        return self.fixed + sum(_cost(term, removed) for term in self.terms)


def _units(model: nn.Module, counted: Mapping[str, int], budget: str) -> dict[str, float]:
    """Returns the cost of one entry of each parameter; ``counted`` are the model's multiply-accumulates by parameter."""
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    if budget == "params":
        return dict.fromkeys(sizes, 1.0)
    return {name: count / sizes[name] for name, count in counted.items() if name in sizes}


def _cost(term: _Term, removed: Sequence[int]) -> float:
    kept = list(term.shape)
    for dim, parts in term.lost.items():
        kept[dim] -= sum(removed[group] * positions for group, positions in parts)
    return term.unit * math.prod(kept)


def choose(
    costs: Costs,
    scores: Mapping[str, Tensor],
    share: float,
    *,
    scope: str,
    round_to: int = 1,
    gone: Mapping[str, Tensor] | None = None,
    exact: bool = True,
) -> dict[str, Tensor]:
    """Chooses the channels to remove so that the cost falls by ``share`` (0 to 1) of the dense cost, within 1 % of that cost.

    Channels with the lowest scores are removed first: over all groups together ("global"), or the same share of each group
    ("uniform"). Where that alone meets the budget within 1 %, nothing else decides; where it does not, a step more or less in
    one group or in two does. Each group keeps a positive multiple of ``round_to`` channels, heads and groups of convolutions
    any number; where that cannot meet the budget, ``round_to`` is halved until it can.

    Args:
        costs: of the dense model.
        scores: (C,) by group.
        share: of the dense cost to remove.
        scope: "global" or "uniform".
        round_to: see above; 0 chooses it by the width of each group (`rounds`).
        gone: channels that are removed already, bool (C,) by group; they are part of the choice.
        exact: raise where the budget is missed. Budgets before the last one may be missed.

    Returns:
        The channels to remove, bool (C,) by group.

    Raises:
        Ineffective: no choice comes within 1 %, or within one channel where one channel costs more than 1 %.
    """
    if scope not in SCOPES:
        raise one_of("scope", scope, SCOPES)
    dense = costs.total([0] * len(costs.groups))
    wanted = (1 - share) * dense
    ranked, least = _ranked(costs.groups, scores, gone)
    search = _global
    if scope == "uniform":
        search = _uniform
    units = rounds(costs.groups, round_to)
    while True:
        removed = search(costs, ranked, wanted, units, least)
        removed = _closer(costs, removed, wanted, dense, units, least)
        error = abs(costs.total(removed) - wanted) / (dense or 1.0)  # a dense cost of 0 cannot change
        if error <= TOLERANCE or max(units) == 1:
            break
        units = [max(1, unit // 2) for unit in units]
    if error > TOLERANCE:
        removed = _farther(costs, removed, wanted, least)
        error = abs(costs.total(removed) - wanted) / (dense or 1.0)
    if exact and error > max(TOLERANCE, _finest(costs, removed, least) / max(dense, 1.0)):
        raise Ineffective(
            f"the {costs.budget} removed must be within {TOLERANCE:.0%} of the {share:.4f} asked for, but the nearest "
            f"choice misses by {error:.1%}; ask for less"
        )
    return {group.root: _lowest(ranked[group.root], count) for group, count in zip(costs.groups, removed, strict=True)}


def _ranked(
    groups: Sequence[Group], scores: Mapping[str, Tensor], gone: Mapping[str, Tensor] | None
) -> tuple[dict[str, Tensor], list[int]]:
    """Returns scores by group in which removed channels rank first, and the number of removed channels of each group."""
    ranked, least = dict[str, Tensor](), list[int]()
    for group in groups:
        out = torch.zeros(group.channels, dtype=torch.bool)
        if gone is not None:
            out = gone[group.root].cpu()
        ranked[group.root] = scores[group.root].cpu().double().masked_fill(out, -FIRST)
        least.append(int(out.sum()))
    return ranked, least


def _closer(
    costs: Costs, removed: list[int], wanted: float, dense: float, units: list[int], least: list[int]
) -> list[int]:
    """Takes the best single step again and again, while the budget is missed and a step helps."""
    while abs(costs.total(removed) - wanted) > TOLERANCE * dense:
        step = _nearest(costs, [removed], wanted, units, least)
        if step == removed:
            break
        removed = step
    return removed


def _farther(costs: Costs, removed: list[int], wanted: float, least: list[int]) -> list[int]:
    """Returns the nearest of all choices that differ in two groups: in a tiny model single steps can end too early."""
    best, groups = removed, range(len(removed))
    for a, b in itertools.permutations(groups, 2) if len(removed) <= FEW else ():
        for count in range(least[a], costs.groups[a].channels):

            def moved(more: int, a: int = a, b: int = b, count: int = count) -> list[int]:
                found = list(removed)
                found[a], found[b] = count, least[b] + more
                return found

            most = max(0, costs.groups[b].channels - 1 - least[b])
            at = _bisect(partial(_enough, costs, wanted, moved), most)
            best = min((best, moved(at), moved(max(0, at - 1))), key=lambda r: abs(costs.total(r) - wanted))
    return best


def _enough(costs: Costs, wanted: float, moved: Callable[[int], list[int]], more: int) -> bool:
    return costs.total(moved(more)) <= wanted


def _finest(costs: Costs, removed: list[int], least: list[int]) -> float:
    """Returns the smallest change of cost that one channel makes; in a tiny model it can be more than 1 %."""
    here = costs.total(removed)
    return min(
        (abs(costs.total(other) - here) for other in _nearby(costs, removed, [1] * len(removed), least)[1:]),
        default=0.0,
    )


def _lowest(scores: Tensor, count: int) -> Tensor:
    gone = torch.zeros(len(scores), dtype=torch.bool)
    gone[scores.argsort(stable=True)[:count]] = True
    return gone


def _most(group: Group, round_to: int) -> int:
    """Returns the largest number of channels that may be removed from a group."""
    return max(0, group.channels - round_to)


def _steps(group: Group, round_to: int) -> list[int]:
    """Returns the sizes of the blocks of channels to remove one after the other, each of which keeps a multiple of
    ``round_to``; the first makes the group's size such a multiple."""
    first, most = group.channels % round_to or round_to, _most(group, round_to)
    if most < first:
        return []
    return [first, *[round_to] * ((most - first) // round_to)]


def _global(costs: Costs, scores: Mapping[str, Tensor], wanted: float, units: list[int], least: list[int]) -> list[int]:
    """Removes blocks of channels in the order of their mean scores: as many as come nearest (`_nearest`)."""
    blocks = list[tuple[float, int, int]]()  # (key, group, channels)
    for place, group in enumerate(costs.groups):
        ordered, at, key = scores[group.root].sort(stable=True).values, 0, -math.inf
        for size in _steps(group, units[place]):
            key = max(key, float(ordered[at : at + size].mean()))  # a group's own blocks stay in order
            blocks.append((key, place, size))
            at += size
    blocks.sort(key=lambda b: (b[0], b[1]))

    def removed(count: int) -> list[int]:
        found = [0] * len(costs.groups)
        for _, place, size in blocks[:count]:
            found[place] += size
        return [max(pair) for pair in zip(found, least, strict=True)]

    count = _bisect(lambda n: costs.total(removed(n)) <= wanted, len(blocks))
    return _nearest(costs, [removed(n) for n in sorted({max(0, count - 1), count})], wanted, units, least)


def _nearest(
    costs: Costs, choices: Sequence[list[int]], wanted: float, units: list[int], least: list[int]
) -> list[int]:
    """Returns the choice whose cost is nearest to ``wanted``. Where it misses by more than 1 % of the dense cost, returns the
    nearest of all choices and of those near them instead."""

    def missed(removed: list[int]) -> float:
        return abs(costs.total(removed) - wanted)

    ranked = min(choices, key=missed)
    if missed(ranked) <= TOLERANCE * costs.total([0] * len(costs.groups)):
        return ranked
    return min((near for choice in choices for near in _nearby(costs, choice, units, least)), key=missed)


def _nearby(costs: Costs, removed: list[int], units: list[int], least: list[int]) -> list[list[int]]:
    """Returns a choice, and those that differ from it by one step in one group or by opposite steps in two groups."""
    moves = list[tuple[int, int]]()
    for place, (group, unit) in enumerate(zip(costs.groups, units, strict=True)):
        for change in (unit, -unit):
            if least[place] <= removed[place] + change <= _most(group, unit):
                moves.append((place, change))
    combined = [{place: change} for place, change in moves]
    if len(moves) <= MOST_MOVES:
        combined += [{a: x, b: y} for a, x in moves for b, y in moves if a < b and x * y < 0]
    return [removed, *([r + move.get(i, 0) for i, r in enumerate(removed)] for move in combined)]


def _uniform(
    costs: Costs, scores: Mapping[str, Tensor], wanted: float, units: list[int], least: list[int]
) -> list[int]:
    """Removes the same share of each group, rounded: the share whose cost comes nearest."""

    def removed(part: int) -> list[int]:
        found = []
        for group, unit, out in zip(costs.groups, units, least, strict=True):
            kept = max(unit, round((1 - part / GRID) * group.channels / unit) * unit)
            found.append(max(out, group.channels - kept))
        return found

    part = _bisect(lambda n: costs.total(removed(n)) <= wanted, GRID)
    return _nearest(costs, [removed(n) for n in sorted({max(0, part - 1), part})], wanted, units, least)


def _bisect(enough: Callable[[int], bool], most: int) -> int:
    """Returns the smallest number from 0 to ``most`` that is enough, or ``most``."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return low

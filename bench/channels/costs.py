"""What a model costs when its channel groups lose channels, and which channels must leave to meet a budget.

Costs are counted, not estimated: a weight's multiply-accumulates and size are proportional to what is kept along each of
its dimensions, so the cost of any choice follows from how many channels each group keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.channels.groups import Group, tensors
from bench.errors import Ineffective, one_of
from bench.measure.operations import macs

BUDGETS = ("macs", "params", "channels")
SCOPES = ("global", "uniform")
TOLERANCE = 0.01  # of the dense model's cost
FIRST = 1e30  # below all scores


@dataclass(frozen=True)
class _Term:
    """One tensor's part: ``unit`` for each of its entries; ``lost[dim]`` are (group, positions to a channel)."""

    unit: float
    shape: tuple[int, ...]
    lost: Mapping[int, tuple[tuple[int, int], ...]]


@dataclass(frozen=True)
class Costs:
    """The cost of a model, by what its groups have lost. ``fixed`` is what no group changes."""

    budget: str
    groups: tuple[Group, ...]
    terms: tuple[_Term, ...]
    fixed: float

    @classmethod
    def of(cls, model: nn.Module, groups: Sequence[Group], shape: tuple[int, int, int, int], budget: str) -> Costs:
        """The costs of a dense model for images of ``shape`` (N, C, H, W).

        ``budget`` is "macs" (multiply-accumulates of one image), "params" (all parameters) or "channels" (those of the
        groups).
        """
        if budget not in BUDGETS:
            raise one_of("budget", budget, BUDGETS)
        if budget == "channels":
            return cls(
                budget,
                tuple(groups),
                tuple(_Term(1.0, (g.channels,), {0: ((i, 1),)}) for i, g in enumerate(groups)),
                0.0,
            )
        lost = dict[str, dict[int, list[tuple[int, int]]]]()
        for place, group in enumerate(groups):
            for member in group.members:
                positions = len(member.index) // group.channels
                lost.setdefault(member.name, {}).setdefault(member.dim, []).append((place, positions))
        counted = macs(model, shape) if budget == "macs" else {}
        units = _units(model, counted, budget)
        parameters = {n: t for n, t in tensors(model).items() if n in units}
        terms = tuple(
            _Term(units[name], tuple(t.shape), {dim: tuple(parts) for dim, parts in lost.get(name, {}).items()})
            for name, t in parameters.items()
        )
        return cls(budget, tuple(groups), terms, float(counted.get("", 0)))

    def total(self, removed: Sequence[int]) -> float:
        """The cost when group i has lost ``removed[i]`` channels."""
        return self.fixed + sum(_cost(term, removed) for term in self.terms)


def _units(model: nn.Module, counted: Mapping[str, int], budget: str) -> dict[str, float]:
    """What one weight of each parameter costs; ``counted`` are the model's multiply-accumulates by parameter."""
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
    """The channels to remove, bool (C,) by group, so that ``share`` (0 to 1) of the dense cost goes, within 1 % of it.

    The lowest scores leave first: of all groups together ("global"), or the same share of each group ("uniform"). Each
    group keeps a multiple of ``round_to`` channels and at least one such multiple; where that cannot hit the budget,
    ``round_to`` is halved until it can. What is ``gone`` (bool (C,) by group) already is among the chosen. Unless
    ``exact``, the budget may be missed, as one on the way to the last may.

    Raises:
        Ineffective: where no choice comes within 1 %, or within one channel where a channel is more than that.
    """
    if scope not in SCOPES:
        raise one_of("scope", scope, SCOPES)
    dense = costs.total([0] * len(costs.groups))
    wanted = (1 - share) * dense
    ranked, least = dict[str, Tensor](), list[int]()
    for group in costs.groups:
        out = gone[group.root].cpu() if gone is not None else torch.zeros(group.channels, dtype=torch.bool)
        ranked[group.root] = scores[group.root].cpu().double().masked_fill(out, -FIRST)
        least.append(int(out.sum()))
    while True:
        removed = (_global if scope == "global" else _uniform)(costs, ranked, wanted, round_to, least)
        removed = _closer(costs, removed, wanted, dense, round_to, least)
        missed = abs(costs.total(removed) - wanted) / dense if dense else 0.0
        if missed <= TOLERANCE or round_to == 1:
            break
        round_to //= 2
    if exact and missed > max(TOLERANCE, _finest(costs, removed, least) / max(dense, 1.0)):
        raise Ineffective(
            f"the {costs.budget} removed must be within {TOLERANCE:.0%} of the {share:.4f} asked for, but the nearest "
            f"choice misses by {missed:.1%}; ask for less"
        )
    return {group.root: _lowest(ranked[group.root], count) for group, count in zip(costs.groups, removed, strict=True)}


def _closer(
    costs: Costs, removed: list[int], wanted: float, dense: float, round_to: int, least: list[int]
) -> list[int]:
    """Single steps that each come nearest, for as long as the budget is missed and a step helps."""
    while abs(costs.total(removed) - wanted) > TOLERANCE * dense:
        step = min(_nearby(costs, removed, round_to, least), key=lambda r: abs(costs.total(r) - wanted))
        if step == removed:
            break
        removed = step
    return removed


def _finest(costs: Costs, removed: list[int], least: list[int]) -> float:
    """The smallest change of cost that one channel more or less makes: in a tiny model that can be more than 1 %."""
    here = costs.total(removed)
    return min((abs(costs.total(other) - here) for other in _nearby(costs, removed, 1, least)[1:]), default=0.0)


def _lowest(scores: Tensor, count: int) -> Tensor:
    gone = torch.zeros(len(scores), dtype=torch.bool)
    gone[scores.argsort(stable=True)[:count]] = True
    return gone


def _most(group: Group, round_to: int) -> int:
    """How many channels a group may lose at the most."""
    return max(0, group.channels - round_to)


def _steps(group: Group, round_to: int) -> list[int]:
    """How many channels leave with each step that keeps a multiple of ``round_to``; the first brings it down to one."""
    first = group.channels % round_to or round_to
    return (
        [first, *[round_to] * ((_most(group, round_to) - first) // round_to)] if _most(group, round_to) >= first else []
    )


def _global(costs: Costs, scores: Mapping[str, Tensor], wanted: float, round_to: int, least: list[int]) -> list[int]:
    """Blocks of channels in the order of their mean scores; as many as come nearest, then one block more or less."""
    blocks = list[tuple[float, int, int]]()  # (key, group, channels)
    for place, group in enumerate(costs.groups):
        ordered, at, key = scores[group.root].sort(stable=True).values, 0, -math.inf
        for size in _steps(group, round_to):
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
    ends = [removed(n) for n in {max(0, count - 1), count}]
    return min(
        (v for end in ends for v in _nearby(costs, end, round_to, least)), key=lambda r: abs(costs.total(r) - wanted)
    )


def _nearby(costs: Costs, removed: list[int], round_to: int, least: list[int]) -> list[list[int]]:
    """A choice, and those that differ from it by one step in one group or by one step in each of two."""
    moves = list[tuple[int, int]]()
    for place, group in enumerate(costs.groups):
        for change in (round_to, -round_to):
            if least[place] <= removed[place] + change <= _most(group, round_to):
                moves.append((place, change))
    single = [{place: change} for place, change in moves]
    double = [{a: x, b: y} for a, x in moves for b, y in moves if a < b and x * y < 0] if len(moves) <= 120 else []
    return [removed, *([r + move.get(i, 0) for i, r in enumerate(removed)] for move in [*single, *double])]


def _uniform(costs: Costs, scores: Mapping[str, Tensor], wanted: float, round_to: int, least: list[int]) -> list[int]:
    """The same share of each group, rounded; as large a share as comes nearest."""
    grid = 4096

    def removed(part: int) -> list[int]:
        found = []
        for group, out in zip(costs.groups, least, strict=True):
            kept = max(round_to, round((1 - part / grid) * group.channels / round_to) * round_to)
            found.append(max(out, group.channels - kept))
        return found

    part = _bisect(lambda n: costs.total(removed(n)) <= wanted, grid)
    ends = [removed(n) for n in {max(0, part - 1), part}]
    return min(
        (v for end in ends for v in _nearby(costs, end, round_to, least)), key=lambda r: abs(costs.total(r) - wanted)
    )


def _bisect(enough: Callable[[int], Any], most: int) -> int:
    """The smallest number from 0 to ``most`` that is enough, or ``most``."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low

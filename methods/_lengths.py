"""Scale channels to given lengths, all of them exactly and at once, also where they share tensors.

An entry of a weight belongs to the channel that its row makes and to the channel that its column reads. Scaled one group
after the other, each group would change the lengths of the groups before it. Here the factors g of all scaled channels are
found together. An entry that several of them hold is scaled by the geometric mean of their factors, so that channels which
shrink alike keep their directions:

    |w_k|^2 = D_k g_k^2 + g_k sum_j M_kj g_j = wanted_k^2

with D_k the squares that channel k holds alone and M_kj those that it holds together with channel j. In ln g this is the
gradient of a convex function; Newton's method finds its root, each of whose steps is solved by conjugate gradients. Their
numbers are fixed, so that no step waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from bench.channels.groups import Group
from bench.errors import BenchError

NEWTON, GRADIENTS = 4, 8  # steps of Newton's method, and of conjugate gradients in each


@dataclass(frozen=True)
class _Held:
    """A parameter, and which of K channels hold it: ``owners[dim]`` is the channel of each position, K where none."""

    parameter: Tensor
    owners: dict[int, Tensor]

    def squares(self) -> Tensor:
        """Squared entries, summed over the dimensions that no channel holds: (rows,) or (rows, columns)."""
        others = [d for d in range(self.parameter.dim()) if d not in self.owners]
        squares = self.parameter.detach().square()
        return squares.sum(others) if others else squares

    def view(self, factors: Tensor) -> Tensor:
        """Factors in the shape of `squares`, in a shape that the parameter can be multiplied by."""
        return factors.view([n if d in self.owners else 1 for d, n in enumerate(self.parameter.shape)])


def held(model: nn.Module, groups: Sequence[Group]) -> list[_Held]:
    """The parameters of the groups, with the channels of all groups counted in a row.

    Raises:
        BenchError: channels hold a parameter along more than two dimensions.
    """
    values, none = dict(model.named_parameters()), sum(g.channels for g in groups)
    found, start = dict[str, dict[int, Tensor]](), 0
    for group in groups:
        for member in group.members:
            if member.name in values:
                empty = torch.full((values[member.name].shape[member.dim],), none)
                found.setdefault(member.name, {}).setdefault(member.dim, empty)[member.index.cpu()] = (
                    start + member.channel.cpu()
                )
        start += group.channels
    for name, dims in found.items():
        if len(dims) > 2:
            raise BenchError(
                f"channels must hold a parameter along at most two dimensions, but got {name} with {len(dims)}; "
                "use leave.how=at_once"
            )
    return [
        _Held(values[name], {d: dims[d].to(values[name].device) for d in sorted(dims)}) for name, dims in found.items()
    ]


@torch.no_grad()
def scale_(parts: Sequence[_Held], chosen: Tensor, factors: Tensor) -> None:
    """Multiply the channels ``chosen``, bool (K,), by ``factors`` (K,); an entry that several of them hold by the geometric
    mean of their factors."""
    dead = _padded(chosen & (factors == 0))
    live = _padded(chosen & (factors != 0)).double()
    logs = torch.where(live > 0, _padded(factors.double()).clamp_min(torch.finfo(torch.float64).tiny).log(), 0.0)
    for part in parts:
        count, log, zero = (_spread(part, values) for values in (live, logs, dead.double()))
        scale = (log / count.clamp_min(1)).exp().masked_fill(zero > 0, 0.0)
        part.parameter.mul_(part.view(scale.to(part.parameter)))


def _padded(values: Tensor) -> Tensor:
    return torch.cat([values, values.new_zeros(1)])


def _spread(part: _Held, values: Tensor) -> Tensor:
    """The sum of the values (K + 1,) of the channels that hold each entry, in the shape of `_Held.squares`."""
    rows, *columns = [values[owner] for owner in part.owners.values()]
    return rows[:, None] + columns[0] if columns else rows


@torch.no_grad()
def factors_for(parts: Sequence[_Held], chosen: Tensor, wanted: Tensor) -> Tensor:
    """The factors (K,), for `scale_`, after which each of the channels ``chosen``, bool (K,), has the length ``wanted`` (K,)
    at which it is to be; 1 for the others, 0 where ``wanted`` is 0, and 1 where a channel has no length."""
    dead = chosen & (wanted == 0)
    alive = chosen & ~dead
    alone, product = _shares(parts, alive, dead)
    ones = alive.double()
    now = alone + product(ones) * ones
    alive = alive & (now > 0)
    goal = wanted.double().square()
    log = torch.where(alive, (goal / now.clamp_min(torch.finfo(torch.float64).tiny)).log() / 2, 0.0)
    for _ in range(NEWTON):
        log = log + _newton_step(alone, product, alive, goal, log)
    return torch.where(alive, log.exp(), 1.0).masked_fill(dead, 0.0)


Product = Callable[[Tensor], Tensor]


def _shares(parts: Sequence[_Held], alive: Tensor, dead: Tensor) -> tuple[Tensor, Product]:
    """D, (K,), and the product of M with a vector (K,)."""
    whole = _padded((~alive & ~dead).double())
    whole[-1] = 1.0
    alone, shared = torch.zeros_like(whole), list[tuple[Tensor, Tensor, Tensor]]()
    for part in parts:
        squares, (rows, *columns) = part.squares(), list(part.owners.values())
        if not columns:
            alone.index_add_(0, rows, squares.double())
            continue
        shared.append((squares, rows, columns[0]))
        alone.index_add_(0, rows, (squares @ whole[columns[0]].to(squares)).double())
        alone.index_add_(0, columns[0], (squares.T @ whole[rows].to(squares)).double())

    where = list(chain.from_iterable((rows, columns) for _, rows, columns in shared))
    lengths, index = [len(owner) for owner in where], torch.cat([*where, torch.zeros_like(alive[:0]).long()])

    def product(values: Tensor) -> Tensor:
        given = torch.split(_padded(values * alive)[index], lengths)
        sums = list[Tensor]()
        for place, (squares, _, _) in enumerate(shared):
            sums += [squares @ given[2 * place + 1].to(squares), squares.T @ given[2 * place].to(squares)]
        total = torch.zeros_like(whole)
        return total.index_add_(0, index, torch.cat([*(s.double() for s in sums), total[:0]]))[:-1]

    return alone[:-1], product


def _newton_step(alone: Tensor, product: Product, alive: Tensor, goal: Tensor, log: Tensor) -> Tensor:
    """The change of ln g that brings the logarithms of the lengths to their goals, to first order."""
    tiny = torch.finfo(torch.float64).tiny
    factor = torch.where(alive, log.exp(), 0.0)
    single, double = alone * factor.square(), factor * product(factor)
    diagonal, now = torch.where(alive, 2 * single + double, 1.0), single + double

    def slope(change: Tensor) -> Tensor:
        return (2 * single + double) * change + factor * product(factor * change)

    left = torch.where(alive, now * (goal / now.clamp_min(tiny)).clamp_min(tiny).log(), 0.0)
    found, direction = torch.zeros_like(left), left / diagonal
    size = left @ direction
    for _ in range(GRADIENTS):
        moved = slope(direction) * alive
        step = size / (direction @ moved).clamp_min(tiny)
        found, left = found + step * direction, left - step * moved
        before, size = size, left @ (left / diagonal)
        direction = left / diagonal + size / before.clamp_min(tiny) * direction
    return found

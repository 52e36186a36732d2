"""Axes: where the positions of a tensor's dimension come from, told apart as far as a model's operations tell them apart.

A dimension is a concatenation of segments, and a segment is a product of factors, the outermost first. The 2304 outputs of
a fused projection of 12 heads are one segment [3, heads, 64]; the input of a layer of a DenseNet is many segments, one
to each layer before. A factor is an `Axis`, whose positions may leave together wherever it appears, or a number that is
`Fixed` by something outside of the weights. While a model is followed, axes are found to be equal (`unify`), to be
products or sums of others, or to be fixed; whoever holds the axis learns of it through `resolve`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

GRID = "the image's grid"


@dataclass(frozen=True)
class Fixed:
    """``size`` positions that must stay, and why."""

    size: int
    why: str = GRID


@dataclass(eq=False)
class Axis:
    """``size`` positions that may leave one by one, until ``value`` says what they are instead.

    ``mixed`` tells that something (a layer norm, a softmax) looks at all of them at once, so that a position that is
    masked by zeros is not the same as one that is gone.
    """

    size: int
    value: Dim | None = None
    mixed: bool = False


@dataclass(frozen=True)
class Sum:
    """A concatenation inside of a product, such as the query and the key of each head."""

    parts: Dim

    @property
    def size(self) -> int:
        """Its positions."""
        return extent(self.parts)


Factor: TypeAlias = Fixed | Axis | Sum
Segment: TypeAlias = tuple[Factor, ...]
Dim: TypeAlias = tuple[Segment, ...]

ONE: Dim = ((),)


def fixed(size: int, why: str = GRID) -> Dim:
    """A dimension that cannot lose anything."""
    return ((Fixed(size, why),),) if size != 1 else ONE


def fresh(size: int) -> Dim:
    """A dimension of which nothing is known yet."""
    return ((Axis(size),),) if size != 1 else ONE


def length(segment: Sequence[Factor]) -> int:
    """The positions of a segment."""
    return math.prod(f.size for f in segment)


def extent(dim: Dim) -> int:
    """The positions of a dimension."""
    return sum(length(s) for s in dim)


def resolve(dim: Dim) -> Dim:
    """A dimension in terms of what its axes are known to be, with neighbouring fixed numbers made one."""
    found = list[Segment]()
    for segment in dim:
        product = ONE
        for factor in segment:
            product = times(product, _known(factor))
        found += product
    return _merged(found)


def _known(factor: Factor) -> Dim:
    if factor.size == 1:
        return ONE
    if isinstance(factor, Sum):
        return resolve(factor.parts)
    if isinstance(factor, Fixed) or factor.value is None:
        return ((factor,),)
    factor.value = resolve(factor.value)
    return factor.value


def times(outer: Dim, inner: Dim) -> Dim:
    """The product of two dimensions."""
    if len(inner) == 1:
        return tuple(segment + inner[0] for segment in outer)
    return tuple(s for segment in outer for s in (((*segment, Sum(inner)),) if segment else inner))


def _merged(segments: list[Segment]) -> Dim:
    found = list[Segment]()
    for segment in segments:
        factors = list[Factor]()
        for factor in segment:
            if isinstance(factor, Fixed) and factors and isinstance(before := factors[-1], Fixed):
                factors[-1] = Fixed(before.size * factor.size, before.why)
            elif factor.size != 1:
                factors.append(factor)
        if found and _stays(factors) and _stays(found[-1]):
            found[-1] = (Fixed(length(found[-1]) + length(factors), _why([*found[-1], *factors])),)
        else:
            found.append(tuple(factors))
    return tuple(found)


def _stays(segment: Sequence[Factor]) -> bool:
    return all(isinstance(f, Fixed) for f in segment)


def _why(segment: Sequence[Factor]) -> str:
    return next((f.why for f in segment if isinstance(f, Fixed)), GRID)


def free(dim: Dim) -> Iterator[Axis]:
    """The axes of a dimension that may still lose positions."""
    for segment in resolve(dim):
        for factor in segment:
            if isinstance(factor, Axis):
                yield factor
            elif isinstance(factor, Sum):
                yield from free(factor.parts)


def freeze(dim: Dim, why: str) -> None:
    """Nothing of this dimension can leave."""
    for axis in free(dim):
        axis.value = fixed(axis.size, why)


def mix(dim: Dim) -> None:
    """All positions of this dimension are looked at together."""
    for axis in free(dim):
        axis.mixed = True


def _become(axis: Axis, value: Dim) -> None:
    axis.value = value
    if axis.mixed:
        mix(value)


def unify(one: Dim, other: Dim) -> None:
    """Position i of one dimension is position i of the other: whatever leaves one leaves both."""
    while _refine(list(resolve(one)), list(resolve(other))):
        pass


def _refine(left: list[Segment], right: list[Segment]) -> bool:
    """Learn one thing from two resolved dimensions being the same; False when there is nothing more to learn."""
    while left and right:
        sizes = length(left[0]), length(right[0])
        if sizes[0] == sizes[1]:
            if _match(list(left.pop(0)), list(right.pop(0))):
                return True
        else:
            longer, cut = (left, sizes[1]) if sizes[0] > sizes[1] else (right, sizes[0])
            parts = _cut(longer[0], cut)
            if parts is None:
                return True
            longer[:1] = [s for part in parts if length(part) for s in resolve((part,))]  # not merged again
    return False


def _cut(segment: Segment, at: int) -> list[Segment] | None:
    """The segment in parts that end at ``at``, or None where an axis in it had to be told that it is a sum, or fixed."""
    head, rest = segment[0], segment[1:]
    inner = length(rest)
    if isinstance(head, Fixed) and not rest:
        return [(Fixed(at, head.why),), (Fixed(head.size - at, head.why),)]
    if isinstance(head, Fixed) and at < inner:
        return [*resolve((rest,)), (Fixed(head.size - 1, head.why), *rest)]
    if isinstance(head, Fixed):
        return [(Fixed(n, head.why), *rest) for n in (at // inner, head.size - at // inner)]
    if isinstance(head, Axis) and at % inner == 0:
        _become(head, tuple((Axis(n),) for n in (at // inner, head.size - at // inner)))
    else:
        freeze(((head,),), "it is cut across its parts")
        if not rest or isinstance(head, Sum):
            freeze((segment,), "it is cut across its parts")
    return None


def _match(left: list[Factor], right: list[Factor]) -> bool:
    """Compare two segments of one size from the innermost factor; True when something was learnt."""
    whole: Dim = (tuple(left), tuple(right))
    while left and right:
        a, b = left.pop(), right.pop()
        if a == b or (isinstance(a, Fixed) and isinstance(b, Fixed) and a.size == b.size):
            continue
        if a.size == b.size:
            _equal(a, b)
            return True
        side, large, small = (left, a, b) if a.size > b.size else (right, b, a)
        if large.size % small.size or isinstance(large, Sum):
            freeze(whole, "its parts do not fit those of what it meets")
            return True
        if isinstance(large, Axis):
            _become(large, ((Axis(large.size // small.size), Axis(small.size)),))
            return True
        side += [Fixed(large.size // small.size, large.why), Fixed(small.size, large.why)]
        (right if side is left else left).append(small)
    return False


def _equal(a: Factor, b: Factor) -> None:
    """Two factors of one size, not both fixed, are the same."""
    if isinstance(a, Axis):
        _become(a, ((b,),))
    elif isinstance(b, Axis):
        _become(b, ((a,),))
    elif isinstance(a, Sum) and isinstance(b, Sum):
        unify(a.parts, b.parts)
    else:
        freeze(((a,), (b,)), _why((a, b)))

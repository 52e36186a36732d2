"""Axes: the structure of tensor dimensions, as far as a model's operations reveal it.

A dimension is a concatenation of segments, and a segment is a product of factors, the outermost first. The 2304 outputs of a
fused projection of 12 heads are one segment [3, heads, 64]; the input of a layer in a DenseNet is many segments, one for each
layer before it. A factor is an `Axis`, whose positions can be removed together wherever it occurs, or `Fixed`. During the
trace, axes turn out to be equal (`unify`), to be products or sums of other axes, or to be fixed; `resolve` returns a
dimension with what is known of its axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

GRID = "the image's grid"


@dataclass(frozen=True)
class Fixed:
    """``size`` positions that cannot be removed, and why."""

    size: int
    why: str = GRID


@dataclass(eq=False)
class Axis:
    """``size`` positions that can be removed one by one, unless ``value`` says that they are something else.

    ``mixed``: an operation (a layer norm, a softmax) reads all of them at once, so that a position masked by zeros and a
    removed one have different effects.
    """

    size: int
    value: Dim | None = None
    mixed: bool = False


@dataclass(frozen=True)
class Sum:
    """A concatenation inside a product, such as the query and the key of each head."""

    parts: Dim

    @property
    def size(self) -> int:
        """The number of positions."""
        return extent(self.parts)


Factor: TypeAlias = Fixed | Axis | Sum
Segment: TypeAlias = tuple[Factor, ...]
Dim: TypeAlias = tuple[Segment, ...]

ONE: Dim = ((),)


def fixed(size: int, why: str = GRID) -> Dim:
    """Returns a dimension without removable positions."""
    if size == 1:
        return ONE
    return ((Fixed(size, why),),)


def fresh(size: int) -> Dim:
    """Returns a dimension of one new axis."""
    if size == 1:
        return ONE
    return ((Axis(size),),)


def length(segment: Sequence[Factor]) -> int:
    """Returns the number of positions of a segment."""
    return math.prod(f.size for f in segment)


def extent(dim: Dim) -> int:
    """Returns the number of positions of a dimension."""
    return sum(length(s) for s in dim)


def resolve(dim: Dim) -> Dim:
    """Returns a dimension with the known values of its axes, and with neighbouring fixed factors merged."""
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
    """Returns the product of two dimensions."""
    if len(inner) == 1:
        return tuple(segment + inner[0] for segment in outer)
    found = list[Segment]()
    for segment in outer:
        if segment:
            found.append((*segment, Sum(inner)))
        else:
            found += inner
    return tuple(found)


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
    """Yields the axes of a dimension whose positions can still be removed."""
    for segment in resolve(dim):
        for factor in segment:
            if isinstance(factor, Axis):
                yield factor
            elif isinstance(factor, Sum):
                yield from free(factor.parts)


def freeze(dim: Dim, why: str) -> None:
    """Marks all axes of a dimension as fixed, with the reason."""
    for axis in free(dim):
        axis.value = fixed(axis.size, why)


def mix(dim: Dim) -> None:
    """Marks all axes of a dimension as mixed: an operation reads all positions at once."""
    for axis in free(dim):
        axis.mixed = True


def _become(axis: Axis, value: Dim) -> None:
    axis.value = value
    if axis.mixed:
        mix(value)


def unify(one: Dim, other: Dim) -> None:
    """Records that position i of one dimension is position i of the other: both are removed together."""
    while _refine(list(resolve(one)), list(resolve(other))):
        pass


def _refine(left: list[Segment], right: list[Segment]) -> bool:
    """Records one consequence of the equality of two resolved dimensions; False when there is none left."""
    while left and right:
        sizes = length(left[0]), length(right[0])
        if sizes[0] == sizes[1]:
            if _match(list(left.pop(0)), list(right.pop(0))):
                return True
        else:
            longer = right
            if sizes[0] > sizes[1]:
                longer = left
            parts = _cut(longer[0], min(sizes))
            if parts is None:
                return True
            longer[:1] = [s for part in parts if length(part) for s in resolve((part,))]  # not merged again
    return False


def _cut(segment: Segment, at: int) -> list[Segment] | None:
    """Returns the segment in parts, cut at position ``at``; None where an axis in it was found to be a sum, or fixed."""
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
    """Compares two segments of one size from the innermost factor outwards; True where something new was found."""
    whole: Dim = (tuple(left), tuple(right))
    while left and right:
        a, b = left.pop(), right.pop()
        if a == b or (isinstance(a, Fixed) and isinstance(b, Fixed) and a.size == b.size):
            continue
        if a.size == b.size:
            _equal(a, b)
            return True
        side, other, large, small = left, right, a, b
        if a.size < b.size:
            side, other, large, small = right, left, b, a
        if large.size % small.size or isinstance(large, Sum):
            freeze(whole, "its parts do not fit those of what it meets")
            return True
        if isinstance(large, Axis):
            _become(large, ((Axis(large.size // small.size), Axis(small.size)),))
            return True
        side += [Fixed(large.size // small.size, large.why), Fixed(small.size, large.why)]
        other.append(small)
    return False


def _equal(a: Factor, b: Factor) -> None:
    """Records that two factors of one size, not both fixed, are the same."""
    if isinstance(a, Axis):
        _become(a, ((b,),))
    elif isinstance(b, Axis):
        _become(b, ((a,),))
    elif isinstance(a, Sum) and isinstance(b, Sum):
        unify(a.parts, b.parts)
    else:
        freeze(((a,), (b,)), _why((a, b)))

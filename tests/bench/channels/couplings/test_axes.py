"""The algebra of axes."""

from __future__ import annotations

from bench.channels.couplings.axes import Fixed, Sum, extent, fixed, free, freeze, fresh, resolve, times, unify
from bench.channels.couplings.members import positions


def test_equal_axes_are_one() -> None:
    one, other = fresh(8), fresh(8)
    unify(one, other)
    assert resolve(one) == resolve(other)
    freeze(one, "a reason")
    assert resolve(other) == ((Fixed(8, "a reason"),),)


def test_a_product_is_taken_apart_and_put_together() -> None:
    rows, heads, each = fresh(24), fresh(3), fresh(8)
    unify(rows, times(heads, each))
    assert resolve(rows) == (heads[0] + each[0],)
    other = fresh(24)
    unify(other, times(fixed(3), fresh(8)))
    unify(rows, other)
    assert not [*free(heads)]  # what they meet is fixed
    assert [*free(rows)] == [*free(each)] == [*free(other)]


def test_a_concatenation_is_cut_where_it_was_joined() -> None:
    one, two = fresh(5), fresh(7)
    whole, left, right = fresh(12), fresh(9), fresh(3)
    unify(whole, one + two)
    unify(whole, left + right)
    assert [f.size for segment in resolve(whole) for f in segment] == [5, 4, 3]
    assert resolve(left)[0] == resolve(one)[0]
    assert resolve(left)[1:] + resolve(right) == resolve(two)


def test_a_concatenation_inside_a_product_stays_there() -> None:
    heads, key, value = fresh(4), fresh(2), fresh(3)
    rows = fresh(20)
    unify(rows, times(heads, key + value))
    assert resolve(rows) == ((heads[0][0], Sum(key + value)),)
    found = {a: (index.tolist(), channel.tolist()) for a, index, channel in positions(resolve(rows))}
    assert found[heads[0][0]] == (list(range(20)), [i // 5 for i in range(20)])
    assert found[key[0][0]] == ([0, 1, 5, 6, 10, 11, 15, 16], [0, 1] * 4)


def test_what_does_not_fit_is_fixed_on_both_sides() -> None:
    one, other = times(fresh(4), fresh(6)), times(fresh(8), fresh(3))
    assert extent(one) == extent(other) == 24
    unify(one, times(fresh(2), fresh(12)))  # 6 into 12 goes: 2 x 2 x 6
    assert [f.size for f in resolve(one)[0]] == [2, 2, 6]
    one, other = times(fresh(4), fresh(6)), times(fresh(6), fresh(4))
    unify(one, other)
    assert not [*free(one), *free(other)]

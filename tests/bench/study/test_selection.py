from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.study import selection

points = st.lists(st.tuples(st.floats(0, 100), st.floats(1e-4, 1)), min_size=1, max_size=12)


def test_the_front_by_eye() -> None:
    #          best of all   dominated    smallest     equal accuracy, larger
    assert selection.front([(95.0, 0.5), (90.0, 0.6), (80.0, 0.1), (80.0, 0.2)]) == [2, 0]


@given(points)
def test_no_point_beats_one_of_the_front(some: list[tuple[float, float]]) -> None:
    for i in selection.front(some):
        assert not any(a >= some[i][0] and s <= some[i][1] and (a, s) != some[i] for a, s in some)


def test_spread_takes_the_points_of_the_largest_area() -> None:
    # areas alone, above chance 10: 85 * 0.301, 80 * 1, 50 * 2; the last one is first, then what adds most to it
    some = [(95.0, 0.5), (90.0, 0.1), (60.0, 0.01)]
    assert selection.spread(some, 1, 10.0) == [2]
    assert selection.spread(some, 2, 10.0) == [1, 2]
    assert selection.spread(some, 3, 10.0) == [0, 1, 2]


def test_a_point_at_chance_is_not_chosen_beside_a_real_one() -> None:
    assert selection.spread([(90.0, 0.2), (10.0, 0.001)], 2, 10.0) == [0]


def test_a_collapsed_point_is_not_chosen() -> None:
    assert selection.spread([(90.0, 0.2), (45.0, 0.001)], 2, 10.0) == [0]  # 35 of 80 points above chance are left


@given(points, st.integers(1, 5))
def test_spread_is_a_part_of_the_front(some: list[tuple[float, float]], count: int) -> None:
    chosen = selection.spread(some, count, 10.0)
    assert 1 <= len(chosen) <= count
    assert set(chosen) <= set(selection.front(some))


def test_best_is_the_first_of_equals() -> None:
    assert selection.best([1.0, 3.0, 3.0]) == [1]
    assert selection.best([]) == []

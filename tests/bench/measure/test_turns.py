"""Rounds of timed blocks, computed by hand; no test asserts a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bench.errors import BenchError
from bench.measure import turns
from bench.measure.turns import Block, Ratio, Round, alternate, summary


def block(*times: float, clock: int | None = None) -> Block:
    return Block(times, clock)


def test_blocks_come_in_turns_until_the_time_is_up() -> None:
    order, ticks = list[str](), iter(range(100))

    def made(letter: str) -> Callable[[], Block]:
        return lambda: (order.append(letter), block(1.0))[1]

    rounds = alternate(made("A"), made("B"), seconds=7, now=lambda: next(ticks))
    assert "".join(order) == "AB" + "ABBA" * 7
    assert len(rounds) == 7
    assert len(alternate(made("A"), made("B"), seconds=0, now=lambda: 0.0)) == turns.FEWEST


def test_each_block_lands_on_its_own_side() -> None:
    numbers = iter(range(100))
    first, second = (lambda: block(next(numbers)) for _ in range(2))
    (one, *_) = alternate(first, second, seconds=0, now=lambda: 0.0)
    assert one == Round((block(2), block(5)), (block(3), block(4)))


def test_ratios_by_hand() -> None:
    rounds = [
        Round((block(4, 4, 9), block(4)), (block(2), block(2, 1, 2))),
        Round((block(6), block(6)), (block(2), block(2))),
        Round((block(1), block(1)), (block(1), block(1))),
    ]
    first, second, both = summary(rounds)
    assert both == Ratio(2.0, 1.5, 2.5, 3)
    assert (first.median_ms, first.n, first.thrown, first.clock_mhz) == (4.0, 8, 0, None)
    assert (second.median_ms, second.n) == (2.0, 8)


def test_a_drift_of_the_machine_cancels() -> None:
    slower = (float(n) for n in range(1, 200))

    def step() -> Block:
        return block(next(slower))

    _, _, both = summary(alternate(step, step, seconds=0, now=lambda: 0.0))
    assert both.ratio == both.ratio_q1 == both.ratio_q3 == 1.0


def test_throttled_blocks_are_thrown_away_and_counted() -> None:
    slow = Round((block(2, clock=1000), block(9, clock=949)), (block(1, clock=1000), block(1, clock=951)))
    good = Round((block(2, clock=1000), block(2, clock=1000)), (block(1, clock=1000), block(1, clock=950)))
    first, second, both = summary([slow, good])
    assert (first.n, first.thrown, first.q3_ms, first.clock_mhz) == (3, 1, 2.0, 1000.0)
    assert (second.n, second.thrown) == (4, 0)
    assert (both.ratio, both.rounds) == (2.0, 1)  # the other round lost a block


def test_a_clock_that_never_holds_is_no_measurement() -> None:
    rounds = [Round((block(1, clock=1000), block(1, clock=500)), (block(1, clock=500), block(1, clock=500)))] * 5
    with pytest.raises(BenchError, match=r"none of 5 rounds stayed above 95% of its highest \(1000 MHz\)"):
        summary(rounds)


def test_throttled_rounds_are_repeated_but_not_for_ever() -> None:
    clocks: Iterator[int] = iter([1000] * 2 + [1000] + [500] * 15 + [1000] * 100)
    ticks = iter(range(100))
    rounds = alternate(
        lambda: block(1, clock=next(clocks)), lambda: block(1, clock=next(clocks)), seconds=5, now=lambda: next(ticks)
    )
    assert len(rounds) == 9  # four throttled, five steady
    assert len(turns.steady(rounds)) == 5
    ticks, odd = iter(range(100)), iter([1000, 500] * 500)

    def never() -> Block:
        return block(1, clock=next(odd))

    assert len(alternate(never, never, seconds=5, now=lambda: next(ticks))) == 15

"""Two ways to compute the same thing, timed in turns in one process: what a claim about speed rests on.

Each round has four blocks of single calls, in the order A B B A, so that a drift of the machine's speed falls on both
alike. On a GPU whose clock can be read, a block in which it ran below 95 % of the highest clock of all blocks is thrown
away, and its round has no ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.measure.timing import WARM_UP, stopwatch

STEADY = 0.95  # of the highest clock
FEWEST, AIM, MOST_CALLS = 5, 12, 100  # rounds at least, rounds that the seconds are divided by, calls to a block
PATIENCE = 3.0  # times the seconds, until enough rounds were steady


@dataclass(frozen=True)
class Block:
    """Calls timed one after the other: milliseconds of each, and the GPU's clock (MHz) at the block's slower end."""

    times: tuple[float, ...]
    clock: int | None = None


@dataclass(frozen=True)
class Round:
    """Blocks in the order first, second, second, first."""

    first: tuple[Block, Block]
    second: tuple[Block, Block]


def clock_rate(device: torch.device) -> int | None:
    """The clock of a GPU's multiprocessors in MHz; None on a CPU, and where nothing tells it."""
    if device.type != "cuda":
        return None
    try:
        return int(torch.cuda.clock_rate(device))
    except Exception:  # no nvidia-ml-py, or a driver that does not tell: each raises errors of its own
        return None


def alternate(
    first: Callable[[], Block],
    second: Callable[[], Block],
    *,
    seconds: float,
    now: Callable[[], float] = time.perf_counter,
) -> list[Round]:
    """Rounds of blocks for about ``seconds``: until then, and until 5 rounds were steady, but not for 3 times as long; 5
    rounds in any case. A block of each comes first, to warm up, and is not counted."""
    rounds = list[Round]()
    first(), second()
    began = now()
    while True:
        one, two, three, four = first(), second(), second(), first()
        rounds.append(Round((one, four), (two, three)))
        passed = now() - began
        enough = len(steady(rounds)) >= FEWEST or passed >= PATIENCE * seconds
        if len(rounds) >= FEWEST and passed >= seconds and enough:
            return rounds


def steady(rounds: Sequence[Round]) -> list[Round]:
    """The rounds of which no block is thrown away."""
    lowest = _lowest(rounds)
    return [r for r in rounds if all(_runs(block, lowest) for block in (*r.first, *r.second))]


def _lowest(rounds: Sequence[Round]) -> float:
    clocks = [block.clock for r in rounds for block in (*r.first, *r.second) if block.clock is not None]
    return STEADY * max(clocks, default=0)


def _runs(block: Block, lowest: float) -> bool:
    return block.clock is None or block.clock >= lowest


def summary(rounds: Sequence[Round]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What the rounds say of the first, of the second, and of both.

    Returns:
        For each of the two "median_ms", "q1_ms" and "q3_ms" over the single calls of its blocks that are kept, their number
        "n", how many blocks were "thrown" away, and "clock_mhz", the median clock of those kept (None where unknown). Of
        both: "ratio", the first's time over the second's, above 1 where the second is faster, as the median over the
        steady rounds, with quartiles "ratio_q1" and "ratio_q3", and "rounds", their number. The ratio of a round is that of
        the median calls of its blocks.

    Raises:
        BenchError: the clock was never steady for a whole round.
    """
    kept, lowest = steady(rounds), _lowest(rounds)
    if not kept:
        raise BenchError(
            f"the GPU must hold its clock while it is timed, but none of {len(rounds)} rounds stayed above "
            f"{STEADY:.0%} of its highest ({lowest / STEADY:.0f} MHz); cool it, or give it a fixed clock"
        )
    ratios = [_median(r.first) / _median(r.second) for r in kept]
    low, middle, high = (float(v) for v in np.percentile(ratios, (25, 50, 75)))
    both = {"ratio": middle, "ratio_q1": low, "ratio_q3": high, "rounds": len(kept)}
    one, other = (_single([b for r in rounds for b in getattr(r, name)], lowest) for name in ("first", "second"))
    return one, other, both


def _median(blocks: Sequence[Block]) -> float:
    return float(np.median([t for block in blocks for t in block.times]))


def _single(blocks: Sequence[Block], lowest: float) -> dict[str, Any]:
    kept = [block for block in blocks if _runs(block, lowest)]
    times = [t for block in kept for t in block.times]
    low, middle, high = (float(v) for v in np.percentile(times, (25, 50, 75)))
    clocks = [block.clock for block in kept if block.clock is not None]
    found = {"median_ms": middle, "q1_ms": low, "q3_ms": high, "n": len(times), "thrown": len(blocks) - len(kept)}
    return {**found, "clock_mhz": float(np.median(clocks)) if clocks else None}


def race(
    first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor], images: Tensor, *, seconds: float
) -> list[Round]:
    """Time two callables on one tensor, on its device, for about ``seconds``; each call is waited for.

    Before the rounds both are called 3 times; a block begins with a call that is not timed, as the other's data are in the
    caches.
    """
    timed, device = stopwatch(images.device), images.device
    warm = {name: [timed(call, images) for _ in range(WARM_UP)] for name, call in (("a", first), ("b", second))}
    slower = max(times[-1] for times in warm.values())
    calls = max(1, min(MOST_CALLS, round(1e3 * seconds / (4 * AIM * slower)))) if slower else MOST_CALLS

    def block(call: Callable[[Tensor], Tensor]) -> Block:
        before = clock_rate(device)
        timed(call, images)
        times = tuple(timed(call, images) for _ in range(calls))
        after = clock_rate(device)
        return Block(times, None if before is None or after is None else min(before, after))

    return alternate(lambda: block(first), lambda: block(second), seconds=seconds)

"""Times two ways to compute the same thing in turns, in one process: the basis of every claim about speed.

Each round has four blocks of single calls in the order A B B A, so that a drift of the machine's speed affects both
alike. Where a GPU's clock can be read, blocks in which it ran below 95 % of its highest value in all blocks are discarded, and
their rounds have no ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.measure.timing import WARM_UP, stopwatch

STEADY = 0.95  # of the highest clock: a block below it is discarded
FEWEST = 5  # rounds at least
AIM = 12  # rounds that should fit into the seconds; gives the calls of a block
MOST_CALLS = 100  # of a block
PATIENCE = 3.0  # times the seconds: the longest wait for enough steady rounds


@dataclass(frozen=True)
class Block:
    """Calls timed one after the other: milliseconds of each, and the lower of the GPU's clocks (MHz) before and after."""

    times: tuple[float, ...]
    clock: int | None = None


@dataclass(frozen=True)
class Round:
    """Blocks in the order first, second, second, first."""

    first: tuple[Block, Block]
    second: tuple[Block, Block]


@dataclass(frozen=True)
class Timing:
    """The single calls of one of two: median and quartiles (ms), their number ``n``, the number of discarded blocks
    (``thrown``), and the median clock (MHz) of the other blocks, None where it is unknown."""

    median_ms: float
    q1_ms: float
    q3_ms: float
    n: int
    thrown: int
    clock_mhz: float | None


@dataclass(frozen=True)
class Ratio:
    """The first's time over the second's, above 1 where the second is faster: median and quartiles over steady rounds."""

    ratio: float
    ratio_q1: float
    ratio_q3: float
    rounds: int


def clock_rate(device: torch.device) -> int | None:
    """Returns the clock of a GPU's multiprocessors in MHz; None on a CPU, and where it cannot be read."""
    if device.type != "cuda":
        return None
    try:
        return int(torch.cuda.clock_rate(device))
    except Exception:  # a missing nvidia-ml-py and an old driver raise different errors
        return None


def alternate(
    first: Callable[[], Block],
    second: Callable[[], Block],
    *,
    seconds: float,
    now: Callable[[], float] = time.perf_counter,
) -> list[Round]:
    """Measures rounds of blocks for about ``seconds``, after one warm-up block of each.

    There are at least 5 rounds. Measuring goes on until 5 rounds were steady, for at most 3 times ``seconds``.
    """
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
    """Returns the rounds of which no block is discarded."""
    lowest = _lowest(rounds)
    return [r for r in rounds if all(_is_steady(block, lowest) for block in (*r.first, *r.second))]


def _lowest(rounds: Sequence[Round]) -> float:
    clocks = [block.clock for r in rounds for block in (*r.first, *r.second) if block.clock is not None]
    return STEADY * max(clocks, default=0)


def _is_steady(block: Block, lowest: float) -> bool:
    return block.clock is None or block.clock >= lowest


def summary(rounds: Sequence[Round]) -> tuple[Timing, Timing, Ratio]:
    """Summarises rounds: the first, the second, and their ratio. A round's ratio is that of its blocks' median calls.

    Raises:
        BenchError: the clock was steady for no whole round.
    """
    kept, lowest = steady(rounds), _lowest(rounds)
    if not kept:
        raise BenchError(
            f"the GPU must hold its clock while it is timed, but none of {len(rounds)} rounds stayed above "
            f"{STEADY:.0%} of its highest ({lowest / STEADY:.0f} MHz); cool it, or give it a fixed clock"
        )
    ratios = [_median(r.first) / _median(r.second) for r in kept]
    low, middle, high = (float(v) for v in np.percentile(ratios, (25, 50, 75)))
    first = _timing([block for r in rounds for block in r.first], lowest)
    second = _timing([block for r in rounds for block in r.second], lowest)
    return first, second, Ratio(middle, low, high, len(kept))


def _median(blocks: Sequence[Block]) -> float:
    return float(np.median([t for block in blocks for t in block.times]))


def _timing(blocks: Sequence[Block], lowest: float) -> Timing:
    kept = [block for block in blocks if _is_steady(block, lowest)]
    times = [t for block in kept for t in block.times]
    low, middle, high = (float(v) for v in np.percentile(times, (25, 50, 75)))
    clocks = [block.clock for block in kept if block.clock is not None]
    clock = None
    if clocks:
        clock = float(np.median(clocks))
    return Timing(middle, low, high, len(times), len(blocks) - len(kept), clock)


def race(
    first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor], images: Tensor, *, seconds: float
) -> list[Round]:
    """Times two callables on one tensor, on its device, for about ``seconds``, with a wait after each call.

    Both are called 3 times before the rounds. Each block begins with an untimed call, because the caches hold the other's
    data.
    """
    timed, device = stopwatch(images.device), images.device
    warm = [[timed(call, images) for _ in range(WARM_UP)] for call in (first, second)]
    slower = max(times[-1] for times in warm)
    calls = MOST_CALLS
    if slower:
        calls = max(1, min(MOST_CALLS, round(1e3 * seconds / (4 * AIM * slower))))

    def block(call: Callable[[Tensor], Tensor]) -> Block:
        before = clock_rate(device)
        timed(call, images)
        times = tuple(timed(call, images) for _ in range(calls))
        after = clock_rate(device)
        if before is None or after is None:
            return Block(times)
        return Block(times, min(before, after))

    return alternate(lambda: block(first), lambda: block(second), seconds=seconds)

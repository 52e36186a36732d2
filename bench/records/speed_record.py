"""The record of a run's speed: how fast its model is beside the dense one (``runs/<id>/speed.json``, by `bench speed`)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from bench.records.part import Part, part

DENSE, PRUNED = "dense", "pruned"


@dataclass(frozen=True)
class SpeedRow(Part):
    """One setting of one of two models, which were timed in turns.

    Rows come in pairs, the "dense" model's first. The numbers of the pair are in the second row.
    """

    model: str  # "dense" or "pruned"
    batch: int
    wanted: str  # the batch as asked for: a number, or "auto" for the dense model's best
    precision: str
    mode: str  # "eager" or "compiled"
    device: str
    memory_format: str = part(default="")
    threads: int = part(default=0)
    load: float = part()  # the machine's, over the minute before
    busy: float = part()  # share of the processors that other work used just before; missing in old records
    when: float = part()  # seconds since 1970
    median_ms: float = part()  # of single calls, with their quartiles and number
    q1_ms: float = part()
    q3_ms: float = part()
    n: int = part(default=0)
    images_per_s: float = part()
    thrown: int = part(default=0)  # blocks that were left out, as the GPU's clock was low
    clock_mhz: float | None = None
    rounds: int | None = part(default=None)
    ratio: float = part()  # dense over pruned time: median over rounds, and quartiles
    ratio_q1: float = part()
    ratio_q3: float = part()


@dataclass(frozen=True)
class SpeedMissing(Part):
    """A setting that could not be measured, and why."""

    precision: str
    mode: str
    wanted: str
    device: str
    threads: int
    reason: str
    memory_format: str = part(default="")


@dataclass(frozen=True)
class Throughput(Part):
    """What one batch size came to in the search for the best one."""

    batch: int
    images_per_s: float


@dataclass(frozen=True)
class BatchSearch(Part):
    """The dense model's best batch on one device, with these threads and this precision."""

    device: str
    threads: int
    precision: str
    batch: int
    tried: tuple[Throughput, ...] = ()


@dataclass(frozen=True)
class SpeedRecord(Part):
    """All that was measured of one run's speed."""

    schema: int
    id: str
    dense: str  # the architecture that it is compared with: the model that the run names
    image_size: int
    smaller: bool  # whether the model has other shapes than the dense one; if not, nothing here is a speed-up
    rows: tuple[SpeedRow, ...] = ()
    missing: tuple[SpeedMissing, ...] = ()
    search: tuple[BatchSearch, ...] = ()
    speedup_theoretical: float = part("speedup/theoretical")

    def pairs(self) -> list[tuple[SpeedRow, SpeedRow]]:
        """The rows of the dense and of the pruned model that belong together."""
        pairs = itertools.pairwise(self.rows)
        return [(first, second) for first, second in pairs if (first.model, second.model) == (DENSE, PRUNED)]

"""What a worker is started with. Engines send it to other processes and machines, so it imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class WorkerConfig:
    """The study that a worker works on, the folders of its files, and how it computes runs; see `bench.scheduler.pool.Pool`."""

    study: str
    home: Path
    data: Path
    slots: int = 1
    gpus: tuple[str, ...] = ()
    device: str = ""
    hang_seconds: float = 900.0
    checkpoint_seconds: float = 30.0
    threads: int = 0

"""The interface of an engine, and the resources of its workers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Protocol

from bench.errors import BenchError
from bench.scheduler.worker_config import WorkerConfig


@dataclass(frozen=True)
class Resources:
    """The number of workers, and the resources of each; a worker computes one run at a time.

    Attributes:
        workers: how many.
        cpus: cores.
        gpus: GPUs; on Ray also a fraction of one.
        memory_gb: GiB; 0: not specified.
        minutes: SLURM's time limit, after which a worker queues again; 0: the partition's default.
        address: a Ray cluster ("auto", "ray://host:10001", "host:6379"); "" starts one on this machine.
        partition: of SLURM; "": the default one.
        options: further options of sbatch as key=value, such as "account=lab" or "gres=shard:2".
    """

    workers: int = 1
    cpus: float = 1
    gpus: float = 0
    memory_gb: float = 0
    minutes: int = 0
    address: str = ""
    partition: str = ""
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise BenchError(f"a cluster needs one worker at least, but got {self.workers}; raise --workers")
        for name in ("cpus", "gpus", "memory_gb", "minutes"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise BenchError(
                    f"a worker's resources cannot be negative, but {name} is {value}; leave it out or raise it"
                )
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise BenchError(f"a worker gets a part of one GPU or whole ones, but got {self.gpus}; round it")
        for option in self.options:
            if not re.fullmatch(r"[a-z][a-z0-9-]*=[^\r\n]*", option):
                raise BenchError(f"options for sbatch are written key=value, but got {option!r}; write account=lab")

    @property
    def wants_gpus(self) -> bool:
        """Whether a worker is to see a GPU, by ``gpus`` or by an option of sbatch."""
        return self.gpus > 0 or any(option.startswith(("gpus", "gres")) for option in self.options)


class Engine(Protocol):
    """Keeps the workers of a study running."""

    def start(self, config: WorkerConfig) -> None:
        """Start the workers, without waiting for them.

        Raises:
            BenchError: there is no such cluster here, or it refuses the resources.
        """

    def tend(self) -> list[str]:
        """Start lost workers again; returns lines for the user. Call it about once per second.

        Raises:
            BenchError: no worker can work any more, with the last reason.
        """

    def alive(self) -> int:
        """The number of workers that run or wait in a queue."""

    def stop(self) -> None:
        """Ask all workers to write their checkpoints and end, and wait for a limited time; may be called twice."""

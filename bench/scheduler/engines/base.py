"""What every engine is: it keeps a study's workers going, with the resources that each of them gets."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.scheduler.worker import WorkerConfig

NAMES = ("ray", "slurm")


@dataclass(frozen=True)
class Resources:
    """How many workers, and what each of them gets; a worker computes one run at a time.

    ``gpus`` may be a fraction on Ray. ``memory_gb`` in GiB, 0: not said. ``minutes`` is SLURM's time limit, after which a
    worker queues again; 0: the partition's own. ``address`` is a Ray cluster ("auto", "ray://host:10001", "host:6379"), ""
    starts one here. ``options`` are further ones of sbatch as key=value, such as "account=lab" or "gres=shard:2".
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
                    f"what a worker gets cannot be negative, but {name} is {value}; leave it out or raise it"
                )
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise BenchError(f"a worker gets a part of one GPU or whole ones, but got {self.gpus}; round it")
        for option in self.options:
            if not re.fullmatch(r"[a-z][a-z0-9-]*=[^\r\n]*", option):
                raise BenchError(f"options for sbatch are written key=value, but got {option!r}; write account=lab")

    @property
    def wants_gpus(self) -> bool:
        """Whether a worker is to see a GPU, by its number or by an option of sbatch."""
        return self.gpus > 0 or any(option.startswith(("gpus", "gres")) for option in self.options)


class Engine(Protocol):
    """Keeps the workers of one order going."""

    def start(self, config: WorkerConfig) -> None:
        """Start the workers; returns at once.

        Raises:
            BenchError: there is no such cluster here, or it refuses the resources.
        """

    def tend(self) -> list[str]:
        """Look after the workers, to be called every second or so: lost ones are started again. Returns lines for the user.

        Raises:
            BenchError: no worker can work any more, with the last reason.
        """

    def alive(self) -> int:
        """How many workers run or queue."""

    def stop(self) -> None:
        """Ask all workers to write their checkpoints and end, and wait a little; may be called twice."""

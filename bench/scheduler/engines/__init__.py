"""Engines: who starts the workers of a study, and with which resources. Nothing else differs from one machine.

A worker is `bench.scheduler.worker.serve`: it claims tasks on the storage that all workers share until nothing is left. So an engine knows
nothing of trials: it keeps workers going, starts lost ones again, and asks them to stop. What was begun under one engine goes
on under another.
"""

from __future__ import annotations

from bench.errors import one_of
from bench.scheduler.engines.base import NAMES, Engine, Wish

__all__ = ["NAMES", "Engine", "Wish", "engine"]


def engine(name: str, wish: Wish) -> Engine:
    """The engine of a name, "ray" or "slurm".

    Raises:
        BenchError: an unknown name, a package that is not installed, or a wish that this engine cannot grant.
    """
    if name == "ray":
        from bench.scheduler.engines.ray import require
        from bench.scheduler.engines.ray_process import Aside

        require()
        return Aside(wish)
    if name == "slurm":
        from bench.scheduler.engines.slurm import Slurm

        return Slurm(wish)
    raise one_of("engine", name, NAMES)

"""Engines: who starts the workers of a study, and with which resources. Nothing else differs from one machine.

A worker is `bench.scheduler.worker.serve`: it claims tasks on the storage that all workers share until nothing is
left. So an engine knows
nothing of trials: it keeps workers going, starts lost ones again, and asks them to stop. What was begun under one engine goes
on under another.
"""

from __future__ import annotations

from bench.errors import one_of
from bench.scheduler.engines.base import NAMES, Engine, Resources

__all__ = ["NAMES", "Engine", "Resources", "engine"]


def engine(name: str, resources: Resources) -> Engine:
    """The engine of a name, "ray" or "slurm".

    Raises:
        BenchError: an unknown name, a package that is not installed, or resources that this engine cannot give.
    """
    if name == "ray":
        from bench.scheduler.engines.ray import require
        from bench.scheduler.engines.ray_process import Aside

        require()
        return Aside(resources)
    if name == "slurm":
        from bench.scheduler.engines.slurm import Slurm

        return Slurm(resources)
    raise one_of("engine", name, NAMES)

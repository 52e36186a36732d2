"""Engines: they start the workers of a study on a cluster, with the resources of each worker.

A worker is `bench.scheduler.worker.serve`: it leases jobs on the storage that all workers share, until no job is left. So an
engine knows nothing of trials: it starts workers, starts lost ones again, and asks them to stop. A study that was begun under
one engine can continue under another.

To add an engine, write a module with a class that follows `Engine` and takes `Resources` (`bench.scheduler.engines.fleet.Fleet`
does most of the work), and add its line to `ENGINES`.
"""

from __future__ import annotations

from importlib import import_module

from bench.errors import one_of
from bench.scheduler.engines.base import Engine, Resources

__all__ = ["ENGINES", "Engine", "Resources", "engine"]

ENGINES = {
    "ray": "bench.scheduler.engines.ray_process:RayEngine",
    "slurm": "bench.scheduler.engines.slurm:Slurm",
}
"""Names and classes of the engines; a module is imported when its engine is asked for, as its package may not be installed."""


def engine(name: str, resources: Resources) -> Engine:
    """The engine with a name of `ENGINES`.

    Raises:
        BenchError: an unknown name, a package that is not installed, or resources that this engine cannot provide.
    """
    if name not in ENGINES:
        raise one_of("engine", name, ENGINES)
    module, _, class_name = ENGINES[name].partition(":")
    found: Engine = getattr(import_module(module), class_name)(resources)
    return found

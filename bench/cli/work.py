"""Workers on the command line: `bench work`, and the options of the commands that have others start them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from bench.scheduler.engines.base import Engine

On = Annotated[
    str, typer.Option(help="who starts workers: local (this process), ray or slurm", rich_help_panel="Workers")
]
Workers = Annotated[
    int, typer.Option(min=1, help="on ray and slurm: how many, one run each", rich_help_panel="Workers")
]
Cpus = Annotated[float, typer.Option(min=0, help="cores of each worker", rich_help_panel="Workers")]
GpusEach = Annotated[
    float,
    typer.Option(
        min=0,
        help="GPUs of each worker; ray: also a part of one, such as 0.5; slurm: whole ones, shared by --sbatch gres=shard:N",
        rich_help_panel="Workers",
    ),
]
Memory = Annotated[float, typer.Option(min=0, help="GiB of each worker; 0: not said", rich_help_panel="Workers")]
Minutes = Annotated[
    int,
    typer.Option(min=0, help="slurm: a worker's time limit, after which it queues again", rich_help_panel="Workers"),
]
Address = Annotated[
    str,
    typer.Option(help="a Ray cluster: auto, HOST:PORT or ray://HOST:10001; none: one here", rich_help_panel="Workers"),
]
Sbatch = Annotated[
    list[str] | None,
    typer.Option(help="slurm: further options as key=value, such as partition=gpu", rich_help_panel="Workers"),
]


def engine_of(
    on: str,
    *,
    workers: int,
    cpus: float,
    gpus_each: float,
    memory: float,
    minutes: int,
    ray_address: str,
    sbatch: list[str] | None,
) -> Engine | None:
    """The engine that the options ask for; None where the process itself is the worker.

    Raises:
        BenchError: an unknown engine, one that is not installed, or resources that it cannot give.
    """
    if on == "local":
        return None
    from bench.scheduler import engines

    options = dict(option.partition("=")[::2] for option in sbatch or ())
    partition = options.pop("partition", "")
    left = tuple(f"{key}={value}" for key, value in options.items())
    return engines.engine(
        on, engines.Resources(workers, cpus, gpus_each, memory, minutes, ray_address, partition, left)
    )


def work(
    study: Annotated[str, typer.Argument(help="a study that was begun, by its whole name (`bench list begun`)")],
    jobs: Annotated[int, typer.Option(min=0, help="runs side by side; 0: one per GPU given, else one per core")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "",
    gpus: Annotated[str, typer.Option(help="GPUs to deal out to the runs, such as 0,1")] = "",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of each run; 0: its share of the cores")] = 0,
    hang_after: Annotated[float, typer.Option(min=1, help="seconds without a step after which a run hangs")] = 900.0,
    checkpoint_every: Annotated[float, typer.Option(min=0, help="seconds between two checkpoints")] = 30.0,
) -> None:
    """Help with a study that was begun: claim its tasks, compute them and tell, until nothing is left.

    The storage is $BENCH_OPTUNA's, records go to $BENCH_HOME (or $BENCH_STORE). Workers may join, leave and die at any time.
    """
    from bench.cli import options
    from bench.records.home import Home
    from bench.scheduler.worker import WorkerConfig, serve

    home, console = Home(), Console(highlight=False)
    dealt = tuple(part for part in gpus.split(",") if part)
    config = WorkerConfig(
        study,
        home.path,
        home.data,
        jobs or options.default_jobs(dealt),
        dealt,
        device,
        hang_after,
        checkpoint_every,
        threads,
    )
    told = serve(config, lambda line: console.print(line, markup=False, soft_wrap=True))
    console.print(f"{told} tasks told; nothing is left for this worker")

"""The command `bench compare`: one frozen study of several methods, with its baselines."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from bench.cli import work


def compare(
    methods: Annotated[str | None, typer.Argument(help="methods, with commas; none: the study's")] = None,
    settings: Annotated[list[str] | None, typer.Argument(help="key=value, METHOD.key=value, dense.key=value")] = None,
    study: Annotated[str, typer.Option(help="the question: see `bench list studies`")] = "compare",
    task: Annotated[str, typer.Option(help="data set: see `bench list tasks`, or folder:PATH")] = "",
    models: Annotated[str, typer.Option(help="architectures, with commas")] = "",
    targets: Annotated[str, typer.Option(help="budgets, as shares to remove, with commas")] = "",
    trials: Annotated[
        int, typer.Option(min=0, help="tuned configurations per cell, the same for all; 0: the study's")
    ] = 0,
    final_seeds: Annotated[str, typer.Option(help="seeds of the finals, with commas")] = "",
    dense_seeds: Annotated[str, typer.Option(help="seeds of the dense models, to cross with the finals'")] = "",
    sampler: Annotated[str, typer.Option(help="tpe (default), random or qmc (quasi-random)")] = "",
    seed: Annotated[int | None, typer.Option(min=0, help="of the tuning; default 0")] = None,
    recoveries: Annotated[str, typer.Option(help="an axis, with commas: none, finetune, lr, weights")] = "",
    sanity: Annotated[str, typer.Option(help="checks on request, with commas: shuffled, reinit, scratch")] = "",
    smoke: Annotated[bool, typer.Option("--smoke", help="the study's small size: about a minute")] = False,
    jobs: Annotated[int, typer.Option(min=0, help="runs side by side; 0: one per GPU given, else one per core")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "",
    gpus: Annotated[str, typer.Option(help="GPUs to deal out to the runs, such as 0,1")] = "",
    track: Annotated[bool, typer.Option(help="show everything in MLflow while it goes on")] = True,
    report: Annotated[bool, typer.Option(help="make the report at the end")] = True,
    dry_run: Annotated[bool, typer.Option(help="print the plan with its cost, and stop")] = False,
    hang_after: Annotated[float, typer.Option(min=1, help="seconds without a step after which a run hangs")] = 900.0,
    checkpoint_every: Annotated[float, typer.Option(min=0, help="seconds between two checkpoints")] = 30.0,
    on: work.On = "local",
    workers: work.Workers = 1,
    cpus: work.Cpus = 1,
    gpus_each: work.GpusEach = 0,
    memory: work.Memory = 0,
    minutes: work.Minutes = 0,
    ray_address: work.Address = "",
    sbatch: work.Sbatch = None,
) -> None:
    """Compare methods fairly: one frozen study, equal steps and trials, paired seeds, baselines unasked, a ledger.

    The plan is printed with its cost first. Killed and started again, it goes on where it stopped.
    """
    from bench.cli import commands, options  # here, because torch takes seconds to import
    from bench.study import controls
    from bench.study import dry_run as probe

    if methods and "=" in methods:  # no method: the first word is a setting
        settings, methods = [methods, *(settings or [])], None
    texts = {"task": task, "trials": trials, "sampler": sampler}
    changes: dict[str, Any] = {"settings": tuple(settings or ()), **{k: v for k, v in texts.items() if v}}
    changes |= {"seed": seed} if seed is not None else {}
    changes |= {"models": options.split_models(models)} if models else {}
    changes |= {"targets": options.numbers(targets, float, "targets")} if targets else {}
    changes |= {"final_seeds": options.numbers(final_seeds, int, "final-seeds")} if final_seeds else {}
    changes |= {"dense_seeds": options.numbers(dense_seeds, int, "dense-seeds")} if dense_seeds else {}
    changes |= {"recoveries": tuple(recoveries.split(","))} if recoveries else {}
    changes |= {"derived": controls.wanted(sanity.split(","))} if sanity else {}
    declared = commands.declare(study, tuple(methods.split(",")) if methods else (), changes, smoke=smoke)
    console, dealt = Console(highlight=False), tuple(part for part in gpus.split(",") if part)
    side = jobs or options.default_jobs(dealt)
    if dry_run or not commands.begun(declared):
        probe.plan(console, declared, device, side)
    if dry_run:
        return
    engine = work.engine_of(
        on,
        workers=workers,
        cpus=cpus,
        gpus_each=gpus_each,
        memory=memory,
        minutes=minutes,
        ray_address=ray_address,
        sbatch=sbatch,
    )
    commands.conduct(
        console,
        declared,
        engine=engine,
        device=device,
        jobs=side,
        gpus=dealt,
        track=track,
        report=report,
        hang_seconds=hang_after,
        checkpoint_seconds=checkpoint_every,
    )

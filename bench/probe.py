"""What a run or a study would cost, from a few real steps."""

from __future__ import annotations

import contextlib
import itertools
import time
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import execute, machine, tasks
from bench.errors import BenchError
from bench.loop import Stopped, train
from bench.place import Place
from bench.spec import Run
from bench.study import Study

STEPS = 8


def step_seconds(run: Run, place: Place) -> tuple[int, float]:
    """Steps that a run takes, and the median seconds of one, from `STEPS` steps after two to warm up."""
    device = machine.resolve_device(run.device)
    _, model, size, _ = execute.prepare(run, place)
    task = tasks.load(run.task, data=place.data, cache=place.cache, device=device, workers=run.workers)
    job = execute.training(run, model, task, size, device)
    steps, times = job.steps, list[float]()

    def note(*_: object) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter())

    job.steps, job.observers = min(steps, STEPS + 2), [note]
    job.recovery = None  # its steps cost no more than the method's, which needs all of these few
    job.stop = lambda: len(times) >= job.steps
    with contextlib.suppress(Stopped):
        train(job)
    gaps = sorted(b - a for a, b in itertools.pairwise(times[1:])) or [0.0]
    return steps, gaps[len(gaps) // 2]


def plan(console: Console, study: Study, device: str, jobs: int) -> None:
    """Print what a study would run and, from a few probe steps of each method and model, what that would cost."""
    place, total, probed = Place(), 0.0, dict[tuple[Any, ...], tuple[int, float]]()
    table = Table("cell", "trials", "finals", "steps each", "ms a step", "hours", title=f"plan of {study.name}")
    table.columns[0].overflow = "fold"
    info, listed = tasks.info(study.task, place.data), set[str]()
    for cell in study.cells():
        one = replace(cell.run({}, study.seed), device=device or "auto")
        if study.kind == "grid" and one.id in listed:
            table.add_row(escape(cell.key), *"00", "", "", "as above")
            continue
        listed.add(one.id)
        finals = len(study.final_seeds) * (study.finals if study.kind == "pareto" else 1)
        try:
            built, size = execute.architecture(one, info)
            kind = (cell.method, built, size, one.recipe, one.epochs)  # nothing else that a cell sets changes the cost
            if kind not in probed:
                with console.status(f"a few steps of {cell.method} on {built}"):
                    probed[kind] = step_seconds(one, place)
        except BenchError as error:
            if not study.lenient:
                raise
            table.add_row(escape(cell.key), str(cell.trials), str(finals), "", "", escape(f"fails: {error}"))
            continue
        steps, seconds = probed[kind]
        hours = (cell.trials + finals) * steps * seconds / jobs / 3600
        total += hours
        shown = (cell.trials, finals, steps, f"{1000 * seconds:.1f}", f"{hours:.3f}")
        table.add_row(escape(cell.key), *map(str, shown))
    console.print(table)
    ours = [control for control in study.controls if control not in study.methods]
    controls = len(ours) * len(study.models) * len(study.final_seeds)
    console.print(
        f"{total:.2f} hours of training for these with {jobs} side by side, and {controls} runs of controls; evaluation, "
        "start-up and pruning come on top"
    )

"""What a run or a study would cost, from a few real steps."""

from __future__ import annotations

import contextlib
import itertools
import time
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import environment, tasks
from bench.errors import BenchError
from bench.records.home import Home
from bench.run import Run
from bench.study.cell import Cell
from bench.study.study import Study
from bench.training import execute
from bench.training.loop import Stopped, Training, train

STEPS = 8


def step_seconds(run: Run, home: Home) -> tuple[int, float]:
    """Steps that a run takes, and the median seconds of one, from `STEPS` steps after two to warm up."""
    device = environment.resolve_device(run.device)
    _, model, size, _ = execute.prepare(run, home)
    task = tasks.load(run.task, data=home.data, cache=home.cache, device=device, workers=run.workers)
    setup, times = execute.setup(run, task, size, device), list[float]()

    def planned(*_: object) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter())

    few = min(setup.steps, STEPS + 2)
    short = replace(
        setup,
        steps=few,
        observers=[planned],
        recovery=None,  # its steps cost no more than the method's, which needs all of these few
        stop=lambda: len(times) >= few,
    )
    with contextlib.suppress(Stopped):
        train(Training(short, model))
    gaps = sorted(b - a for a, b in itertools.pairwise(times[1:])) or [0.0]
    return setup.steps, gaps[len(gaps) // 2]


@dataclass
class Plan:
    """What a study would run, its hours, and its runs; what is probed once is known for all that cost the same.

    ``rows`` are those of its table: what they say, and the targets of the cells that they say it of.
    """

    study: Study
    jobs: int
    device: str
    console: Console
    rows: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    hours: float = 0.0
    runs: int = 0
    home: Home = field(default_factory=Home)
    probed: dict[tuple[Any, ...], tuple[int, float]] = field(default_factory=dict)

    def add(self, name: str, run: Run, trials: int, finals: int) -> None:
        """A row: ``trials`` and ``finals`` runs like this one."""
        one = replace(run, device=self.device or "auto")
        info = tasks.info(self.study.task, self.home.data)
        try:
            built, size = execute.architecture(one, info)
            # nothing else that a cell sets changes the cost of a step
            kind = (one.method.name, built, size, one.recipe, one.epochs)
            if kind not in self.probed:
                with self.console.status(f"a few steps of {one.method.name} on {built}"):
                    self.probed[kind] = step_seconds(one, self.home)
        except BenchError as error:
            if not self.study.lenient:
                raise
            self.say(name, trials, finals, "", "", f"fails: {error}")
            return
        steps, seconds = self.probed[kind]
        hours = (trials + finals) * steps * seconds / self.jobs / 3600
        self.hours, self.runs = self.hours + hours, self.runs + trials + finals
        self.say(name, trials, finals, steps, f"{1000 * seconds:.1f}", f"{hours:.3f}")

    def say(self, name: str, *what: object) -> None:
        """A row of the table; a ladder's cells that cost the same are told together."""
        cell, _, target = name.partition("@")
        self.rows.setdefault((cell, *map(str, what)), []).extend([target] if target else [])

    def table(self) -> Table:
        """All rows; their numbers are those of one cell each."""
        found = Table(
            "cell", "trials", "finals", "steps each", "ms a step", "hours", title=f"plan of {self.study.name}"
        )
        found.columns[0].overflow = "fold"
        for (cell, *what), targets in self.rows.items():
            found.add_row(*map(escape, (f"{cell}{' @' if targets else ''}{', '.join(targets)}", *what)))
        several = any(len(targets) > 1 for targets in self.rows.values())
        found.caption = "one row for targets that cost the same; its numbers are of each" if several else None
        return found


def plan(console: Console, study: Study, device: str, jobs: int) -> None:
    """Print what a study would run and, from a few probe steps of each method and model, what that would cost."""
    made, listed, seeds = Plan(study, jobs, device, console), set[str](), len(study.pairs)
    tuned = any(cell.trials for cell in study.cells())
    for model in study.models if study.dense is not None else ():
        dense = len({dense for dense, _ in study.pairs})
        made.add(f"{study.controls[0]}/{model}, to start from", study.dense_run(model, study.seed), int(tuned), dense)
    for cell in study.cells():
        one = cell.run({}, study.seed)
        if study.kind.repeats_runs and one.id in listed:
            made.say(cell.key, 0, 0, "", "", "as above")
            continue
        listed.add(one.id)
        made.add(cell.key, one, cell.trials, seeds * study.kind.finals(study.finals))
    for cell in study.baseline_cells():
        made.add(cell.key, cell.run({}, study.seed), 0, seeds)
    console.print(made.table())
    _print_rest(made)


def _print_rest(made: Plan) -> None:
    study, console = made.study, made.console
    console.print(
        f"{made.runs} runs, {made.hours:.2f} hours of training for these with {made.jobs} side by side; evaluation, start-up "
        "and pruning come on top",
        soft_wrap=True,
    )
    if study.dense is None and (ours := [control for control in study.controls if control not in study.methods]):
        controls = len(ours) * len(study.models) * len(study.final_seeds)
        console.print(f"{controls} runs of controls come on top too")
    if study.derived:
        finals = len(study.cells()) * len(study.pairs) * study.kind.finals(study.finals)
        console.print(
            f"{', '.join(study.derived)}: up to {finals} runs each, one to each final that has a shape for it",
            soft_wrap=True,
        )
    if study.dense is not None:
        charges: dict[str, list[str]] = {}
        for name, cells in itertools.groupby(study.cells(), key=lambda cell: cell.method):
            charges.setdefault(_charge(study, list(cells)), []).append(name)
        for charge, names in charges.items():
            console.print(f"ledger: {', '.join(names)}: {charge}", soft_wrap=True)


def _charge(study: Study, cells: list[Cell]) -> str:
    """What the ledger is expected to charge a method with."""
    one = cells[0].run({}, study.seed)
    begun = 0.0 if cells[0].own_start else study.dense_run(cells[0].model, study.seed).epochs
    trials, finals = sum(cell.trials for cell in cells), len(cells) * len(study.pairs)
    return (
        f"each {begun:g} + {one.epochs:g} epochs a run (dense start + own), in {finals} finals and {trials} trials "
        f"{(finals + trials) * (begun + one.epochs):g} epochs in all"
    )

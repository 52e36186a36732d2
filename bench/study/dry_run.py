"""The plan of a study and its cost, estimated from a few real steps of each method on each model."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
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
from bench.training import data, execute
from bench.training.loop import Stopped, Training, train
from bench.training.sizing import sized

STEPS = 8
"""Timed steps; two more before them are not timed."""


def step_seconds(run: Run, home: Home) -> tuple[int, float]:
    """Returns how many steps a run takes, and the median duration of a step in seconds, from `STEPS` real steps."""
    device = environment.resolve_device(run.device)
    info, model, size, _ = execute.prepare(run, home)
    run = sized(run, info, size)
    task = data.load(run, home, device, whose="")
    setup, times = execute.setup(run, task, size, device), list[float]()

    def note_time(*_: object) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter())

    few = min(setup.steps, STEPS + 2)
    short = replace(
        setup,
        steps=few,
        observers=[note_time],
        recovery=None,  # its steps cost no more than the method's, which needs all of these few
        stop=lambda: len(times) >= few,
    )
    with contextlib.suppress(Stopped):
        train(Training(short, model))
    gaps = sorted(b - a for a, b in itertools.pairwise(times[1:])) or [0.0]
    return setup.steps, gaps[len(gaps) // 2]


@dataclass(frozen=True)
class Row:
    """A row of the plan's table, without its cell's target."""

    cell: str
    trials: int
    finals: int
    steps: str = ""
    milliseconds: str = ""
    hours: str = ""


@dataclass
class CostPlan:
    """The runs of a study, with what they cost. Runs that cost the same are timed once.

    Attributes:
        rows: the rows of the table; to each the targets of the cells that it stands for.
        hours, runs: in all.
        timed: steps of a run and seconds of a step, by all that changes the cost of a step.
    """

    study: Study
    jobs: int
    device: str
    console: Console
    rows: dict[Row, list[str]] = field(default_factory=dict)
    hours: float = 0.0
    runs: int = 0
    home: Home = field(default_factory=Home)
    timed: dict[tuple[Any, ...], tuple[int, float]] = field(default_factory=dict)

    def add(self, name: str, run: Run, trials: int, finals: int) -> None:
        """Adds ``trials`` and ``finals`` runs like this one.

        Raises:
            BenchError: the run cannot be carried out, in a study that is not lenient.
        """
        try:
            steps, seconds = self._time(replace(run, device=self.device or "auto"))
        except BenchError as error:
            if not self.study.lenient:
                raise
            self._show(name, Row("", trials, finals, hours=f"fails: {error}"))
            return
        count = trials + finals
        hours = count * steps * seconds / self.jobs / 3600
        self.hours += hours
        self.runs += count
        self._show(name, Row("", trials, finals, str(steps), f"{1000 * seconds:.1f}", f"{hours:.3f}"))

    def add_repeated(self, name: str) -> None:
        """Adds a cell whose runs are those of a cell above."""
        self._show(name, Row("", 0, 0, hours="as above"))

    def _time(self, run: Run) -> tuple[int, float]:
        built, size = execute.architecture(run, tasks.info(self.study.task, self.home.data))
        kind = (run.method.name, built, size, run.recipe, run.epochs)
        if kind not in self.timed:
            with self.console.status(f"a few steps of {run.method.name} on {built}"):
                self.timed[kind] = step_seconds(run, self.home)
        return self.timed[kind]

    def _show(self, name: str, row: Row) -> None:
        """Adds a row. A ladder's cells that cost the same have one row."""
        cell, _, target = name.partition("@")
        targets = self.rows.setdefault(replace(row, cell=cell), [])
        if target:
            targets.append(target)

    def table(self) -> Table:
        """Returns the table; the numbers of a row are those of each of its cells."""
        found = Table(
            "cell", "trials", "finals", "steps each", "ms a step", "hours", title=f"plan of {self.study.name}"
        )
        found.columns[0].overflow = "fold"
        for row, targets in self.rows.items():
            cell = f"{row.cell} @{', '.join(targets)}" if targets else row.cell
            cells = (cell, str(row.trials), str(row.finals), row.steps, row.milliseconds, row.hours)
            found.add_row(*map(escape, cells))
        if any(len(targets) > 1 for targets in self.rows.values()):
            found.caption = "one row for targets that cost the same; its numbers are of each"
        return found


def plan(console: Console, study: Study, device: str, jobs: int) -> None:
    """Prints the runs of a study and their cost, with ``jobs`` runs side by side."""
    made = cost_plan(console, study, device, jobs)
    console.print(made.table())
    for line in _summary(made):
        console.print(line, soft_wrap=True)


def cost_plan(console: Console, study: Study, device: str, jobs: int) -> CostPlan:
    """Returns the plan of a study, after a few steps of each method on each model."""
    made, listed, repetitions = CostPlan(study, jobs, device, console), set[str](), len(study.pairs)
    cells = study.cells()
    if study.dense is not None:
        tuned = bool(study.tuned_cells())
        dense_seeds = len({dense for dense, _ in study.pairs})
        for model in study.models:
            name, run = f"{study.controls[0]}/{model}, to start from", study.dense_run(model, study.seed)
            made.add(name, run, int(tuned), dense_seeds)
    for cell in cells:
        run = cell.run({}, study.seed)
        if study.kind.repeats_runs and run.id in listed:
            made.add_repeated(cell.key)
            continue
        listed.add(run.id)
        made.add(cell.key, run, cell.trials, repetitions * study.kind.finals(study.finals))
    for cell in study.baseline_cells():
        made.add(cell.key, cell.run({}, study.seed), cell.trials, repetitions)
    return made


def _summary(made: CostPlan) -> Iterator[str]:
    """The sums, and the runs that the table does not have."""
    study = made.study
    yield (
        f"{made.runs} runs, {made.hours:.2f} hours of training with {made.jobs} side by side; evaluation, start-up and pruning "
        "take time besides"
    )
    controls = [control for control in study.controls if control not in study.methods]
    if study.dense is None and controls:
        yield f"besides, {len(controls) * len(study.models) * len(study.final_seeds)} runs of controls"
    if study.derived:
        finals = len(study.cells()) * len(study.pairs) * study.kind.finals(study.finals)
        yield f"{', '.join(study.derived)}: up to {finals} runs each, one to each final that has a shape for it"
    if study.dense is not None:
        yield from _ledger(study)


def _ledger(study: Study) -> Iterator[str]:
    """What the ledger will charge the methods with, in one line for all that cost the same."""
    charges: dict[str, list[str]] = {}
    for name, cells in itertools.groupby(study.cells(), key=lambda cell: cell.method):
        charges.setdefault(_charge(study, list(cells)), []).append(name)
    for charge, names in charges.items():
        yield f"ledger: {', '.join(names)}: {charge}"


def _charge(study: Study, cells: list[Cell]) -> str:
    own, dense = cells[0].run({}, study.seed).epochs, 0.0
    if not cells[0].own_start:
        dense = study.dense_run(cells[0].model, study.seed).epochs
    trials, finals = sum(cell.trials for cell in cells), len(cells) * len(study.pairs)
    return (
        f"each {dense:g} + {own:g} epochs a run (dense start + own), in {finals} finals and {trials} trials "
        f"{(finals + trials) * (dense + own):g} epochs in all"
    )

"""From the options of `bench study` and `bench compare` to a study, and its computing until its report is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from bench import registry, tracking
from bench.cli import preparing, reporting
from bench.cli.options import Execution
from bench.cli.terminal import console
from bench.deploy import speed, speed_record
from bench.errors import BenchError
from bench.records.home import Home
from bench.records.starting_weights import danger
from bench.records.study_record import FINAL, Entry
from bench.scheduler.coordinator import Coordinator, Result
from bench.scheduler.pool import Pool
from bench.scheduler.progress import Display
from bench.study.study import Study
from bench.training.start import known

if TYPE_CHECKING:
    from bench.scheduler.engines.base import Engine

TUNING = ("targets", "trials", "finals", "cost", "sampler", "seed")
"""Options that a grid does not have: it tunes nothing, and has no targets of a ladder."""


def declare(name: str, methods: tuple[str, ...], changes: dict[str, Any], *, smoke: bool = False) -> Study:
    """The study ``name`` of methods (none: its own), with the changes of the command line.

    Raises:
        BenchError: a method, an option or a setting cannot work, or a cell cannot be built.
    """
    for method in methods:
        registry.load(registry.METHODS, method)
    declared: Study = registry.load(registry.STUDIES, name).study(methods, smoke=smoke, **changes)
    useless = [key for key in changes if key in TUNING]
    if not declared.targets and "targets" in useless:  # the study made its variants of them
        useless.remove("targets")
    if not declared.kind.tuned and useless:
        raise BenchError(f"{name} runs given variants and tunes nothing, but --{useless[0]} was given; leave it out")
    home = Home()
    if declared.compares and not declared.unsafe_start:
        _refuse_unsafe_starts(declared, home)
    _refuse_unworkable(declared, home)
    return replace(declared, data=preparing.images_of(declared.task, home))


def begun(study: Study) -> bool:
    """Whether a study was started before."""
    return study.name in Home().records.studies()


def _refuse_unsafe_starts(study: Study, home: Home) -> None:
    """Refuse a comparison of runs whose starting weights may have seen the images that the runs are compared with."""
    cells = [cell for cell in (*study.cells(), *study.baseline_cells()) if study.dense is None or cell.own_start]
    runs = [cell.run({}, study.seed) for cell in cells]
    if study.dense is not None:
        runs += [study.dense_run(model, study.seed) for model in study.models]
    for run in runs:
        found = danger(known(run, home.records), run.task)
        if found:
            raise BenchError(
                f"starting weights in a comparison must have seen training images only, but start={run.start} may not: "
                f"{found}; "
                "train them here (start=run:ID), or mark every number with --unsafe-start"
            )


def _refuse_unworkable(study: Study, home: Home) -> None:
    """Refuse a study with a cell that cannot work; a lenient study only if no cell can."""
    cells, refused = [*study.cells(), *study.baseline_cells()], list[BenchError]()
    for cell in cells:
        _, run = cell.space, cell.run({}, study.seed)  # the space checks itself
        try:
            preparing.refuse_unworkable(run, home)
        except BenchError as error:
            if not study.lenient:
                raise
            refused.append(error)
    if len(refused) == len(cells):
        raise BenchError(f"a study needs a model that can be built, but none of {len(cells)} can: {refused[0]}")


def compute(study: Study, execution: Execution, engine: Engine | None = None) -> None:
    """Compute a study, make its report, and print where the results are; ``engine`` starts the workers, if any."""
    home, device = Home(), execution.device
    console.print(f"study [bold]{escape(study.name)}[/]: {escape(study.question)}", soft_wrap=True)
    cells = study.cells()
    digest = preparing.decode_once(replace(cells[0].run({}, study.seed), device=device or "auto"), home)
    trials = sum(cell.trials for cell in study.tuned_cells())
    following = preparing.mirror(home, study.name, track=execution.track)
    with following as mirror, Display(console, total=trials) as display:
        pool = Pool(
            home,
            execution.job_count,
            execution.gpu_ids,
            execution.hang_after,
            execution.checkpoint_every,
            watch=display,
            device=device,
            digest=digest,
        )
        result = Coordinator(study, home, pool, display.expect, display.say, engine).run()
    if study.speed:  # only now, because other runs would disturb the timing
        request = speed_record.SpeedRequest(modes=study.speed, device=device or "auto")
        speed.measure(console, home, speed.of_study(home, study.name), request)
        if mirror is not None:
            mirror.catch_up()
    page = reporting.make_report(()) if execution.report else None
    if mirror is not None and page is not None:
        mirror.report(page.parent)
    _print_result(home, study, result, page, mirror)


def _print_result(home: Home, study: Study, result: Result, page: Path | None, mirror: tracking.Mirror | None) -> None:
    if not result.computed:
        console.print("everything was computed before; nothing was run again")
    for reason, count in result.failures.items():
        console.print(f"[red]{count} failed: {escape(reason)}[/]", soft_wrap=True)
    if not study.kind.tuned:
        console.print(_variants(home, study))
    for key, trials in result.chosen.items():
        for trial in trials:
            console.print(f"best of {escape(key)}: {_chosen(study, trial)}", soft_wrap=True)
    if mirror is not None and mirror.where:
        address = f"http://127.0.0.1:5000/#/experiments/{mirror.where[0]}/runs"
        console.print(f"MLflow UI: make ui, then {address}", soft_wrap=True)
    if result.chosen:
        console.print(f"best configurations: {home.path / 'studies' / study.name / 'best.json'}", soft_wrap=True)
    if page is not None:
        console.print(f"report: {page}", soft_wrap=True)


def _chosen(study: Study, trial: Entry) -> str:
    """A chosen trial on one line: its number, its values and its parameters."""
    assert trial.values is not None  # it was finished
    accuracy, *costs = trial.values
    values = f"{accuracy:.2f} % validation"
    if costs:
        values += f" at {100 * costs[0]:.2f} % {study.cost.replace('_', ' ')}"
    params = [
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in trial.params.items()
    ]
    return f"trial {trial.number}, {values}: {escape(' '.join(params))}"


def _variants(home: Home, study: Study) -> Table:
    """Means over the seeds for each variant of a grid; the report has the intervals."""
    table = Table("cell", "seeds", "test top-1 %", "sparsity %", title="variants")
    table.columns[0].overflow = "fold"
    entries = [e for e in home.records.entries(study.name) if e.kind == FINAL and e.finished]
    for cell in study.cells():
        records = [home.records.record(e.run) for e in entries if e.cell == cell.key]
        metrics = [record.metrics for record in records if record is not None]
        shown = ("failed", "")
        if metrics:
            accuracy, sparsity = fmean(m.test_top1 for m in metrics), fmean(m.sparsity_prunable for m in metrics)
            shown = (f"{accuracy:.2f}", f"{100 * sparsity:.2f}")
        table.add_row(escape(cell.key), str(len(metrics)), *shown)
    return table

"""Commands that compute a study: `bench study`, `bench compare`, `bench work`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from bench import registry
from bench.cli import catalog
from bench.cli.options import Execution, Settings, SideBySide, Workers, flat, numbers, split_models
from bench.cli.terminal import console
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.study.study import Study


def _as_given(value: Any, _: str) -> Any:
    return value


@dataclass(frozen=True)
class Sets:
    """Marks an option that, where it is given, sets a field of the study.

    ``convert`` makes the field's value of the option's value and the option's name. ``field`` is the field's name where it
    differs from the option's.
    """

    convert: Callable[[Any, str], Any] = _as_given
    field: str = ""


def _integers(text: str, option: str) -> tuple[int, ...]:
    return numbers(text, int, option)


def _floats(text: str, option: str) -> tuple[float, ...]:
    return numbers(text, float, option)


def _names(text: str, _: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _names_or_none(text: str, _: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part != "none")


def _models(text: str, _: str) -> tuple[str, ...]:
    return split_models(text)


def _sanity_checks(text: str, _: str) -> tuple[str, ...]:
    from bench.study import controls  # here, because torch takes seconds to import

    return controls.wanted(text.split(","))


@dataclass(frozen=True)
class Question:
    """What a study asks and how large it is: the options of `bench study` and of `bench compare`."""

    study: Annotated[str, typer.Option(help="the question: see `bench list studies`")] = "pareto"
    task: Annotated[str, typer.Option(help="data set: see `bench list tasks`, or folder:PATH"), Sets()] = ""
    models: Annotated[str, typer.Option(help="architectures, separated by commas"), Sets(_models)] = ""
    targets: Annotated[
        str,
        typer.Option(help="sparsities (shares of the weights to remove) of a ladder, separated by commas"),
        Sets(_floats),
    ] = ""
    trials: Annotated[
        int, typer.Option(min=0, help="tuned configurations per cell, the same for all methods; 0: the study's"), Sets()
    ] = 0
    final_seeds: Annotated[str, typer.Option(help="seeds of the finals, separated by commas"), Sets(_integers)] = ""
    sampler: Annotated[str, typer.Option(help="tpe (default), random or qmc (quasi-random)"), Sets()] = ""
    seed: Annotated[
        int | None, typer.Option(min=0, help="seed of the tuning (sampler and trials); default 0"), Sets()
    ] = None
    unsafe_start: Annotated[
        bool,
        typer.Option(
            "--unsafe-start", help="allow starting weights that do not say which images they saw; marks every number"
        ),
        Sets(),
    ] = False

    def changes(self, settings: list[str]) -> dict[str, Any]:
        """The fields of the study that the command line sets, by name, for the plug-in's function ``study``."""
        found: dict[str, Any] = {"settings": tuple(settings)}
        hints = get_type_hints(type(self), include_extras=True)
        for option in fields(self):
            value = getattr(self, option.name)
            for sets in hints[option.name].__metadata__:
                if isinstance(sets, Sets) and value != option.default:
                    name = option.name.replace("_", "-")
                    found[sets.field or option.name] = sets.convert(value, name)
        return found


@dataclass(frozen=True)
class TuningQuestion(Question):
    """The options of `bench study`."""

    finals: Annotated[
        int, typer.Option(min=0, help="configurations chosen per cell for the finals; 0: the study's"), Sets()
    ] = 0
    cost: Annotated[
        str, typer.Option(help="what accuracy is traded for: weights_left (default) or macs/fraction"), Sets()
    ] = ""
    derived: Annotated[
        str,
        typer.Option(
            help="controls that follow from each final, separated by commas, or none: rewound, scratch_macs, ..."
        ),
        Sets(_names_or_none),
    ] = ""


@dataclass(frozen=True)
class ComparisonQuestion(Question):
    """The options of `bench compare`."""

    study: Annotated[str, typer.Option(help="the question: see `bench list studies`")] = "compare"
    dense_seeds: Annotated[
        str, typer.Option(help="seeds of the dense models, to be crossed with --final-seeds"), Sets(_integers)
    ] = ""
    recoveries: Annotated[
        str, typer.Option(help="recoveries to compare, separated by commas: none, finetune, lr, weights"), Sets(_names)
    ] = ""
    sanity: Annotated[
        str,
        typer.Option(help="sanity checks to add, separated by commas: shuffled, reinit, scratch"),
        Sets(_sanity_checks, field="derived"),
    ] = ""


@flat
def study_command(
    question: TuningQuestion,
    execution: Execution,
    workers: Workers,
    method: Annotated[
        str | None,
        typer.Argument(help="a method, or several separated by commas; none: the study's own methods"),
    ] = None,
    settings: Settings = None,
) -> None:
    """Tune a method with Optuna, then train the chosen configurations with fresh seeds and evaluate them on the test split.

    A study that has methods of its own needs no METHOD: `bench study --study headline`.
    """
    declared = _declare(method, settings, question, smoke=execution.smoke)
    _compute(declared, execution, workers, plan=execution.dry_run)


@flat
def compare_command(
    question: ComparisonQuestion,
    execution: Execution,
    workers: Workers,
    methods: Annotated[
        str | None, typer.Argument(help="methods separated by commas; none: the study's own methods")
    ] = None,
    settings: Annotated[list[str] | None, typer.Argument(help="key=value, METHOD.key=value, dense.key=value")] = None,
) -> None:
    """Compare methods with equal steps, equal trials, paired seeds and baselines, in one frozen study.

    Prints the plan with its cost first. If it was interrupted, the same command resumes it.
    """
    from bench.cli import conducting  # here, because torch takes seconds to import

    declared = _declare(methods, settings, question, smoke=execution.smoke)
    _compute(declared, execution, workers, plan=execution.dry_run or not conducting.begun(declared))


def _declare(methods: str | None, settings: list[str] | None, question: Question, *, smoke: bool) -> Study:
    """The study that the command line describes; what can be refused without importing torch is refused first."""
    settings = list(settings or [])
    if methods and "=" in methods:  # no method: the first word is a setting
        settings.insert(0, methods)
        methods = None
    names = tuple(methods.split(",")) if methods else ()
    for name in names:
        if name in registry.names(registry.STUDIES):
            raise BenchError(f"a study is named with --study, but {name!r} stands for a method; use --study {name}")
        registry.module(registry.METHODS, name)
    registry.module(registry.STUDIES, question.study)
    catalog.check_task(question.task)
    from bench.cli import conducting  # here, because torch takes seconds to import

    return conducting.declare(question.study, names, question.changes(settings), smoke=smoke)


def _compute(declared: Study, execution: Execution, workers: Workers, *, plan: bool) -> None:
    from bench.cli import conducting  # here, because torch takes seconds to import
    from bench.study import dry_run  # likewise

    if plan:
        dry_run.plan(console, declared, execution.device, execution.job_count)
    if not execution.dry_run:
        conducting.compute(declared, execution, workers.engine())


@flat
def work_command(
    study: Annotated[str, typer.Argument(help="full name of a study that was begun (`bench list begun`)")],
    machine: SideBySide,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of each run; 0: its share of the cores")] = 0,
) -> None:
    """Start a worker: it leases jobs of a study that was begun, computes them and reports their results until none is left.

    The storage is that of $BENCH_OPTUNA; records go to $BENCH_HOME (or $BENCH_REMOTE). Workers may join and leave at any time,
    and may be killed.
    """
    from bench.records.home import Home
    from bench.scheduler.worker import serve  # here, because torch takes seconds to import
    from bench.scheduler.worker_config import WorkerConfig

    home = Home()
    config = WorkerConfig(
        study,
        home.path,
        home.data,
        machine.job_count,
        machine.gpu_ids,
        machine.device,
        machine.hang_after,
        machine.checkpoint_every,
        threads,
    )
    reported = serve(config, lambda line: console.print(line, markup=False, soft_wrap=True))
    console.print(f"{reported} jobs reported; no job is left for this worker")

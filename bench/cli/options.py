"""Options that several commands share, each declared once, and the conversion of their text to values.

A group of options is a frozen dataclass whose fields are annotated for Typer. A command takes groups as parameters and is
decorated with `flat`, so a new option is one new field of one group.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, get_type_hints

import typer

from bench.errors import BenchError
from bench.scheduler.engines import ENGINES, Engine, Resources, engine

MOST_JOBS = 4  # runs side by side by default on a CPU

Settings = Annotated[list[str] | None, typer.Argument(help="key=value settings of the run, the recipe or the method")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N (the same as device=...)")]
Jobs = Annotated[
    int,
    typer.Option(min=0, help="runs side by side; 0: one per GPU of --gpus, else one per CPU core, at most 4"),
]
Out = Annotated[str, typer.Option(help="output folder")]
Records = Annotated[
    str, typer.Option(help="records of another home: its folder, or the URL of a remote such as s3://bucket/prefix")
]


@dataclass(frozen=True)
class Machine:
    """Where and how carefully runs are computed; nothing in here can change a result."""

    device: Device = ""
    gpus: Annotated[str, typer.Option(help="GPUs to use, such as 0,1; several runs may share a GPU")] = ""
    hang_after: Annotated[
        float, typer.Option(min=1, help="seconds without a training step after which a run is stopped as hung")
    ] = 900.0
    checkpoint_every: Annotated[float, typer.Option(min=0, help="seconds between two checkpoints of a run")] = 30.0

    @property
    def gpu_ids(self) -> tuple[str, ...]:
        """The GPUs of --gpus."""
        return tuple(part for part in self.gpus.split(",") if part)


@dataclass(frozen=True)
class SideBySide(Machine):
    """A machine that computes several runs at once."""

    jobs: Jobs = 0

    @property
    def job_count(self) -> int:
        """How many runs are computed at once."""
        return self.jobs or default_jobs(self.gpu_ids)


@dataclass(frozen=True)
class Workers:
    """Who starts the workers of a study, and the resources of each of them."""

    on: Annotated[
        str,
        typer.Option(
            help=f"who starts workers: local (this process), {' or '.join(ENGINES)}", rich_help_panel="Workers"
        ),
    ] = "local"
    workers: Annotated[
        int, typer.Option(min=1, help="on ray and slurm: number of workers, one run each", rich_help_panel="Workers")
    ] = 1
    cpus: Annotated[float, typer.Option(min=0, help="cores of each worker", rich_help_panel="Workers")] = 1
    gpus_each: Annotated[
        float,
        typer.Option(
            min=0,
            help="GPUs of each worker; ray: also a fraction, such as 0.5; slurm: whole GPUs, shared with --sbatch gres=shard:N",
            rich_help_panel="Workers",
        ),
    ] = 0
    memory: Annotated[
        float, typer.Option(min=0, help="GiB of memory of each worker; 0: no request", rich_help_panel="Workers")
    ] = 0
    minutes: Annotated[
        int,
        typer.Option(
            min=0, help="slurm: time limit of a worker, after which it queues again", rich_help_panel="Workers"
        ),
    ] = 0
    ray_address: Annotated[
        str,
        typer.Option(
            help="ray: an existing cluster (auto, HOST:PORT or ray://HOST:10001); default: starts one here",
            rich_help_panel="Workers",
        ),
    ] = ""
    sbatch: Annotated[
        list[str] | None,
        typer.Option(help="slurm: more options as key=value, such as partition=gpu", rich_help_panel="Workers"),
    ] = None

    def engine(self) -> Engine | None:
        """The engine that starts the workers; None if this process is the only worker.

        Raises:
            BenchError: an unknown engine, one that is not installed, or resources that it cannot give.
        """
        if self.on == "local":
            return None
        options = dict(option.partition("=")[::2] for option in self.sbatch or ())
        partition = options.pop("partition", "")
        resources = Resources(
            self.workers,
            self.cpus,
            self.gpus_each,
            self.memory,
            self.minutes,
            self.ray_address,
            partition,
            tuple(f"{key}={value}" for key, value in options.items()),
        )
        return engine(self.on, resources)


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` as Typer needs it: each parameter that is a group of options is replaced by the group's fields."""
    parameters, groups = list[inspect.Parameter](), dict[str, type[Any]]()
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        hint = hints[name]
        if isinstance(hint, type) and is_dataclass(hint):
            groups[name] = hint
            parameters += _options(hint)
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hint))

    def flattened(**values: Any) -> None:
        made = {name: group(**{f.name: values.pop(f.name) for f in fields(group)}) for name, group in groups.items()}
        command(**values, **made)

    flattened.__name__, flattened.__doc__ = command.__name__, command.__doc__
    flattened.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    flattened.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return flattened


def _options(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(f.name, kind, default=f.default, annotation=hints[f.name]) for f in fields(group)]


def split_models(text: str) -> tuple[str, ...]:
    """Architectures separated by commas. A comma between or inside the arguments of one architecture separates nothing."""
    return tuple(re.split(r",(?!\w+=)(?![^(\[]*[)\]])", text))


def default_jobs(gpus: tuple[str, ...]) -> int:
    """One run per GPU given, else one per core, at most `MOST_JOBS`."""
    return len(gpus) or max(1, min(MOST_JOBS, len(os.sched_getaffinity(0))))


def numbers(text: str, kind: type[int] | type[float], name: str) -> tuple[Any, ...]:
    """Numbers separated by commas, as given to the option ``name``."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise BenchError(f"--{name} must be numbers separated by commas, but got {text!r}") from None


def with_device(settings: list[str] | None, device: str) -> list[str]:
    """Settings, with device=... added where --device was given."""
    found = list(settings or [])
    if device:
        found.append(f"device={device}")
    return found


@dataclass(frozen=True)
class Execution(SideBySide):
    """How a study is computed, and what happens around it."""

    smoke: Annotated[bool, typer.Option("--smoke", help="the study's small size: digits, a minute or two")] = False
    track: Annotated[bool, typer.Option(help="show the study in MLflow while it runs")] = True
    report: Annotated[bool, typer.Option(help="make the report at the end")] = True
    dry_run: Annotated[bool, typer.Option(help="print the plan and its estimated cost, and stop")] = False

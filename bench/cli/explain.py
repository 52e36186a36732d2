"""What the commands that explain do: list, show, doctor."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import models, registry, tasks, tracking
from bench.config import Config
from bench.environment import hardware, mask_secrets, resolve_device, versions
from bench.errors import BenchError, one_of
from bench.records.home import Home
from bench.run import Run, describe
from bench.scheduler.storages import open_storage
from bench.study.space import Space, check_space, readable


def first_line(name: str, group: str) -> str:
    """The first line of a plug-in's docstring, or why it cannot be loaded."""
    try:
        return (registry.load(group, name).__doc__ or "").strip().partition("\n")[0]
    except ImportError as error:
        return f"not usable here: {error}"


def list_(console: Console, what: str, pattern: str) -> None:
    """Print the names of one kind, each with a line about it."""
    kinds: dict[str, Callable[[], list[tuple[str, str]]]] = {
        "methods": lambda: [(n, first_line(n, registry.METHODS)) for n in registry.names(registry.METHODS)],
        "studies": lambda: [(n, first_line(n, registry.STUDIES)) for n in registry.names(registry.STUDIES)],
        "tasks": lambda: [
            *((n, tasks.info(n, Home().data).about) for n in tasks.names()),
            ("folder:PATH", "any image folder with train and test (or val)"),
        ],
        "begun": lambda: [
            (n, f"{(s := Home().records.study(n))['state']}: {s['question']}") for n in Home().records.studies()
        ],
        "models": lambda: [(n, "ours" if n in models.families() else "timm") for n in models.names(pattern)],
    }
    if what not in kinds:
        raise one_of("list", what, kinds)
    rows = kinds[what]()
    if not rows:
        raise BenchError(f"no {what} match {pattern!r}; try `bench list models '*resnet*'`")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, about in rows:
        table.add_row(escape(name), escape(about))
    console.print(table)


def show(console: Console, name: str) -> None:
    """Explain a method, or the fields that every run and recipe has."""
    if name == "run":
        example: Run = Run(method=registry.load(registry.METHODS, registry.names(registry.METHODS)[0]).METHOD())
        console.print(fields_table(example, "fields of a run"))
        console.print(fields_table(example.recipe, "fields of its recipe, the same for every method"))
        return
    module = registry.load(registry.METHODS, name)
    check_space(module.METHOD, module.SPACE)
    console.print((module.__doc__ or "").strip(), markup=False, soft_wrap=True)
    if module.METHOD.reconstruction:
        console.print(f"[yellow]Reconstruction:[/] {escape(module.METHOD.reconstruction)}")
    method = module.METHOD()
    if describe(method):
        console.print(fields_table(method, f"fields of {name}", module.SPACE))
    if module.CLAIMS:
        table = Table("model", "task", "sparsity", "top-1 %", "source", "note", title="what the paper reports")
        for claim in module.CLAIMS:
            sparsity = "" if claim.sparsity is None else f"{claim.sparsity:g}"
            table.add_row(
                claim.model, claim.task, sparsity, f"{claim.accuracy:g}", escape(claim.source), escape(claim.note)
            )
        console.print(table)


def fields_table(config: Config, title: str, space: Space | None = None) -> Table:
    """Fields with default, range and help; with what of them is tuned, where a space is given."""
    table = Table("field", "default", "range", "tuned over" if space is not None else "", "meaning", title=title)
    for name, default, rule, text in describe(config):
        tuned = readable(space[name]) if space and name in space else ""
        table.add_row(name, escape(str(default)), escape(rule), escape(tuned), escape(text))
    return table


def doctor(console: Console) -> bool:
    """Print facts and findings; True when nothing is wrong."""
    home = Home()
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in {**versions(), **hardware(resolve_device("auto"))}.items():
        shown = f"{value / 2**30:.1f} GiB" if "memory" in name and isinstance(value, int) else str(value)
        table.add_row(str(name), escape(shown))
    table.add_row("results", escape(str(home.path)))
    table.add_row("data sets", escape(str(home.data)))
    table.add_row("MLflow", escape(mask_secrets(home.tracking_uri)))
    table.add_row("Optuna", escape(mask_secrets(home.storage or "a journal file in each study's folder")))
    if home.store:
        table.add_row("shared store", escape(mask_secrets(home.store)))
    console.print(table)
    findings = [f for check in (_disk, _data, _store, _storage, shared, _methods, _records) for f in check(home)]
    for good, text in findings:
        console.print(f"[green]ok[/]    {escape(text)}" if good else f"[red]wrong[/] {escape(text)}", soft_wrap=True)
    return all(good for good, _ in findings)


def _disk(home: Home) -> list[tuple[bool, str]]:
    folder = next(p for p in (home.path, *home.path.parents) if p.exists())
    free = shutil.disk_usage(folder).free / 2**30
    return [(free > 1, f"{free:.1f} GiB free for results" + ("" if free > 1 else ": runs need at least 1; free some"))]


def _data(home: Home) -> list[tuple[bool, str]]:
    there = [n for n in tasks.names() if n == "digits" or (home.data / n).is_dir()]
    return [(True, f"data sets at hand: {', '.join(there)}")]


def _store(home: Home) -> list[tuple[bool, str]]:
    if not tracking.available():
        return [(True, "mlflow is not installed: runs are recorded, and can be synced from a machine that has it")]
    try:
        tracking.connect(home)
    except (BenchError, sqlite3.Error) as error:
        return [(False, mask_secrets(str(error)))]
    return [(True, "the MLflow store answers")]


def _storage(home: Home) -> list[tuple[bool, str]]:
    if home.storage is None:
        return []
    try:
        open_storage(home.storage, home.path)
    except BenchError as error:
        return [(False, mask_secrets(str(error)))]
    return [(True, "the Optuna storage answers")]


def shared(home: Home) -> list[tuple[bool, str]]:
    """Whether the shared store answers; nothing where there is none."""
    if home.remote is None:
        return []
    try:
        count = len(home.remote.folders("studies"))
    except BenchError as error:
        return [(False, mask_secrets(str(error)))]
    return [(True, f"the shared store answers, with {count} studies")]


def _methods(home: Home) -> list[tuple[bool, str]]:
    found = []
    for name in registry.names(registry.METHODS):
        try:
            module = registry.load(registry.METHODS, name)
            check_space(module.METHOD, module.SPACE)
        except (BenchError, ImportError) as error:
            found.append((False, f"method {name}: {error}"))
    return found or [(True, f"methods: {', '.join(registry.names(registry.METHODS))}")]


def _records(home: Home) -> list[tuple[bool, str]]:
    found, ids = [], home.records.run_ids()
    for run_id in ids:
        try:
            home.records.record(run_id)
        except BenchError as error:
            found.append((False, str(error)))
    return found or [(True, f"{len(ids)} runs and {len(home.records.studies())} studies on record")]

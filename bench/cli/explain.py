"""Commands that explain: `bench list`, `bench show`, `bench doctor`. They print a stored catalogue and import little."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bench import registry
from bench.claims import Claim
from bench.cli import catalog
from bench.cli.facts import FieldFacts
from bench.cli.terminal import console
from bench.errors import BenchError, MissingData, one_of
from bench.records.files import read_json
from bench.records.home import Home
from bench.records.run_folder import RunFolder
from bench.records.run_record import RunSpec

KINDS = ("methods", "models", "tasks", "studies", "begun", "runs")


def list_command(
    what: Annotated[
        str, typer.Argument(help="methods, models, tasks, studies, begun (studies), or runs (of this home)")
    ] = "methods",
    pattern: Annotated[str, typer.Argument(help="for models and runs: a pattern such as '*resnet*'")] = "*",
) -> None:
    """List methods, models, tasks, studies, or the studies that were begun in this home, or its runs."""
    if what not in KINDS:
        raise one_of("list", what, KINDS)
    rows = OF_THIS_HOME[what](pattern) if what in OF_THIS_HOME else _installed(what, pattern)
    if not rows:
        raise BenchError(f"no {what} match {pattern!r}; try `bench list models '*resnet*'`")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, about in rows:
        table.add_row(escape(name), escape(about))
    console.print(table)


def _begun(pattern: str) -> list[tuple[str, str]]:
    """Studies of this home, with their states and questions.

    Raises:
        MissingData: none was begun, or none has such a name.
    """
    home = Home()
    declared = {name: home.records.study(name) for name in home.records.studies()}
    if not declared:
        raise MissingData(f"no study was begun in {home.path}; `make study METHOD=sap` begins one")
    found = [(name, f"{study.state}: {study.question}") for name, study in declared.items() if fnmatch(name, pattern)]
    if not found:
        raise MissingData(f"no study in {home.path} matches {pattern!r}; there are: {', '.join(declared)}")
    return found


def _runs(pattern: str) -> list[tuple[str, str]]:
    """Runs of this home by id: method, model and task, the state, and the validation accuracy of those that finished.

    The pattern is compared with the id and with "METHOD/MODEL/TASK".

    Raises:
        MissingData: there are none, or none that match.
    """
    home = Home()
    folders = {run: RunFolder(home.records.run(run)) for run in home.records.run_ids()}
    rows = [(run, *_described(folder)) for run, folder in folders.items()]
    if not rows:
        raise MissingData(f"no runs in {home.path}; `bench run gradual` computes one")
    found = [(run, f"{what}  {state}") for run, what, state in rows if fnmatch(run, pattern) or fnmatch(what, pattern)]
    if not found:
        raise MissingData(f"no run in {home.path} matches {pattern!r}; `bench list runs` shows all {len(rows)}")
    return found


def _described(folder: RunFolder) -> tuple[str, str]:
    """What a run computes, and how far it is."""
    try:
        record = folder.record()
        run = RunSpec.from_json(read_json(folder.path / "run.json")["run"]) if record is None else record.run
    except BenchError as error:
        return "?", str(error)
    what = f"{run.method_name}/{run.model}/{run.task}"
    if record is None:
        return what, "is being computed" if folder.busy else "was stopped; the same command resumes it"
    if not record.finished:
        return what, f"{record.status}: {record.reason}"
    return what, f"{record.metrics.val_top1:.2f} % validation"


OF_THIS_HOME = {"begun": _begun, "runs": _runs}
"""What is listed from the home's records, not from the catalogue."""


def _installed(what: str, pattern: str) -> list[tuple[str, str]]:
    """Names of one kind with a line about each."""
    found = catalog.catalogue()
    if what == "methods":
        return [(method.name, method.about) for method in found.methods]
    if what == "studies":
        return [(study.name, study.about) for study in found.studies]
    if what == "tasks":
        return [*found.tasks, ("folder:PATH", "any image folder with train and test (or val)")]
    ours = set(found.families)
    return [(name, "ours" if name in ours else "timm") for name in found.models if fnmatch(name, pattern)]


def show_command(
    name: Annotated[str, typer.Argument(help="a method, or `run` for the fields of runs and recipes")],
) -> None:
    """Explain a method: its paper and equations, its fields with their ranges, its search space, its claims."""
    if name != "run":
        registry.module(registry.METHODS, name)  # an unknown name is refused
    found = catalog.catalogue()
    if name == "run":
        console.print(_fields_table(found.run, "fields of a run"))
        console.print(_fields_table(found.recipe, "fields of its recipe, the same for every method"))
        return
    method = found.method(name)
    if method is None or method.error or method.problem:
        why = "it is not in the catalogue" if method is None else method.error or method.problem
        raise BenchError(f"a method must be importable and its SPACE valid, but {name} is not: {why}")
    console.print(method.document.strip(), markup=False, soft_wrap=True)
    if method.reconstruction:
        console.print(f"[yellow]Reconstruction:[/] {escape(method.reconstruction)}")
    if method.fields:
        console.print(_fields_table(method.fields, f"fields of {name}", tuned=True))
    if method.claims:
        console.print(_claims_table(method.claims))


def _fields_table(fields: Iterable[FieldFacts], title: str, *, tuned: bool = False) -> Table:
    """Fields with default, range and help; for a method also with the range over which each is tuned."""
    table = Table("field", "default", "range", "tuned over" if tuned else "", "meaning", title=title)
    for field in fields:
        table.add_row(field.name, *map(escape, (field.default, field.range, field.tuned, field.help)))
    return table


def _claims_table(claims: Iterable[Claim]) -> Table:
    table = Table("model", "task", "sparsity", "top-1 %", "source", "note", title="what the paper reports")
    for claim in claims:
        sparsity = "" if claim.sparsity is None else f"{claim.sparsity:g}"
        accuracy = f"{claim.accuracy:g}"
        table.add_row(claim.model, claim.task, sparsity, accuracy, escape(claim.source), escape(claim.note))
    return table


def doctor_command() -> None:
    """Check this machine: hardware, versions, where data and stores are, and what is wrong."""
    from bench.cli import doctor  # here, because sqlite3 and NVML are needed by this command alone

    if not doctor.examine():
        sys.exit(1)

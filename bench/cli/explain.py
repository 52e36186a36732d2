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
from bench.errors import BenchError, one_of
from bench.records.home import Home

KINDS = ("methods", "models", "tasks", "studies", "begun")


def list_command(
    what: Annotated[str, typer.Argument(help="methods, models, tasks, studies, or begun (studies)")] = "methods",
    pattern: Annotated[str, typer.Argument(help="for models: a pattern such as '*resnet*'")] = "*",
) -> None:
    """List methods, models, tasks, studies, or the studies that were begun in this home."""
    if what not in KINDS:
        raise one_of("list", what, KINDS)
    rows = _begun() if what == "begun" else _installed(what, pattern)
    if not rows:
        raise BenchError(f"no {what} match {pattern!r}; try `bench list models '*resnet*'`")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, about in rows:
        table.add_row(escape(name), escape(about))
    console.print(table)


def _begun() -> list[tuple[str, str]]:
    """Studies of this home, with their states and questions."""
    records = Home().records
    declared = {name: records.study(name) for name in records.studies()}
    return [(name, f"{study.state}: {study.question}") for name, study in declared.items()]


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

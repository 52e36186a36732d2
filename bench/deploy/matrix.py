"""The prunability matrix: the smallest architecture of each timm module, each examined in a separate process.

An architecture that hangs, crashes or runs out of memory gets a row with the reason. Each row is written to ``prunability.csv``
at once; the same command resumes, and examines again with other versions or a longer time limit. The manual's page is made from
the matrix stored beside this file.
"""

from __future__ import annotations

import contextlib
import csv
import fnmatch
import io
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import timm
import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench import models
from bench.deploy.prunability import VERDICTS, Row, examine, versions
from bench.errors import BenchError
from bench.models.sizes import told
from bench.records.files import write_text

NONE = "none of this kind"
LATE = "it took more than"
FILE = "prunability.csv"
STORED = Path(__file__).with_name(FILE)


def matrix(
    console: Console, pattern: str, out: Path, *, jobs: int, limit: float, largest: float, image_size: int
) -> list[Row]:
    """Examines the modules, or else the architectures, whose names match ``pattern``; writes the rows to ``out``.

    ``limit`` is in seconds for each architecture, ``largest`` in millions of parameters.

    Raises:
        BenchError: the pattern matches nothing.
    """
    table = Table(out / FILE, limit)
    wanted = fnmatch.filter(modules(), pattern) or models.names(pattern)
    if not wanted:
        raise BenchError(f"a pattern must match modules or models of timm, but {pattern!r} matches none; try 'res*'")
    waiting = [name for name in wanted if not table.has(name)]
    bars = Progress(
        *(TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.completed}/{task.total}")),
        *(TimeElapsedColumn(), TimeRemainingColumn()),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bars:
        task = bars.add_task("prunability", total=len(wanted), completed=len(wanted) - len(waiting))
        for row in _examined(waiting, jobs, limit, largest, image_size):
            table.add(row)
            bars.advance(task)
            result = f"not: {row.reason}"
            if row.groups:
                result = f"{row.verdict}, {row.weights_left:.0%} of weights left"
            console.print(escape(f"{_key(row)}: {row.model}: {result} ({row.seconds:.0f} s)"), soft_wrap=True)
    return [r for r in table.rows if r.module in wanted or r.model in wanted]


def modules() -> list[str]:
    """Returns the modules of timm, without those of this suite, sorted."""
    return sorted(set(timm.list_modules()) - {"family"})


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Counts the architectures: all, those that work by either rule, and those with each verdict."""
    found = [row for row in rows if row.model != NONE]
    counted = {"all": len(found), "works": sum(r.works for r in found), "loosely": sum(r.loosely for r in found)}
    return counted | {verdict: sum(r.verdict == verdict for r in found) for verdict in VERDICTS}


def summary(rows: Sequence[Row]) -> str:
    """Returns the counts in a sentence."""
    return (
        "of {all} architectures {works} can be pruned, {loosely} by the looser rule of stock Torch-Pruning's count; "
        "{full} in full, {partly} partly, {not} not".format(**counts(rows))
    )


def stored(own: Path) -> list[Row]:
    """Returns the rows of a user's file, completed by the rows that come with this package, sorted by module."""
    rows = {_key(row): row for path in (STORED, own) for row in Table(path).rows}
    return [rows[key] for key in sorted(rows)]


class Table:
    """The rows in a file of comma-separated values."""

    def __init__(self, file: Path, limit: float = 0.0) -> None:
        self.file, self.limit, self.rows = file, limit, list[Row]()
        if file.exists():
            with file.open(newline="") as stream:
                self.rows = [_row(values) for values in csv.DictReader(stream)]

    def has(self, name: str) -> bool:
        """Returns whether a module or architecture was examined with the same versions and at least this time limit."""
        found = [r for r in self.rows if name in (r.module, r.model) and r.versions == versions()]
        return any(not r.reason.startswith(LATE) or r.seconds >= self.limit for r in found)

    def add(self, row: Row) -> None:
        """Adds or replaces a row, and writes the file."""
        self.rows = sorted([r for r in self.rows if _key(r) != _key(row)] + [row], key=_key)
        text = io.StringIO()
        table = csv.DictWriter(text, [f.name for f in fields(Row)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(r) for r in self.rows)
        write_text(self.file, text.getvalue())


def _key(row: Row) -> str:
    return row.module or row.model


def _row(values: dict[str, str]) -> Row:
    kinds: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "bool": "True".__eq__, "str": str}
    return Row(**{f.name: kinds[str(f.type)](values[f.name]) for f in fields(Row)})


@dataclass
class _Child:
    name: str
    process: ForkServerProcess
    pipe: Connection
    model: str = ""
    since: float = field(default_factory=time.monotonic)


def _examined(names: Sequence[str], jobs: int, limit: float, largest: float, image_size: int) -> Iterator[Row]:
    """Yields the rows of modules or architectures as they are finished."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.deploy.prunability"])
    waiting, children = list(reversed(names)), list[_Child]()
    threads = max(1, min(torch.get_num_threads(), len(os.sched_getaffinity(0)) // jobs))  # OMP_NUM_THREADS counts
    try:
        while waiting or children:
            while waiting and len(children) < jobs:
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_work, args=(waiting[-1], largest, image_size, threads, theirs), daemon=True
                )
                process.start()
                theirs.close()
                children.append(_Child(waiting.pop(), process, ours))
            wait([c.pipe for c in children], timeout=0.5)
            for child in list(children):
                row = _received(child, limit)
                if row is not None:
                    children.remove(child)
                    child.process.kill()
                    child.process.join()
                    child.pipe.close()
                    yield row
    finally:
        for child in children:
            child.process.kill()


def _received(child: _Child, limit: float) -> Row | None:
    """Returns the row that a process has sent, or a row with the reason of its failure; None while it works."""
    try:
        while child.pipe.poll():
            kind, value = child.pipe.recv()
            if kind == "row":
                return Row(**value)
            if kind == "failed":
                return _failed(child, value)
            child.model, child.since = value, time.monotonic()  # the time limit starts with the examination
    except (EOFError, OSError):
        child.process.join(5)
        return _failed(child, f"its process ended with exit code {child.process.exitcode}")
    if child.model and time.monotonic() - child.since > limit:
        return _failed(child, f"{LATE} {limit:.0f} s")
    return None


def _module(name: str) -> str:
    """Returns the name if it is a module of timm, else "" (for an architecture)."""
    if name in timm.list_modules():
        return name
    return ""


def _failed(child: _Child, reason: str) -> Row:
    module = _module(child.name)
    took = round(time.monotonic() - child.since, 1)
    return Row(module, child.model or NONE, 0, 0, reason=reason, seconds=took, versions=versions())


def _work(name: str, largest: float, image_size: int, threads: int, pipe: Connection) -> None:
    """The process's main function: examines a module's smallest architecture, or the named one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of the group; the parent ends them
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    torch.set_num_threads(threads)
    try:
        model, module = name, _module(name)
        if module:
            model = smallest(name, largest)
        pipe.send(("model", model))
        pipe.send(("row", asdict(examine(model, image_size, module))))
    except Exception as error:  # a row says so
        pipe.send(("failed", told(error)))


def _end_with(parent: Connection) -> None:
    """Ends this process as soon as its parent has ended."""
    with contextlib.suppress(EOFError, OSError):
        parent.recv()  # the parent sends nothing: this returns when its end of the pipe closes
    os._exit(1)


def smallest(module: str, largest: float) -> str:
    """Returns the classification architecture of a module with the fewest parameters.

    Raises:
        BenchError: there is none, or the smallest has more than ``largest`` million parameters.
    """
    found = dict[str, int]()
    for name in timm.list_models(module=module):
        if not name.startswith("test_"):
            with torch.device("meta"):
                model = timm.create_model(name)
            if getattr(model, "num_classes", 0) > 0:
                found[name] = sum(p.numel() for p in model.parameters())
    if not found:
        raise BenchError("no classification architecture")
    name = min(found, key=lambda n: found[n])
    if found[name] > largest * 1e6:
        raise BenchError(f"no architecture below {largest:g} million parameters ({name} has {found[name] / 1e6:.0f})")
    return name

"""The prunability matrix: the smallest architecture of each timm module, each examined in a process of its own.

What hangs, crashes or runs out of memory is a row with its reason. Rows are written as they come, to ``prunability.csv`` and
the page ``prunability.md``; the same command goes on where it stopped, and does what is new to it.
"""

from __future__ import annotations

import csv
import fnmatch
import multiprocessing
import os
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
from bench.errors import BenchError
from bench.models.sizes import told
from bench.prunability import Row, examine, versions

NONE = "none of this kind"
HEAD = "module, model, pixels, M params, verdict, works, groups (inexact), can leave %, tied %, weights left %, "
HEAD += "params left %, MACs left %, what stays and why"
PAGE = """# Which architectures can be pruned by channels

Made by `bench prunability` ({versions}): for each module of timm the smallest classification architecture below
{largest:g} million parameters (timm's `test_*` toys left out), with random weights, {size} pixels wide or the smallest size
above that it can process.

{counts}

An architecture **works** if every proof is passed and halving all of its groups of channels removes at least a quarter of
the weights of its convolutions and linear layers. Stock Torch-Pruning 1.6.1 was counted by a looser rule: the smaller model
runs forward, and less than 90 % of its parameters are left at a ratio of one half.

It is **full** if every output of every convolution and linear layer can leave, but the classifier's, and those tied by
nature: one for each place of the image, or for each class. It is **partial** if some others stay; the last column says why.

Proofs, in float64 with a stirred copy of the model: all groups reordered at once leave the outputs as they are; uneven
parts of them removed leave a model that runs forward and backward, in training too; removing half of them gives
the outputs of masking that half, for all groups but the *inexact*: there a layer norm, a softmax or a mean over the channels
sees the zeros.

| {head} |
|---|---|---:|---:|---|---|---:|---:|---:|---:|---:|---:|---|
{rows}
"""


def matrix(
    console: Console, pattern: str, out: Path, *, jobs: int, limit: float, largest: float, image_size: int
) -> list[Row]:
    """Examine the modules (or else the architectures) whose names match ``pattern``, and write what was found to ``out``.

    ``limit`` is in seconds for each architecture, ``largest`` in millions of parameters.
    """
    table = _Table(out, largest, image_size)
    known = {m for m in timm.list_modules() if m != "family"}  # ours are no module of timm
    modules = fnmatch.filter(sorted(known), pattern)
    wanted = modules or models.names(pattern)
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
            told = f"{row.verdict}, {row.weights_left:.0%} of weights left" if row.groups else f"none: {row.reason}"
            console.print(escape(f"{row.module}: {row.model}: {told} ({row.seconds:.0f} s)"), soft_wrap=True)
    return [r for r in table.rows if r.module in wanted or r.model in wanted]


def counts(rows: Sequence[Row]) -> str:
    """The numbers at the top of the page."""
    verdicts = {v: sum(r.verdict == v for r in rows) for v in ("full", "partial", "none")}
    return (
        f"Of {len(rows)} architectures **{sum(r.works for r in rows)} work**, {sum(r.loosely for r in rows)} by the "
        f"looser rule; {verdicts['full']} full, {verdicts['partial']} partial, {verdicts['none']} none."
    )


class _Table:
    """The rows on disk, as CSV and as a page."""

    def __init__(self, folder: Path, largest: float, image_size: int) -> None:
        self.folder, self.largest, self.image_size = folder, largest, image_size
        self.file = folder / "prunability.csv"
        with self.file.open(newline="") if self.file.exists() else open(os.devnull) as stream:
            self.rows = [_row(values) for values in csv.DictReader(stream)]

    def has(self, name: str) -> bool:
        """Whether a module or architecture was examined already, by the same versions."""
        return any(name in (r.module, r.model) and r.versions == versions() for r in self.rows)

    def add(self, row: Row) -> None:
        """A row more, on disk at once."""
        self.rows = sorted([r for r in self.rows if _key(r) != _key(row)] + [row], key=_key)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.file.with_suffix(".new").open("w", newline="") as stream:
            table = csv.DictWriter(stream, [f.name for f in fields(Row)])
            table.writeheader()
            table.writerows(asdict(r) for r in self.rows)
        self.file.with_suffix(".new").replace(self.file)
        page = PAGE.format(
            versions=versions(),
            largest=self.largest,
            size=self.image_size,
            head=HEAD.replace(", ", " | "),
            counts=counts([r for r in self.rows if r.model != NONE]),
            rows="\n".join(_line(r) for r in self.rows),
        )
        self.file.with_suffix(".md").write_text(page)


def _key(row: Row) -> str:
    return row.module or row.model


def _row(values: dict[str, str]) -> Row:
    kinds: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "bool": "True".__eq__, "str": str}
    return Row(**{f.name: kinds[str(f.type)](values[f.name]) for f in fields(Row)})


def _line(row: Row) -> str:
    shares = (row.can_leave, row.tied, row.weights_left, row.params_left, row.macs_left)
    groups = f"{row.groups} ({row.inexact})" if row.inexact else f"{row.groups}"
    cells = (
        *(row.module, row.model, row.image_size, f"{row.parameters / 1e6:.2f}", row.verdict),
        *("yes" if row.works else "no", groups, *(f"{100 * s:.1f}" for s in shares), row.reason.replace("|", "/")),
    )
    return f"| {' | '.join(map(str, cells))} |"


@dataclass
class _Child:
    name: str
    process: ForkServerProcess
    pipe: Connection
    model: str = ""
    since: float = field(default_factory=time.monotonic)


def _examined(names: Sequence[str], jobs: int, limit: float, largest: float, image_size: int) -> Iterator[Row]:
    """The rows of modules or architectures, as they come."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.prunability"])
    waiting, children = list(reversed(names)), list[_Child]()
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
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
                row = _heard(child, limit)
                if row is not None:
                    children.remove(child)
                    child.process.kill()
                    child.process.join()
                    child.pipe.close()
                    yield row
    finally:
        for child in children:
            child.process.kill()


def _heard(child: _Child, limit: float) -> Row | None:
    """The row that a child has sent, or that stands for its silence."""
    try:
        while child.pipe.poll():
            kind, value = child.pipe.recv()
            if kind == "model":  # the clock starts when it is known which one is examined
                child.model, child.since = value, time.monotonic()
            else:
                return Row(**value) if kind == "row" else _silent(child, value)
    except (EOFError, OSError):
        child.process.join(5)
        return _silent(child, f"its process ended with exit code {child.process.exitcode}")
    if child.model and time.monotonic() - child.since > limit:
        return _silent(child, f"it took more than {limit:.0f} s")
    return None


def _silent(child: _Child, reason: str) -> Row:
    module = child.name if child.name != child.model else ""
    took = time.monotonic() - child.since
    return Row(module, child.model or NONE, 0, 0, reason=reason, seconds=took, versions=versions())


def _work(name: str, largest: float, image_size: int, threads: int, pipe: Connection) -> None:
    """The child's main function: a module's smallest architecture, or the one named."""
    torch.set_num_threads(threads)
    try:
        model = smallest(name, largest) if name in timm.list_modules() else name
        pipe.send(("model", model))
        pipe.send(("row", asdict(examine(model, image_size, name if name != model else ""))))
    except Exception as error:  # a row says so
        pipe.send(("failed", told(error)))


def smallest(module: str, largest: float) -> str:
    """The classification architecture of a module with the fewest parameters.

    Raises:
        BenchError: where all have more than ``largest`` millions, or there is none.
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

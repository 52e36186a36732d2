"""How the suite holds up with thousands of runs and tens of workers, on the machine at hand: `make scale`.

1. The report of many runs: time, memory, the page's size, and how long a browser takes to show it.
2. MLflow: runs and numbers a second into a new store, and what a look costs at which there is nothing to do.
3. The job queue of a study: empty trials leased and reported per second, by more and more workers, beside more and more that
   were reported before, on each kind of storage.
4. What a trial costs besides training, started by each engine.

Runs are made up after real ones, for timing only (`bench.perf.synthetic`). The servers of 2 and 3 are started for it
and stopped
again (`bench.scheduler.servers.lab`). Each line says how busy the machine was: that of a busy one is no more than a bound.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from bench import environment
from bench.errors import BenchError, one_of
from bench.perf import rates, synthetic
from bench.records.files import write_json, write_text
from bench.records.folder import Folder
from bench.records.home import Home

PARTS, STORES = ("report", "mlflow", "asking", "overhead"), ("file", "postgresql", "proxy")
GOLDEN = Path(__file__).parents[2] / "tests" / "reports" / "golden"
TRIAL = 300.0  # seconds: the trial that an overhead is a share of
MIRRORED = synthetic.Shape("synthetic-mirror", 1.0, ("gradual", "oneshot"), ("model_a",), (0.8, 0.95))
EMPTY = ("study", "gradual", "--models", "test_resnet", "--no-track", "--no-report", "--final-seeds", "1000")
SHORT = ("epochs=0.02", "threads=1")


@dataclass(frozen=True)
class Line:
    """One number: what was measured, where, of how much, and the load of the machine for each of its processors meanwhile."""

    what: str
    where: str
    size: str
    value: float
    unit: str
    load: float


@dataclass(frozen=True)
class ScaleRequest:
    """What to measure; see the options of the program."""

    runs: tuple[int, ...]
    entries: tuple[int, ...]
    trials: tuple[int, ...]
    workers: tuple[int, ...]
    stores: tuple[str, ...]
    engines: tuple[str, ...]
    empty: int
    seconds: float
    records: Path
    own: Path


def reports(request: ScaleRequest) -> Iterator[Line]:
    """Part 1."""
    for runs in request.runs:
        home = request.own / f"report-{runs}"
        size = f"{synthetic.make(home, request.records, runs):,} runs"
        found = rates.report(home, home / "report")
        yield _line("report", "three studies", size, found.seconds, "s")
        yield _line("report, processor time", "three studies", size, found.processor, "s")
        yield _line("report, peak memory", "three studies", size, found.memory / 2**20, "MiB")
        yield _line("page", "one file", size, found.page / 2**20, "MiB")
        seconds = rates.page(home / "report" / "index.html")
        if seconds is not None:
            yield _line("page shown and sorted", "browser", size, seconds, "s")


def mirrors(request: ScaleRequest) -> Iterator[Line]:
    """Part 2: a SQLite file, and where servers are wanted MLflow's server on PostgreSQL."""
    for entries in request.entries:
        home = request.own / f"mirror-{entries}"
        study = synthetic.Maker(Folder(request.records), home).study(MIRRORED, entries)
        yield from _mirrored(Home(path=home), study, "SQLite file")
        if set(request.stores) - {"file"}:
            with _servers(request.own / f"servers-mirror-{entries}"):
                yield from _mirrored(Home(path=home), study, "server, PostgreSQL")


def _mirrored(home: Home, study: str, where: str) -> Iterator[Line]:
    found = rates.mirror(home, study)
    size = f"{found.entries:,} runs"
    yield _line("MLflow, runs", where, size, found.entries / found.seconds, "/s")
    yield _line("MLflow, numbers", where, size, found.metrics / found.seconds, "/s")
    yield _line("MLflow, calls for a run", where, size, found.calls / found.entries, "")
    yield _line("MLflow, a look at nothing new", where, size, 1e3 * found.idle, "ms")
    yield _line("MLflow, a look at one new run", where, size, 1e3 * found.one, "ms")
    yield _line("MLflow, connecting again", where, size, found.again, "s")


def asking(request: ScaleRequest) -> Iterator[Line]:
    """Part 3."""
    for store in request.stores:
        where = {"file": "journal file", "postgresql": "PostgreSQL", "proxy": "proxy, PostgreSQL"}[store]
        with _storage(store, request.own / f"servers-{store}") as url:
            for trials, workers in itertools.product(request.trials, request.workers):
                journal = request.own / f"{store}-{trials}.journal"
                before = rates.fill(url, journal, trials)  # more than that, from the second round on
                found = rates.queue_rate(url, journal, workers, request.seconds)
                size = f"{before:,} reported before, {workers} worker{'s' if workers > 1 else ''}"
                yield _line("lease and report", where, size, found.rate, "/s")
                yield _line("lease and report, a worker's processor", where, size, found.work, "ms")
                yield _line("a worker's first look", where, size, found.opening, "s")


def overheads(request: ScaleRequest) -> Iterator[Line]:
    """Part 4: each engine is asked for one worker; more is up to ``bench study --on``."""
    for engine in request.engines:
        words = [*EMPTY, "--trials", str(request.empty), "--on", engine, *SHORT]
        words[-2:-2] = ["--jobs", "1"] if engine == "local" else ["--workers", "1"]
        found = rates.overhead(words, {**os.environ, "BENCH_HOME": str(request.own / f"overhead-{engine}")})
        size = f"{found.trials} trials"
        yield _line("a trial besides training", engine, size, found.median, "s")
        yield _line("a trial besides training, quartiles' distance", engine, size, found.high - found.low, "s")
        yield _line("share of a trial of five minutes", engine, size, 100 * found.median / TRIAL, "%")


MEASURE: dict[str, Callable[[ScaleRequest], Iterator[Line]]] = {
    "report": reports,
    "mlflow": mirrors,
    "asking": asking,
    "overhead": overheads,
}


def _line(what: str, where: str, size: str, value: float, unit: str) -> Line:
    return Line(what, where, size, value, unit, os.getloadavg()[0] / (os.cpu_count() or 1))


@contextmanager
def _storage(store: str, folder: Path) -> Iterator[str | None]:
    """The URL of a storage while its servers are up; None for a file."""
    if store == "file":
        yield None
        return
    with _servers(folder, proxy=store == "proxy"):
        yield os.environ["BENCH_OPTUNA"]


@contextmanager
def _servers(folder: Path, *, proxy: bool = False) -> Iterator[None]:
    """Private servers on free ports, with this process's environment set for them meanwhile."""
    from bench.scheduler.servers.lab import Servers  # here, because it needs an extra

    ports = _free_ports(3)
    servers = Servers(folder, ports[0], ports[1], ports[2] if proxy else 0)
    before = dict(os.environ)
    try:
        servers.start()
        os.environ.update(servers.environment)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        servers.stop()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def table(lines: Sequence[Line]) -> str:
    """The numbers as a table in Markdown, its columns aligned, so that it can be read as it stands."""
    heads = ("what", "where", "of", "number", "load")
    rows = [(li.what, li.where, li.size, f"{li.value:,.3g} {li.unit}".strip(), f"{li.load:.1f}") for li in lines]
    rows = [
        (*row[:3], _plain(line) if line.value >= 1000 else row[3], row[4])
        for row, line in zip(rows, lines, strict=True)
    ]
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    rule = [("-" * (w - 1) + ":") if i > 2 else "-" * w for i, w in enumerate(widths)]
    shown = [
        [c.rjust(w) if i > 2 else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        for row in (heads, *rows)
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (shown[0], rule, *shown[1:]))


def _plain(line: Line) -> str:
    return f"{line.value:,.0f} {line.unit}".strip()


def as_csv(lines: Sequence[Line], facts: dict[str, Any]) -> str:
    """The numbers with every digit, and the machine and its software in each row."""
    file = io.StringIO()
    writer = csv.DictWriter(file, [*Line.__dataclass_fields__, *facts], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**asdict(line), **facts} for line in lines)
    return file.getvalue()


def scale(
    parts: Annotated[str, typer.Option(help=f"with commas: {', '.join(PARTS)}")] = ",".join(PARTS),
    runs: Annotated[str, typer.Option(help="of a report, with commas")] = "100,1000,10000",
    entries: Annotated[str, typer.Option(help="of a study that MLflow is to show, with commas")] = "1000",
    trials: Annotated[
        str, typer.Option(help="reported before, of a study of empty ones; with commas")
    ] = "100,1000,10000",
    workers: Annotated[str, typer.Option(help="that lease and report more of them, with commas")] = "1,8,64",
    stores: Annotated[str, typer.Option(help=f"with commas: {', '.join(STORES)}; two need a PostgreSQL")] = "file",
    engines: Annotated[str, typer.Option(help="with commas: local, ray, slurm")] = "local",
    empty: Annotated[int, typer.Option(min=4, help="trials that an engine is measured by")] = 12,
    seconds: Annotated[float, typer.Option(min=1, help="of each measurement of a queue")] = 10.0,
    records: Annotated[Path, typer.Option(help="real runs to make others after")] = GOLDEN,
) -> None:
    """Measure; prints a table and writes scale.csv, scale.md and scale.json into the folder of results."""
    chosen = [part.strip() for part in parts.split(",")]
    for part in chosen:
        if part not in PARTS:
            raise one_of("part", part, PARTS)
    for store in (named := tuple(stores.split(","))):
        if store not in STORES:
            raise one_of("store", store, STORES)
    console, home, lines = Console(highlight=False, emoji=False), Home().path, list[Line]()
    hardware = environment.hardware(torch.device("cpu"))
    facts = {**hardware, **environment.versions(), "when": time.strftime("%Y-%m-%d", time.gmtime())}
    many, shown, asked, worker = map(_numbers, (runs, entries, trials, workers))
    with tempfile.TemporaryDirectory() as own:
        Path(own).chmod(0o711)  # the account of a database that root starts must pass
        facts["flush_ms"] = round(rates.flush(Path(own)), 2)
        request = ScaleRequest(
            many, shown, asked, worker, named, tuple(engines.split(",")), empty, seconds, records, Path(own)
        )
        console.print(", ".join(f"{name} {value}" for name, value in facts.items()), soft_wrap=True)
        for part in chosen:
            for line in MEASURE[part](request):
                lines.append(line)
                console.print(f"{line.what} ({line.where}, {line.size}): {line.value:.4g} {line.unit}", soft_wrap=True)
    console.print(table(lines), soft_wrap=True)
    write_text(home / "scale.md", table(lines))
    write_text(home / "scale.csv", as_csv(lines, facts))
    write_json(home / "scale.json", {"machine": facts, "lines": [asdict(line) for line in lines]})
    console.print(f"written to {home / 'scale.csv'}, .md and .json", soft_wrap=True)


def _numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise BenchError(f"sizes are whole numbers above zero with commas between them, but got {text!r}; 100,1000")
    return tuple(map(int, parts))


if __name__ == "__main__":
    try:
        typer.run(scale)
    except BenchError as error:
        sys.exit(f"error: {error}")

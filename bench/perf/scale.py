"""The suite with thousands of runs and tens of workers, measured on this machine: `make scale`.

1. The report of many runs: time, memory, the page's size, and the time in which a browser shows it.
2. MLflow: runs and metrics per second into a new store, and the time of a sync without changes.
3. The job queue of a study: empty trials leased and reported per second, for several numbers of workers and of earlier trials,
   on each kind of storage.
4. The overhead of a trial besides training, on each engine.

Runs are made up from real ones, for timing only (`bench.perf.synthetic`). The servers of 2 and 3 are started and stopped here
(`bench.scheduler.servers.lab`). Each line has the load of the machine: on a busy machine, its number is only a bound.
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
TRIAL = 300.0  # seconds of the trial to which an overhead is compared
MIRRORED = synthetic.Shape("synthetic-mirror", 1.0, ("gradual", "oneshot"), ("model_a",), (0.8, 0.95))
EMPTY = ("study", "gradual", "--models", "test_resnet", "--no-track", "--no-report", "--final-seeds", "1000")
SHORT = ("epochs=0.02", "threads=1")


@dataclass(frozen=True)
class Line:
    """One measured number: what, where, of which size, and the machine's load for each processor."""

    what: str
    where: str
    size: str
    value: float
    unit: str
    load: float


@dataclass(frozen=True)
class ScaleRequest:
    """The measurements to make; see the options of the program."""

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
    """Measures part 1."""
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
    """Measures part 2: a SQLite file, and with servers also MLflow's server on PostgreSQL."""
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
    """Measures part 3."""
    for store in request.stores:
        where = {"file": "journal file", "postgresql": "PostgreSQL", "proxy": "proxy, PostgreSQL"}[store]
        with _storage(store, request.own / f"servers-{store}") as url:
            for trials, workers in itertools.product(request.trials, request.workers):
                journal = request.own / f"{store}-{trials}.journal"
                before = rates.fill(url, journal, trials)  # earlier rounds have added trials
                found = rates.queue_rate(url, journal, workers, request.seconds)
                size = f"{before:,} reported before, {workers} worker"
                if workers > 1:
                    size += "s"
                yield _line("lease and report", where, size, found.rate, "/s")
                yield _line("lease and report, a worker's processor", where, size, found.work, "ms")
                yield _line("a worker's first look", where, size, found.opening, "s")


def overheads(request: ScaleRequest) -> Iterator[Line]:
    """Measures part 4, with one worker on each engine."""
    for engine in request.engines:
        count = "--workers"
        if engine == "local":
            count = "--jobs"
        words = [*EMPTY, "--trials", str(request.empty), "--on", engine, count, "1", *SHORT]
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
    """Yields the URL of a storage while its servers run; None for a file."""
    if store == "file":
        yield None
        return
    with _servers(folder, proxy=store == "proxy"):
        yield os.environ["BENCH_OPTUNA"]


@contextmanager
def _servers(folder: Path, *, proxy: bool = False) -> Iterator[None]:
    """Runs private servers on free ports, with this process's environment set for them."""
    from bench.scheduler.servers.lab import Servers  # here, because it needs an extra

    database, mlflow, last = _free_ports(3)
    servers = Servers(folder, database, mlflow, last * proxy)  # port 0: no proxy
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
    """Returns the numbers as a table in Markdown with aligned columns; the last two are numbers."""
    rows = [("what", "where", "of", "number", "load")]
    rows += [(line.what, line.where, line.size, _number(line), f"{line.load:.1f}") for line in lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * width for width in widths[:3]] + ["-" * (width - 1) + ":" for width in widths[3:]]
    shown = list[list[str]]()
    for row in rows:
        texts = [text.ljust(width) for text, width in zip(row[:3], widths[:3], strict=True)]
        texts += [text.rjust(width) for text, width in zip(row[3:], widths[3:], strict=True)]
        shown.append(texts)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (shown[0], rule, *shown[1:]))


def _number(line: Line) -> str:
    if line.value >= 1000:
        return f"{line.value:,.0f} {line.unit}".strip()
    return f"{line.value:,.3g} {line.unit}".strip()


def as_csv(lines: Sequence[Line], facts: dict[str, Any]) -> str:
    """Returns the numbers with all digits as comma-separated values, with the machine and its software in each row."""
    file = io.StringIO()
    writer = csv.DictWriter(file, [*Line.__dataclass_fields__, *facts], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**asdict(line), **facts} for line in lines)
    return file.getvalue()


def scale(
    parts: Annotated[str, typer.Option(help=f"comma-separated: {', '.join(PARTS)}")] = ",".join(PARTS),
    runs: Annotated[str, typer.Option(help="numbers of runs in a report, comma-separated")] = "100,1000,10000",
    entries: Annotated[str, typer.Option(help="numbers of entries of a study in MLflow, comma-separated")] = "1000",
    trials: Annotated[
        str, typer.Option(help="numbers of earlier trials in a queue, comma-separated")
    ] = "100,1000,10000",
    workers: Annotated[str, typer.Option(help="numbers of workers of a queue, comma-separated")] = "1,8,64",
    stores: Annotated[str, typer.Option(help=f"comma-separated: {', '.join(STORES)}; two need PostgreSQL")] = "file",
    engines: Annotated[str, typer.Option(help="comma-separated: local, ray, slurm")] = "local",
    empty: Annotated[int, typer.Option(min=4, help="trials for the overhead of an engine")] = 12,
    seconds: Annotated[float, typer.Option(min=1, help="length of each measurement of a queue")] = 10.0,
    records: Annotated[Path, typer.Option(help="folder of real runs from which others are made up")] = GOLDEN,
) -> None:
    """Measure the suite at scale; print a table and write scale.csv, scale.md and scale.json to the home."""
    chosen = [part.strip() for part in parts.split(",")]
    for part in chosen:
        if part not in PARTS:
            raise one_of("part", part, PARTS)
    named = tuple(stores.split(","))
    for store in named:
        if store not in STORES:
            raise one_of("store", store, STORES)
    console, home, lines = Console(highlight=False, emoji=False), Home().path, list[Line]()
    hardware = environment.hardware(torch.device("cpu"))
    facts = {**hardware, **environment.versions(), "when": time.strftime("%Y-%m-%d", time.gmtime())}
    many, shown, asked, worker = map(_numbers, (runs, entries, trials, workers))
    with tempfile.TemporaryDirectory() as own:
        Path(own).chmod(0o711)  # a database started by root runs under another account, which must enter this folder
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
    """Returns comma-separated positive whole numbers.

    Raises:
        BenchError: the text is something else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise BenchError(f"sizes are whole numbers above zero with commas between them, but got {text!r}; 100,1000")
    return tuple(map(int, parts))


if __name__ == "__main__":
    try:
        typer.run(scale)
    except BenchError as error:
        sys.exit(f"error: {error}")

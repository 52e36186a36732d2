"""Measurements of the suite's own work: reports, MLflow, a study's job queue, and the overhead of a trial.

Each function measures once; the program `bench.perf.scale` calls them and writes the results.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from bench import registry, tracking
from bench.errors import BenchError
from bench.records.folder import Folder
from bench.records.home import Home
from bench.records.run_record import RunRecord
from bench.scheduler.job_queue import JobQueue, worker_name
from bench.scheduler.storages import open_storage

optuna.logging.set_verbosity(optuna.logging.ERROR)
MORE = 1_000_000  # jobs: more than workers can report during a measurement
STARTING = 900  # seconds that many workers may take to start on a small machine
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Report:
    """The cost of a report: seconds, processor seconds, peak memory (bytes), and the page's size (bytes)."""

    seconds: float
    processor: float
    memory: int
    page: int


def report(home: Path, out: Path) -> Report:
    """Builds the report of a home in a new process; imports are not counted."""
    with ProcessPoolExecutor(1, mp_context=mp.get_context("spawn")) as fresh:
        return fresh.submit(_report, home, out).result()


def _report(home: Path, out: Path) -> Report:
    build = registry.load(registry.REPORTS, "report").build
    began, busy = time.perf_counter(), time.process_time()
    page: Path = build(home, out)
    seconds, processor = time.perf_counter() - began, time.process_time() - busy
    return Report(seconds, processor, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, page.stat().st_size)


def page(path: Path) -> float | None:
    """Returns the seconds from the start of a headless browser until a page is shown and its longest table is sorted; None
    without a browser.

    Raises:
        BenchError: the browser fails.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return None
    with tempfile.TemporaryDirectory() as own:
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={own}",
            f"--screenshot={own}/page.png",
        ]
        text = path.read_text().replace("</body>", f"<script>{_SORT}</script></body>")
        (Path(own) / "page.html").write_text(text)
        began = time.perf_counter()
        done = subprocess.run([browser, *options, f"file://{own}/page.html"], capture_output=True, timeout=600)
        seconds = time.perf_counter() - began
        if done.returncode or not Path(own, "page.png").exists():
            raise BenchError(f"{browser} must show the page, but ended with {done.returncode}; open {path} yourself")
    return seconds


_SORT = (
    "const longest = [...document.querySelectorAll('table')].sort((a, b) => b.rows.length - a.rows.length)[0];"
    "longest.querySelectorAll('th.number button')[1].click();"
)


class Counted:
    """Wraps an MLflow client and counts its requests and the metrics in them."""

    def __init__(self, client: Any) -> None:
        self._client, self.requests, self.metrics = client, 0, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def counted(*args: Any, **named: Any) -> Any:
            self.requests += 1
            if name == "log_batch":
                self.metrics += len(named.get("metrics", ()))
            return found(*args, **named)

        return counted


@dataclass(frozen=True)
class Mirrored:
    """The sync of a study to MLflow: entries, metrics and calls of the client; seconds of the first sync, of one without
    changes (``idle``), of one after a single change (``one``), and of a new connection to the full store (``again``)."""

    entries: int
    metrics: int
    calls: int
    seconds: float
    idle: float
    one: float
    again: float


def mirror(home: Home, study: str) -> Mirrored:
    """Syncs a study to the MLflow store of a home, which must not have it yet."""
    client = Counted(tracking.connect(home))
    tracker = tracking.Tracker(home, study, client)
    seconds = _timed(lambda: tracker.sync(over=True))
    calls, metrics = client.requests, client.metrics
    tracker.sync()
    tracker.sync()
    idle = statistics.median(_timed(tracker.sync) for _ in range(5))
    entry = next(iter(home.records.entries(study)))
    home.records.write_entry(study, entry)
    one = _timed(tracker.sync)
    again = _timed(lambda: tracking.Tracker(home, study, tracking.connect(home)))
    return Mirrored(len(tracker.watcher.names), metrics, calls, seconds, idle, one, again)


def flush(folder: Path) -> float:
    """Returns the milliseconds of one flush of a small write to disk (median), for which journals and databases wait."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:

        def once() -> None:
            file.write(b"x" * 100)
            file.flush()
            os.fsync(file.fileno())

        return 1e3 * statistics.median(_timed(once) for _ in range(21))


def _timed(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


@dataclass(frozen=True)
class QueueRate:
    """Empty trials that were leased and reported: their number, the rate of all workers together (1/s), and a worker's
    processor time for one (``work``, ms). ``opening``: seconds in which a worker reads the earlier trials, the median."""

    trials: int
    rate: float
    work: float
    opening: float


def fill(url: str | None, journal: Path, trials: int) -> int:
    """Creates a job queue, named after ``journal``, with at least ``trials`` reported trials; returns their number."""
    queue = JobQueue(open_storage(url, journal), journal.stem, MORE)
    attributes = {"owner": worker_name(), "run": "empty", "reason": ""}
    reported = create_trial(state=TrialState.COMPLETE, value=0.5, user_attrs=attributes)
    before = len(queue.trials())
    for _ in range(before, trials):
        queue.storage.create_new_trial(queue.id, reported)
    return max(before, trials)


def queue_rate(url: str | None, journal: Path, workers: int, seconds: float) -> QueueRate:
    """Measures the rate at which workers, in separate processes, lease and report empty trials.

    Args:
        url: of the storage, see `bench.scheduler.storages.open_storage`; None: the file ``journal``.
        journal: the queue is named after it, see `fill`.
        workers: number of processes.
        seconds: length of the measurement.
    """
    context = mp.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    begin, found = context.Barrier(workers), context.Queue()
    work = (url, journal, seconds, begin, found)
    processes = [context.Process(target=_work, args=work, daemon=True) for _ in range(workers)]
    for process in processes:
        process.start()
    each = [found.get(timeout=seconds + STARTING) for _ in processes]
    for process in processes:
        process.join()
    reported, spent, took, opening = zip(*each, strict=True)
    rate = sum(count / seconds for count, seconds in zip(reported, took, strict=True))
    return QueueRate(sum(reported), rate, 1e3 * sum(spent) / max(1, sum(reported)), statistics.median(opening))


def _work(url: str | None, journal: Path, seconds: float, begin: Any, found: Any) -> None:
    """A worker's main function: puts its reported trials, processor seconds, seconds, and opening seconds into ``found``."""
    opened = time.monotonic()
    queue, owner, reported = JobQueue(open_storage(url, journal), journal.stem, MORE), worker_name(), 0
    queue.trials()
    opening = time.monotonic() - opened
    begin.wait(STARTING)
    began, busy = time.monotonic(), time.process_time()
    while time.monotonic() < began + seconds:
        lease = queue.lease(owner)
        if lease is not None and queue.tell(lease, [0.5], {"run": "empty", "reason": ""}):
            reported += 1
    found.put((reported, time.process_time() - busy, time.monotonic() - began, opening))


@dataclass(frozen=True)
class Overhead:
    """The time of short trials besides training, from the end of one to the end of the next: median and quartiles in seconds,
    and the number of trials."""

    median: float
    low: float
    high: float
    trials: int


def overhead(words: Sequence[str], environment: dict[str, str]) -> Overhead:
    """Runs ``bench`` with some words, a study with one worker, and returns the overhead of its trials.

    The overhead includes the lease, the start of a process, data, the model, the first step, evaluation, measurement, records
    and the report to the queue; it excludes the time before the first run and after the last.

    Raises:
        BenchError: the command fails, or fewer than three runs finish.
    """
    home = Path(environment["BENCH_HOME"])
    done = subprocess.run([sys.executable, "-m", "bench", *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(
            f"`bench {' '.join(words)}` must succeed, but printed: {(done.stderr or done.stdout).strip()[-300:]}"
        )
    records = [record for run in Folder(home).run_ids() if (record := Folder(home).record(run)) is not None]
    return besides(records)


def besides(records: Sequence[RunRecord]) -> Overhead:
    """Returns the time between the ends of one worker's runs without their training, from their records."""
    ended = sorted((r.provenance.finished or 0.0, r.cost.train_seconds) for r in records if r.finished)
    found = [after[0] - before[0] - after[1] for before, after in pairwise(ended)]
    if len(found) < 2:
        raise BenchError(
            f"an overhead needs three runs or more that finished, but there are {len(ended)}; ask for more"
        )
    low, median, high = statistics.quantiles(found, n=4)
    return Overhead(median, low, high, len(found))

"""How fast the suite's own work is: reports, MLflow, a study's job queue, and what a trial costs besides training.

Each function measures once; `bench.perf.scale` is the program that calls them and writes the numbers down.
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
MORE = 1_000_000  # jobs: more than can be reported while rates are measured
STARTING = 900  # seconds that many workers may take to start on a small machine
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Report:
    """A report: seconds on the clock and of the processor, peak memory (bytes), and the page's size (bytes)."""

    seconds: float
    processor: float
    memory: int
    page: int


def report(home: Path, out: Path) -> Report:
    """Build the report of a home in a fresh process; importing is not counted."""
    with ProcessPoolExecutor(1, mp_context=mp.get_context("spawn")) as fresh:
        return fresh.submit(_report, home, out).result()


def _report(home: Path, out: Path) -> Report:
    build = registry.load(registry.REPORTS, "report").build
    began, busy = time.perf_counter(), time.process_time()
    page: Path = build(home, out)
    seconds, processor = time.perf_counter() - began, time.process_time() - busy
    return Report(seconds, processor, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, page.stat().st_size)


def page(path: Path) -> float | None:
    """Seconds that a browser without a window takes from its start until a page is shown and its longest table was sorted;
    None without a browser."""
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
    """An MLflow client whose requests, and the numbers in them, are counted."""

    def __init__(self, client: Any) -> None:
        self._client, self.requests, self.metrics = client, 0, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def counted(*args: Any, **named: Any) -> Any:
            self.requests += 1
            self.metrics += len(named.get("metrics", ())) if name == "log_batch" else 0
            return found(*args, **named)

        return counted


@dataclass(frozen=True)
class Mirrored:
    """A study shown in MLflow: entries, numbers and calls of the client; seconds of it all, of a look at which nothing was
    new, of one after a single entry was written, and of a new connection to the store that has it all."""

    entries: int
    metrics: int
    calls: int
    seconds: float
    idle: float
    one: float
    again: float


def mirror(home: Home, study: str) -> Mirrored:
    """Show a study in the MLflow store of a place, which must not know it yet."""
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
    """Milliseconds until a small change of a file is on disk, the median of some: what every journal and database waits for."""
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
    """Empty trials that were leased and reported: how many, how many per second by all workers together, and how many
    milliseconds of processor time a worker spent on one. ``opening``: seconds until a worker had read the earlier trials, the
    median."""

    trials: int
    rate: float
    work: float
    opening: float


def fill(url: str | None, journal: Path, trials: int) -> int:
    """Make a job queue, named after ``journal``, with at least so many reported trials; returns how many it has."""
    queue = JobQueue(open_storage(url, journal), journal.stem, MORE)
    attributes = {"owner": worker_name(), "run": "empty", "reason": ""}
    reported = create_trial(state=TrialState.COMPLETE, value=0.5, user_attrs=attributes)
    before = len(queue.trials())
    for _ in range(before, trials):
        queue.storage.create_new_trial(queue.id, reported)
    return max(before, trials)


def queue_rate(url: str | None, journal: Path, workers: int, seconds: float) -> QueueRate:
    """Let workers, each a process of its own, lease and report empty trials for some seconds.

    Args:
        url: of the storage, see `bench.scheduler.storages.open_storage`; None: the file ``journal``.
        journal: the queue is named after it, see `fill`.
        workers: how many processes.
        seconds: that they work.
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
    """Puts the number of reported trials, the seconds of the processor and of the clock, and those of opening."""
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
    """What trials of a step or two took besides training, from the end of one to the end of the next: the median and the
    quartiles in seconds, and of how many."""

    median: float
    low: float
    high: float
    trials: int


def overhead(words: Sequence[str], environment: dict[str, str]) -> Overhead:
    """Carry out ``bench`` with these words, a study of one worker, and see how far apart its runs ended.

    It includes leasing, starting a process, data, the model, the first step, evaluations, measuring, records and reporting, on
    every engine; it excludes what happens before the first run and after the last.
    """
    home = Path(environment["BENCH_HOME"])
    done = subprocess.run([sys.executable, "-m", "bench", *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(
            f"`bench {' '.join(words)}` must end well, but said: {(done.stderr or done.stdout).strip()[-300:]}"
        )
    records = [record for run in Folder(home).run_ids() if (record := Folder(home).record(run)) is not None]
    return besides(records)


def besides(records: Sequence[RunRecord]) -> Overhead:
    """The time between the ends of runs of one worker, less the training of each, from their records."""
    ended = sorted((r.provenance.finished or 0.0, r.cost.train_seconds) for r in records if r.finished)
    found = [after[0] - before[0] - after[1] for before, after in pairwise(ended)]
    if len(found) < 2:
        raise BenchError(
            f"an overhead needs three runs or more that finished, but there are {len(ended)}; ask for more"
        )
    low, median, high = statistics.quantiles(found, n=4)
    return Overhead(median, low, high, len(found))

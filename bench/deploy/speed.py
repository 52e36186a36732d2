"""Measured speed of finished models: `bench speed`, and the end of studies that ask for it.

Each run is timed against the dense model that it names, in this process, and each setting is written at once to the run's
`speed.json` (`bench.records.speed_record`). A masked model, which has the dense model's shapes, is timed too, but its result is
never called a speed-up.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from bench import environment
from bench.deploy.speed_record import Measured, SpeedRequest, known_searches
from bench.errors import BenchError, MissingData
from bench.records.home import Home
from bench.records.speed_record import SpeedRecord, SpeedRow
from bench.records.study_record import FINAL, Entry

BUSY = 0.1  # share of the processors: when other work uses more, the user is warned


def chosen(home: Home, names: Sequence[str]) -> dict[str, str]:
    """Returns the runs of some names, with a label for each. A name is a run's id, or a study: then one final of each
    configuration.

    Raises:
        MissingData: a name is neither.
    """
    found = dict[str, str]()
    for name in names:
        if (home.records.run(name) / "plan.json").exists():
            found[name] = name
        elif name in home.records.studies():
            found |= of_study(home, name)
        else:
            raise MissingData(
                f"speed is measured of a finished run or a study, but {name!r} is neither in {home.path}; the report names "
                "both"
            )
    return found


def of_study(home: Home, study: str) -> dict[str, str]:
    """Returns one finished final for each configuration of a study, with the lowest seed, and its cell's name."""
    first = dict[tuple[str, int], Entry]()
    for entry in home.records.entries(study):
        key = entry.cell, entry.number
        if entry.kind == FINAL and entry.finished:
            first[key] = min(first.get(key, entry), entry, key=lambda e: e.seed)
    return {entry.run: entry.cell for entry in first.values()}


def measure(console: Console, home: Home, runs: Mapping[str, str], request: SpeedRequest) -> None:
    """Measures the missing settings of some runs (labels by id), one run after the other, and prints all results."""
    device = environment.resolve_device(request.device)
    _warn_if_busy(console)
    bars = Progress(
        *(TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.completed}/{task.total}")),
        *(TimeElapsedColumn(), TimeRemainingColumn()),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with timing_lock(home), bars:
        task = bars.add_task("speed", total=len(runs) * len(request.settings))
        searches = known_searches(home, runs)
        for run_id, name in runs.items():
            try:
                one = Measured(home, run_id, device, request, searches)
                for setting in one.missing():
                    bars.update(task, description=escape(f"{name} {' '.join(setting)}"))
                    one.add(*setting)
                    bars.advance(task)
                bars.advance(task, len(request.settings) - one.done)
            except BenchError as error:
                bars.advance(task, len(request.settings))
                console.print(f"[red]{escape(f'{name}: {error}')}[/]", soft_wrap=True)
    console.print("ratio: time of the dense model over that of the pruned one, median over rounds", soft_wrap=True)
    for made in tables(home, runs):
        console.print(made)
    found = [home.records.speed(run_id) for run_id in runs]
    for reason in sorted({row.reason for one in found if one is not None for row in one.missing}):
        console.print(f"not measured: {escape(reason)}", soft_wrap=True)


def _warn_if_busy(console: Console) -> None:
    busy = environment.busy()
    if busy > BUSY:
        console.print(
            f"[yellow]other work uses {busy:.0%} of this machine's processors and makes times less exact; the share is "
            "recorded beside each time[/]",
            soft_wrap=True,
        )


@contextlib.contextmanager
def timing_lock(home: Home) -> Iterator[None]:
    """Holds a lock of the home, because two processes that measure would slow each other down.

    Raises:
        BenchError: another process holds it.
    """
    home.path.mkdir(parents=True, exist_ok=True)
    with (home.path / ".speed.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BenchError(f"times are measured by one process, but another measures in {home.path}; wait") from None
        yield


def tables(home: Home, runs: Mapping[str, str]) -> Iterator[Table]:
    """Yields a table of the measured speeds of each run."""
    for run_id, name in runs.items():
        value = home.records.speed(run_id)
        if value is None:
            continue
        title = f"[bold]{escape(name)}[/]: MACs promise {value.speedup_theoretical:.2f}"
        made = Table("setting", title=title, title_justify="left", title_style="", box=box.SIMPLE)
        for head, width in (("dense ms", 8), ("pruned ms", 9), ("ratio (quartiles)", 20), ("", 7)):
            made.add_column(head, justify="right" if head else "left", min_width=width)
        several = len({row.threads for row in value.rows}) > 1
        for dense, pruned in value.pairs():
            setting = f"{pruned.precision} {pruned.mode} {pruned.batch}"
            if several:
                setting += f", {pruned.threads} threads"
            times = [f"{row.median_ms:.3g}" for row in (dense, pruned)]
            ratio = f"{pruned.ratio:.2f} ({pruned.ratio_q1:.2f} to {pruned.ratio_q3:.2f})"
            made.add_row(setting, *times, ratio, verdict(value, pruned))
        yield made


def verdict(value: SpeedRecord, row: SpeedRow) -> str:
    """Returns the verdict on a ratio: "faster" or "slower" needs a smaller model and three quarters of the rounds."""
    if not value.smaller:
        return "theoretical only"
    if row.ratio_q1 > 1:
        return "faster"
    if row.ratio_q3 < 1:
        return "slower"
    return "unclear"


def command(console: Console, names: Sequence[str], request: SpeedRequest) -> None:
    """Runs `bench speed` on runs and studies.

    Raises:
        BenchError: no run and no study is named.
    """
    home = Home()
    if not names:
        raise BenchError("speed is measured of finished runs or studies, but none was named; `bench speed STUDY`")
    measure(console, home, chosen(home, names), request)

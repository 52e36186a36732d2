"""How much faster finished models really are: `bench speed`, and the end of studies that ask for it.

One run after the other is timed against the dense model that it names, in this process, and what comes of it is written
beside the run's record after each setting (`speed.json`, see `bench.records.speed_record`). A model with zeros in it but
all of its shapes is timed as well, but nothing that is measured of it is called a speed-up: its own is theoretical.
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

BUSY = 0.1  # of the processors: what others use of them, above it, blurs times


def chosen(home: Home, names: Sequence[str]) -> dict[str, str]:
    """The runs that names stand for, and what they are called: a run's id, or a study, of which it is one final of each
    configuration."""
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
    """The finals of a study with the first of its seeds that finished, one for each configuration, with its cell's name."""
    first = dict[tuple[str, int], Entry]()
    for entry in home.records.entries(study):
        key = entry.cell, entry.number
        if entry.kind == FINAL and entry.finished:
            first[key] = min(first.get(key, entry), entry, key=lambda e: e.seed)
    return {entry.run: entry.cell for entry in first.values()}


def measure(console: Console, home: Home, runs: Mapping[str, str], request: SpeedRequest) -> None:
    """Measure what is not measured yet of some runs (names by id), one after the other, and print all of it."""
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
    found = [speed for run_id in runs if (speed := home.records.speed(run_id)) is not None]
    for reason in sorted({row.reason for one in found for row in one.missing}):
        console.print(f"not measured: {escape(reason)}", soft_wrap=True)


def _warn_if_busy(console: Console) -> None:
    if (busy := environment.busy()) > BUSY:
        console.print(
            f"[yellow]other work uses {busy:.0%} of this machine's processors and blurs what is timed; that share is recorded "
            "beside each time[/]",
            soft_wrap=True,
        )


@contextlib.contextmanager
def timing_lock(home: Home) -> Iterator[None]:
    """Times are measured by one process at a time: two would slow each other down."""
    home.path.mkdir(parents=True, exist_ok=True)
    with (home.path / ".speed.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BenchError(f"times are measured by one process, but another measures in {home.path}; wait") from None
        yield


def tables(home: Home, runs: Mapping[str, str]) -> Iterator[Table]:
    """All that is measured of each run."""
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
            setting += f", {pruned.threads} threads" if several else ""
            times = [f"{row.median_ms:.3g}" for row in (dense, pruned)]
            ratio = f"{pruned.ratio:.2f} ({pruned.ratio_q1:.2f} to {pruned.ratio_q3:.2f})"
            made.add_row(setting, *times, ratio, verdict(value, pruned))
        yield made


def verdict(value: SpeedRecord, row: SpeedRow) -> str:
    """What a ratio may be called: faster only a smaller model, where at least three quarters of the rounds say so."""
    if not value.smaller:
        return "theoretical only"
    if row.ratio_q1 > 1:
        return "faster"
    return "slower" if row.ratio_q3 < 1 else "unclear"


def command(console: Console, names: Sequence[str], request: SpeedRequest) -> None:
    """`bench speed` of runs and studies."""
    home = Home()
    if not names:
        raise BenchError("speed is measured of finished runs or studies, but none was named; `bench speed STUDY`")
    measure(console, home, chosen(home, names), request)

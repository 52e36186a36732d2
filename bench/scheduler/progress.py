"""Progress of runs for the user: bars with the time left, accuracy and sparsity; without a terminal, plain lines."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.scheduler.pool import Outcome

LINE_EVERY = 10.0  # seconds between two plain lines of one run


class Display:
    """A watcher of a `Pool`, used as a context manager. ``total`` is the number of runs, if it is known.

    With ``failures=False`` it prints no failed run: the caller does.
    """

    def __init__(self, console: Console, total: int | None = None, *, failures: bool = True) -> None:
        self.console, self.total, self.failures = console, total, failures
        self.live = console.is_terminal
        columns = ("[progress.description]{task.description}", "{task.fields[status]}")
        self.bars = Progress(
            TextColumn(columns[0]),
            BarColumn(bar_width=24),
            TextColumn(columns[1]),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not self.live,
        )
        self.tasks: dict[str, TaskID] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.printed: dict[str, float] = {}
        self.ended = self.cached = 0

    def __enter__(self) -> Self:
        self.bars.start()
        self.whole = self.bars.add_task("runs", total=self.total, status="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def expect(self, more: int) -> None:
        """Expect so many more runs."""
        self.total = (self.total or 0) + more
        self.bars.update(self.whole, total=self.total)

    def __call__(self, label: str, kind: str, value: Any) -> None:
        """Show one message of the pool."""
        if kind == "started":
            self.printed[label] = time.monotonic()
            self.tasks[label] = self.bars.add_task(escape(label), total=None, status="starting")
        elif kind == "decoding":
            done, total = value
            self._update(label, completed=done, total=total, status="decoding images")
        elif kind == "progress":
            self._progress(label, value)
        elif kind == "retry":
            self.say(f"{label}: tries again after: {value}")
            self._remove(label)
        elif kind == "ended":
            self._end(label, value)

    def _progress(self, label: str, value: dict[str, Any]) -> None:
        if value["row"]:
            self.rows[label] = value["row"]
        row, status = self.rows.get(label), value["phase"]
        if row:
            status += f" · {row['val/top1']:.1f} % · {_left(row)}"
        self._update(label, completed=value["step"], total=value["steps"], status=status)
        if not self.live and value["row"] and time.monotonic() - self.printed.get(label, 0.0) >= LINE_EVERY:
            self.printed[label] = time.monotonic()
            self.say(f"{label}: step {value['step']} of {value['steps']} · {status}")

    def _update(self, label: str, **values: Any) -> None:
        if label in self.tasks:
            self.bars.update(self.tasks[label], **values)

    def _remove(self, label: str) -> None:
        if label in self.tasks:
            self.bars.remove_task(self.tasks.pop(label))

    def _end(self, label: str, outcome: Outcome) -> None:
        self._remove(label)
        self.ended += 1
        self.cached += outcome.cached
        self.bars.update(self.whole, advance=1, status=f"{self.ended} ended")
        row = self.rows.pop(label, None)
        if outcome.state == "failed" and self.failures:
            self.say(f"{label}: {outcome.kind or 'failed'}: {outcome.reason}", style="red")
        elif outcome.state == "finished" and not outcome.cached:
            what = f"{row['val/top1']:.2f} % validation, {_left(row)}" if row else "finished"
            count = f"[{self.ended}/{self.total}] " if self.total else ""
            self.say(f"{count}{label}: {what} ({outcome.run.id})")

    def say(self, text: str, style: str = "") -> None:
        """Print one line above the bars."""
        self.console.print(escape(text), style=style, highlight=False, soft_wrap=True)


def _left(row: Mapping[str, Any]) -> str:
    """The share of the dense model's weights that is left: a model that lost whole channels may hold no zero."""
    return f"{100 * row['weights_left']:.1f} % of the weights left"

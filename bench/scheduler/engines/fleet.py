"""What all engines share: they start workers, watch their states, start lost ones again, and give up with a reason.

queued -> running -> ended            no job was left
                  -> lost -> queued   its machine or its process went away, and another one takes its place
"""

from __future__ import annotations

import abc
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from bench.errors import BenchError
from bench.scheduler.engines.base import Resources
from bench.scheduler.worker_config import WorkerConfig

State = Literal["queued", "running", "ended", "lost"]
TRIES = 3  # times in a row that a worker may fail at once before it is given up
AT_ONCE = 60.0  # seconds: a worker that failed sooner did not fail because of its machine
PAUSE = 10.0  # seconds, times the number of failures, before a new start: a server may still be starting
AGAIN = 30.0  # seconds before workers that all found no job are started again, if the study goes on


@dataclass(frozen=True)
class Status:
    """The state of a worker; ``reason`` says why it waits or is lost."""

    state: State
    where: str = ""
    reason: str = ""


@dataclass
class Slot:
    """The place of one worker; ``job`` is the cluster's name for it."""

    number: int
    job: Any = None
    state: State = "queued"
    where: str = ""
    changed: float = 0.0  # when its state changed
    failed: int = 0  # times in a row, each at once
    due: float = math.inf  # when a lost worker is started again


class Fleet(abc.ABC):
    """Workers on a cluster. A subclass launches them, asks for their states and ends them."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.slots: list[Slot] = []
        self.config: WorkerConfig | None = None
        self._queue_line = ""

    @abc.abstractmethod
    def _launch(self, config: WorkerConfig, slots: Sequence[Slot]) -> None:
        """Start a worker for each slot, and set the slot's ``job``."""

    @abc.abstractmethod
    def _look(self) -> Mapping[int, Status]:
        """The states of the workers, by the number of their slot; unchanged ones may be left out."""

    @abc.abstractmethod
    def _end(self, slots: Sequence[Slot]) -> None:
        """Ask the workers of these slots to end, and wait for a limited time."""

    def start(self, config: WorkerConfig) -> None:
        """See `bench.scheduler.engines.Engine`."""
        config = replace(config, threads=config.threads or max(1, int(self.resources.cpus)))
        if not self.resources.wants_gpus:  # some clusters show all GPUs to every worker
            config = replace(config, device=config.device or "cpu")
        self.config, self.slots = config, [Slot(number) for number in range(self.resources.workers)]
        self._start(self.slots)

    def _start(self, slots: Sequence[Slot]) -> None:
        assert self.config is not None
        for slot in slots:
            slot.state, slot.where, slot.changed, slot.due = "queued", "", time.monotonic(), math.inf
        if slots:
            self._launch(self.config, slots)

    def tend(self) -> list[str]:
        """See `bench.scheduler.engines.Engine`."""
        lines, started, statuses = list[str](), Counter[str](), self._look()
        for slot in self.slots:
            status = statuses.get(slot.number, Status(slot.state, slot.where))
            if status.state == slot.state:
                continue
            if status.state == "running":
                started[status.where or "the cluster"] += 1
            elif status.state == "queued":
                lines.append(f"worker {slot.number}{_on(slot.where)} was put back into the queue{_why(status.reason)}")
            elif status.state == "lost":
                lines.append(self._lose(slot, status))
            slot.state, slot.where, slot.changed = status.state, status.where or slot.where, time.monotonic()
        lines += [f"{_workers(count)} started on {where}" for where, count in sorted(started.items())]
        due = [slot for slot in self.slots if slot.state == "lost" and slot.due <= time.monotonic()]
        self._start([*due, *self._idle()])
        return lines + self._describe_queue(statuses)

    def _lose(self, slot: Slot, status: Status) -> str:
        """Plan the next start of a lost worker; returns a line for the user."""
        at_once = slot.state == "queued" or time.monotonic() - slot.changed < AT_ONCE
        slot.failed = slot.failed + 1 if at_once else 0
        where = _on(status.where or slot.where)
        lost = f"worker {slot.number}{where} was lost{_why(status.reason)}"
        if slot.failed < TRIES:
            slot.due = time.monotonic() + PAUSE * slot.failed
            return f"{lost}; another one takes its place"
        slot.due = math.inf
        if any(other.state != "lost" or other.due < math.inf for other in self.slots if other is not slot):
            return f"{lost}; it failed at once {TRIES} times in a row and is not started again"
        raise BenchError(
            f"a study needs one worker that works, but each failed at once, {TRIES} times in a row, at last"
            f"{where}{_why(status.reason)}; correct that and run the same command"
        )

    def _idle(self) -> list[Slot]:
        """All workers to start again: each has found no job for a while, but the study goes on."""
        if self.alive():
            return []
        ended, now = [slot for slot in self.slots if slot.state == "ended"], time.monotonic()
        if any(now - slot.changed <= AGAIN for slot in ended):
            return []
        return ended

    def _describe_queue(self, statuses: Mapping[int, Status]) -> list[str]:
        """A line about the workers that wait, if it has changed."""
        if not statuses:
            return []
        reasons = Counter(s.reason for s in statuses.values() if s.state == "queued" and s.reason)
        line = "; ".join(f"{_workers(count)} in the queue ({reason})" for reason, count in reasons.most_common(3))
        before, self._queue_line = self._queue_line, line
        if not line or line == before:
            return []
        return [line]

    def alive(self) -> int:
        """See `bench.scheduler.engines.Engine`."""
        return sum(slot.state in ("queued", "running") or slot.due < math.inf for slot in self.slots)

    def stop(self) -> None:
        """See `bench.scheduler.engines.Engine`."""
        alive = [slot for slot in self.slots if slot.state in ("queued", "running")]
        for slot in self.slots:
            slot.state, slot.due = "ended", math.inf
        self._end(alive)


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _on(where: str) -> str:
    return f" on {where}" if where else ""


def _why(reason: str) -> str:
    return f" ({reason})" if reason else ""

"""What all engines do with their workers: start them, see how they are, start lost ones again, and give up with a reason.

queued -> running -> ended            nothing was left to do
                  -> lost -> queued   its machine or its process went away; another one takes its place
"""

from __future__ import annotations

import abc
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import BenchError
from bench.scheduler.engines.base import Resources

if TYPE_CHECKING:
    from bench.scheduler.worker import WorkerConfig

State = Literal["queued", "running", "ended", "lost"]
TRIES = 3  # so often in a row a worker may fail at once
AT_ONCE = 60.0  # seconds that a worker lives when something is wrong with it and not with its machine
PAUSE = 10.0  # seconds, times how often it failed, until it is started again: a server may only be starting, too
AGAIN = 30.0  # seconds after which workers that all found nothing to do look again, while the study goes on


@dataclass(frozen=True)
class Seen:
    """How a worker is; ``reason`` says why it waits or is lost."""

    state: State
    where: str = ""
    reason: str = ""


@dataclass
class Slot:
    """The place of one worker; ``job`` is what the cluster calls it."""

    number: int
    job: Any = None
    state: State = "queued"
    where: str = ""
    changed: float = 0.0
    failed: int = 0  # times in a row, each at once
    due: float = math.inf  # when a lost one is started again


class Fleet(abc.ABC):
    """Workers on a cluster. A subclass launches them, looks at them and ends them."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.slots: list[Slot] = []
        self.config: WorkerConfig | None = None
        self._waiting = ""

    @abc.abstractmethod
    def _launch(self, config: WorkerConfig, slots: Sequence[Slot]) -> None:
        """Start a worker for each slot, and note its ``job``."""

    @abc.abstractmethod
    def _look(self) -> Mapping[int, Seen]:
        """How the workers are, by the number of their slot; those that nothing new is known of may be left out."""

    @abc.abstractmethod
    def _end(self, slots: Sequence[Slot]) -> None:
        """Ask the workers of these slots to end, and wait a little."""

    def start(self, config: WorkerConfig) -> None:
        """See `bench.scheduler.engines.Engine`."""
        config = replace(config, threads=config.threads or max(1, int(self.resources.cpus)))
        if not self.resources.wants_gpus:  # not every cluster hides the GPUs that nobody asked for
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
        lines, started, seen = list[str](), Counter[str](), self._look()
        for slot in self.slots:
            now = seen.get(slot.number, Seen(slot.state, slot.where))
            if now.state == slot.state:
                continue
            if now.state == "running":
                started[now.where or "the cluster"] += 1
            elif now.state == "queued":
                lines.append(f"worker {slot.number}{_on(slot.where)} was put back into the queue{_why(now.reason)}")
            elif now.state == "lost":
                lines.append(self._lost(slot, now))
            slot.state, slot.where, slot.changed = now.state, now.where or slot.where, time.monotonic()
        lines += [f"{_workers(count)} started on {where}" for where, count in sorted(started.items())]
        due = [slot for slot in self.slots if slot.state == "lost" and slot.due <= time.monotonic()]
        self._start([*due, *self._idle()])
        return lines + self._queue(seen)

    def _lost(self, slot: Slot, now: Seen) -> str:
        at_once = slot.state == "queued" or time.monotonic() - slot.changed < AT_ONCE
        slot.failed = slot.failed + 1 if at_once else 0
        told = f"worker {slot.number}{_on(now.where or slot.where)} was lost{_why(now.reason)}"
        if slot.failed < TRIES:
            slot.due = time.monotonic() + PAUSE * slot.failed
            return f"{told}; another one takes its place"
        slot.due = math.inf
        if any(other.state != "lost" or other.due < math.inf for other in self.slots if other is not slot):
            return f"{told}; it failed at once {TRIES} times in a row and is not started again"
        raise BenchError(
            f"a study needs one worker that works, but each failed at once, {TRIES} times in a row, at last"
            f"{_on(now.where or slot.where)}{_why(now.reason)}; mend that and run the same command"
        )

    def _idle(self) -> list[Slot]:
        """All workers, when each has found nothing to do and yet the study goes on."""
        ended, now = [slot for slot in self.slots if slot.state == "ended"], time.monotonic()
        if self.alive():
            return []
        return ended if all(now - slot.changed > AGAIN for slot in ended) else []

    def _queue(self, seen: Mapping[int, Seen]) -> list[str]:
        """A line about the workers that wait, when it is another one than before."""
        if not seen:
            return []
        reasons = Counter(s.reason for s in seen.values() if s.state == "queued" and s.reason)
        told = "; ".join(f"{_workers(count)} in the queue ({reason})" for reason, count in reasons.most_common(3))
        before, self._waiting = self._waiting, told
        return [told] if told and told != before else []

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

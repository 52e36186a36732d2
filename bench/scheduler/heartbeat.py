"""Heartbeats for the leases of a worker, from a thread of their own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable

from bench.scheduler.stage_kinds import LeasedJob
from bench.scheduler.storages import lease_times

CHECK_EVERY = 0.5  # seconds between two looks at the time of the last heartbeat


class Heartbeat:
    """Sends a heartbeat for each lease, and halts the runs when none reached the storage for as long as a lease lasts.

    Two threads, as a call to a storage behind a cut network may take long: one sends, one watches the time. Whichever worker
    reaches the storage may lease our jobs soon after, so our runs must stop before.
    """

    def __init__(self, leased: Callable[[], list[LeasedJob]], halt: Callable[[], None]) -> None:
        """``leased`` returns the jobs to keep; ``halt`` stops their runs. Threads of the heartbeat call both."""
        self._leased, self._halt = leased, halt
        self._last = time.monotonic()  # when the last complete heartbeat began
        self._lost = deque[LeasedJob]()
        self._done = threading.Event()
        self.expired = False
        """No heartbeat reached the storage for as long as a lease lasts, and the runs were halted; until `restart`."""

    def start(self) -> None:
        """Start the threads."""
        self._last = time.monotonic()
        for thread in (self._send, self._watch):
            threading.Thread(target=thread, daemon=True).start()

    def stop(self) -> None:
        """Let the threads end."""
        self._done.set()

    def restart(self) -> None:
        """Begin anew, after all leases were given up."""
        self._last, self.expired = time.monotonic(), False

    def take_lost(self) -> list[LeasedJob]:
        """The jobs that another worker has taken over since the last call."""
        return [self._lost.popleft() for _ in range(len(self._lost))]

    def _send(self) -> None:
        every, count = lease_times().heartbeat, 0
        while not self._done.wait(every):
            count += 1
            with contextlib.suppress(Exception):  # the worker meets a storage's errors, too, and reports them
                self.beat(count)

    def beat(self, count: int) -> None:
        """Send one heartbeat for each lease; raises the storage's errors."""
        began = time.monotonic()
        for job in self._leased():
            if not job.queue.beat(job.lease, count):
                self._lost.append(job)
        self._last = began

    def _watch(self) -> None:
        while not self._done.wait(CHECK_EVERY):
            self.check()

    def check(self) -> None:
        """Halt the runs if the last heartbeat is older than a lease."""
        if self._leased() and not self.expired and time.monotonic() - self._last > lease_times().expiry:
            self.expired = True
            self._halt()

"""The entries of a study that a worker writes: to its home, and to the remote home, where there is one."""

from __future__ import annotations

from bench.errors import BenchError
from bench.records.home import Home
from bench.records.study_record import Entry


class Outbox:
    """Writes entries to the home at once, and sends them to the remote home; keeps those that it does not accept now."""

    def __init__(self, home: Home, study: str) -> None:
        self._home, self._study, self._remote = home, study, home.remote
        self._unsent: list[Entry] = []

    def write(self, entry: Entry) -> None:
        """Write an entry to the home; `send` sends it."""
        self._home.records.write_entry(self._study, entry)
        if self._remote is not None:
            self._unsent.append(entry)

    def send(self) -> None:
        """Send what was not sent yet, in order; stops at the first error, and the next call continues there."""
        while self._remote is not None and self._unsent:
            try:
                self._remote.push_entry(self._study, self._unsent[0])
            except BenchError:
                return
            self._unsent.pop(0)

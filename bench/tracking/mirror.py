"""Repeated sync of a running study to MLflow, from a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from bench.environment import mask_secrets
from bench.errors import BenchError
from bench.records.home import Home
from bench.records.watcher import LOOSE
from bench.tracking.connection import connect
from bench.tracking.refusals import chain_of, reason
from bench.tracking.tracker import Tracker


class Mirror:
    """Syncs a study's folder to MLflow every few seconds from a thread. An outage causes one warning and no error."""

    def __init__(self, home: Home, study: str, warn: Callable[[str], None], *, every: float = 3.0) -> None:
        self.home, self.study, self.warn, self.every = home, study, warn, every
        self._tracker: Tracker | None = None
        self._done, self._warned = threading.Event(), False
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.catch_up()

    def catch_up(self) -> None:
        """Syncs once more, after the thread has ended."""
        self._warned = False
        self._once(over=True)

    def _loop(self) -> None:
        while not self._done.wait(self.every):
            self._once(over=False)

    def _once(self, *, over: bool) -> None:
        try:
            if self.study != LOOSE and not (self.home.path / "studies" / self.study / "study.json").exists():
                return
            self._tracker = self._tracker or Tracker(self.home, self.study, connect(self.home))
            self._tracker.sync(over=over)
        except Exception as error:
            self._tracker = None
            if not self._warned:
                self.warn(f"MLflow is behind ({_one_line(error)}); run `bench sync` later")
            self._warned = True

    def report(self, folder: Path) -> None:
        """Uploads the report, if the server answers."""
        if self._tracker is not None:
            try:
                self._tracker.report(folder)
            except Exception as error:
                self.warn(f"the report was not uploaded to MLflow ({_one_line(error)}); it lies in {folder}")

    @property
    def where(self) -> tuple[str, str] | None:
        """The ids of the experiment and of the parent run; None before the first sync."""
        if self._tracker is None:
            return None
        return self._tracker.experiment, self._tracker.parent


def _one_line(error: Exception) -> str:
    if isinstance(error, BenchError):
        return mask_secrets(str(error))
    return reason(chain_of(error))

"""A study of a few short runs, for engines to work on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import studies.pareto
from bench.records.home import Home
from bench.records.run_folder import RunFolder
from bench.records.study_record import Entry
from bench.scheduler.coordinator import Coordinator, Result
from bench.scheduler.engines.base import Engine
from bench.scheduler.pool import Pool
from bench.scheduler.worker_config import WorkerConfig
from bench.study.study import Study


def study(trials: int = 3, epochs: int = 2) -> Study:
    """Trials of one cell and a final, each a few seconds long, with a sampler that uses no results."""
    settings = (f"epochs={epochs}", "batch=256")
    return studies.pareto.study(
        ("gradual",),
        models=("test_resnet",),
        settings=settings,
        **{"trials": trials, "finals": 1, "final_seeds": (1000,), "sampler": "qmc"},
    )


class Coordinated:
    """A study that is carried out in a thread, while the test causes faults."""

    def __init__(self, one: Study, engine: Engine | None) -> None:
        self.study, self.lines, self.result, self.error = one, list[str](), Result(""), ""
        pool = Pool(Home(), checkpoint_seconds=0.5)
        self._coordinator = Coordinator(one, Home(), pool, say=self.lines.append, engine=engine)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._coordinator.run()
        except BaseException as error:
            self.error = repr(error)

    def until(self, what: Callable[[], bool], seconds: float = 900) -> None:
        """Wait for something to happen while the study goes on."""
        end = time.monotonic() + seconds
        while not what():
            assert self._thread.is_alive(), (self.error, self.lines)
            assert time.monotonic() < end, self.lines
            time.sleep(0.2)

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def end(self, seconds: float = 1500) -> Result:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), self.lines
        assert not self.error, (self.error, self.lines)
        return self.result


def entries(name: str) -> list[Entry]:
    return list(Home().records.entries(name))


def configurations(name: str) -> set[str]:
    """What was tried, and the results."""
    return {json.dumps([e.kind, e.number, e.params, e.run, e.state], sort_keys=True) for e in entries(name)}


def running(name: str) -> int:
    """How many runs of a study are being computed."""
    return sum(e.state == "running" and RunFolder(Home().records.run(e.run)).busy for e in entries(name))


def config() -> WorkerConfig:
    """The configuration of a worker for a study that was not begun."""
    home = Home()
    return WorkerConfig("nobody", home.path, home.data)


def tend_until(engine: Engine, what: Callable[[], bool], every: float = 0.5) -> None:
    """Look after workers until something happens, then stop them."""
    end = time.monotonic() + 900
    try:
        while not what():
            assert time.monotonic() < end
            engine.tend()
            time.sleep(every)
    finally:
        engine.stop()

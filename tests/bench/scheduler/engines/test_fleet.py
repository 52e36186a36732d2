"""Lost workers start again, and a fleet that cannot work gives up with its reason; on processes of this machine."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.scheduler.engines import fleet
from bench.scheduler.engines.base import Resources
from bench.scheduler.engines.fleet import Fleet, Slot, Status
from bench.scheduler.worker_config import WorkerConfig
from tests.bench.scheduler.engines import tiny


def config(home: Path) -> WorkerConfig:
    return WorkerConfig("toy", home, home)


class Processes(Fleet):
    """The simplest cluster: a worker is a process of this machine."""

    command = "exec sleep 60"

    def _launch(self, config: WorkerConfig, slots: Sequence[Slot]) -> None:
        for slot in slots:
            slot.job = subprocess.Popen(["sh", "-c", self.command])

    def _look(self) -> Mapping[int, Status]:
        alive = [slot for slot in self.slots if slot.state in ("queued", "running")]
        return {slot.number: self._status(slot.job.poll()) for slot in alive}

    def _status(self, code: int | None) -> Status:
        if code is None:
            return Status("running", "here")
        return Status("lost", "here", f"exit code {code}") if code else Status("ended", "here")

    def _end(self, slots: Sequence[Slot]) -> None:
        for slot in slots:
            slot.job.terminate()
        for slot in self.slots:
            slot.job.wait()


def test_workers_without_gpus_compute_on_the_cpu(tmp_path: Path) -> None:
    devices = []
    for resources in (Resources(), Resources(gpus=0.5), Resources(options=("gres=shard:1",))):
        engine = Processes(resources)
        engine.command = "exit 0"
        engine.start(config(tmp_path))
        engine.stop()
        assert engine.config is not None
        devices.append(engine.config.device)
    assert devices == ["cpu", "", ""]


def test_a_lost_worker_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "PAUSE", 0.0)
    engine = Processes(Resources(workers=2))
    engine.start(config(tmp_path))
    try:
        assert engine.tend() == ["2 workers started on here"]
        engine.slots[1].job.kill()
        engine.slots[1].job.wait()
        (line,) = engine.tend()
        assert line == "worker 1 on here was lost (exit code -9); another one takes its place"
        assert engine.alive() == 2
        assert engine.tend() == ["1 worker started on here"]
    finally:
        engine.stop()
    assert engine.alive() == 0
    assert [slot.job.returncode for slot in engine.slots] == [-signal.SIGTERM] * 2


def test_when_every_worker_fails_at_once_the_error_has_the_last_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "PAUSE", 0.0)
    engine = Processes(Resources(workers=2))
    engine.command = "exit 3"
    engine.start(config(tmp_path))
    with pytest.raises(BenchError, match=r"failed at once, 3 times in a row, at last on here \(exit code 3\)"):
        tiny.tend_until(engine, lambda: False, 0.05)


def test_workers_that_found_no_job_start_again_while_the_study_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "AGAIN", 0.0)
    engine = Processes(Resources(workers=2))
    engine.command = "exit 0"
    engine.start(config(tmp_path))
    first = [slot.job for slot in engine.slots]
    tiny.tend_until(
        engine, lambda: all(slot.job is not job for slot, job in zip(engine.slots, first, strict=True)), 0.05
    )

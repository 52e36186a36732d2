"""What holds for every engine: wishes are checked, lost workers start again, what cannot work is given up with its reason."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.scheduler import engines
from bench.scheduler.engines import fleet, slurm
from bench.scheduler.engines.base import Resources
from bench.scheduler.engines.entry import work
from bench.scheduler.engines.fleet import Fleet, Seen, Slot
from bench.scheduler.worker import WorkerConfig
from tests.bench.scheduler.engines import tiny


def config(home: Path) -> WorkerConfig:
    return WorkerConfig("toy", home, home)


class Processes(Fleet):
    """The simplest cluster: a worker is a process of this machine."""

    command = "exec sleep 60"

    def _launch(self, config: WorkerConfig, slots: Sequence[Slot]) -> None:
        for slot in slots:
            slot.job = subprocess.Popen(["sh", "-c", self.command])

    def _look(self) -> Mapping[int, Seen]:
        return {slot.number: self._seen(slot.job.poll()) for slot in self.slots if slot.state in ("queued", "running")}

    def _seen(self, code: int | None) -> Seen:
        if code is None:
            return Seen("running", "here")
        return Seen("lost", "here", f"exit code {code}") if code else Seen("ended", "here")

    def _end(self, slots: Sequence[Slot]) -> None:
        for slot in slots:
            slot.job.terminate()
        for slot in self.slots:
            slot.job.wait()


@pytest.mark.parametrize(
    ("resources", "rule"),
    [
        ({"workers": 0}, "one worker at least"),
        ({"gpus": 1.5}, "a part of one GPU or whole ones"),
        ({"cpus": -1}, "cannot be negative, but cpus is -1"),
        ({"memory_gb": float("nan")}, "memory_gb is nan"),
        ({"options": ("--account lab",)}, "written key=value"),
        ({"options": ("comment=a\n#SBATCH --uid=0",)}, "written key=value"),
    ],
)
def test_what_no_cluster_can_grant_is_refused(resources: dict[str, Any], rule: str) -> None:
    with pytest.raises(BenchError, match=rule):
        Resources(**resources)


def test_workers_that_asked_for_no_gpu_compute_without_one(tmp_path: Path) -> None:
    devices = []
    for resources in (Resources(), Resources(gpus=0.5), Resources(options=("gres=shard:1",))):
        engine = Processes(resources)
        engine.command = "exit 0"
        engine.start(config(tmp_path))
        engine.stop()
        assert engine.order is not None
        devices.append(engine.order.device)
    assert devices == ["cpu", "", ""]


def test_an_unknown_engine_is_refused_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="slurm"):
        engines.engine("slrum", Resources())


@pytest.mark.parametrize("name", engines.NAMES)
def test_an_engine_without_its_package_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BenchError, match=rf'pip install "prunebench\[{name}\]"'):
        engines.engine(name, Resources())


def test_slurm_is_started_from_one_of_its_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="sbatch is not on the PATH"):
        engines.engine("slurm", Resources())


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


def test_when_every_worker_fails_at_once_the_last_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "PAUSE", 0.0)
    engine = Processes(Resources(workers=2))
    engine.command = "exit 3"
    engine.start(config(tmp_path))
    with pytest.raises(BenchError, match=r"failed at once, 3 times in a row, at last on here \(exit code 3\)"):
        tiny.tend_until(engine, lambda: False, 0.05)


def test_workers_that_have_nothing_to_do_look_again_while_the_study_goes_on(
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


def test_a_worker_that_fails_says_why_without_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["pytest"])
    before = signal.getsignal(signal.SIGUSR2)
    assert "begun" in work(config(tmp_path), (signal.SIGUSR2,)).reason
    assert signal.getsignal(signal.SIGUSR2) == before
    monkeypatch.setenv("BENCH_OPTUNA", "mysql://bob:sesame@127.0.0.1:1/none")
    failed = work(config(tmp_path), (signal.SIGUSR2,))
    assert failed.reason
    assert "sesame" not in failed.reason


@pytest.mark.parametrize(("text", "minutes"), [("1-02:03:04", 1563), ("00:30:00", 30), ("UNLIMITED", 0), ("NONE", 0)])
def test_limits_of_partitions_in_minutes(text: str, minutes: int) -> None:
    assert slurm._minutes(text) == minutes


def test_what_sbatch_is_told() -> None:
    pytest.importorskip("submitit")
    from submitit.slurm.slurm import _make_sbatch_string

    resources = Resources(2, cpus=1.5, gpus=1, memory_gb=0.5, minutes=60, partition="gpu", options=("account=my lab",))
    text = _make_sbatch_string(command="true", folder="x", **slurm.parameters(resources, "name"))
    lines = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]
    told = {
        "cpus-per-task=2",
        "gpus-per-node=1",
        "mem=512MB",
        "time=60",
        "partition=gpu",
        "account='my lab'",
        "requeue",
    }
    assert told <= set(lines)
    assert {"signal=USR2@120", "export=ALL"} <= set(lines)
    assert "--cpus-per-task=2" in text.splitlines()[-1]

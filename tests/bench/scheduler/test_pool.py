"""Processes that diverge, crash, hang or fill the disk: all of it for real."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from bench.errors import BenchError
from bench.records.home import Home
from bench.records.run_folder import RunFolder
from bench.run import Run, new_run
from bench.scheduler.failures import CRASHED, DIVERGED, HUNG
from bench.scheduler.pool import Outcome, Pool
from tests.records import run_record
from tests.toys import same


def small(*settings: str) -> Run:
    return new_run("gradual", ["epochs=4", "device=cpu", "threads=1", "final=0.5", *settings])


class Log:
    """A watcher that keeps the kinds of messages, and may act on them."""

    def __init__(self, act: Callable[[str, str], None] = lambda label, kind: None) -> None:
        self.act, self.kinds = act, list[str]()

    def __call__(self, label: str, kind: str, value: Any) -> None:
        self.kinds.append(kind)
        self.act(label, kind)


def children() -> list[psutil.Process]:
    """The trial processes: grandchildren, by way of the fork server."""
    return [g for c in psutil.Process().children() for g in c.children()]


def test_a_run_that_diverges_is_a_result_and_the_others_go_on() -> None:
    home = Home()
    outcomes = Pool(home, jobs=2).run([("bad", small("lr=100", "momentum=0.99", "nesterov=no")), ("good", small())])
    assert outcomes["good"].state == "finished"
    assert (outcomes["bad"].state, outcomes["bad"].kind) == ("failed", DIVERGED)
    record = home.records.record(outcomes["bad"].run.id)
    assert record is not None
    assert record.status == "failed"
    assert "the loss must stay finite" in str(record.reason) or "validation loss" in str(record.reason)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "kind", "hang"), [(signal.SIGKILL, CRASHED, 120.0), (signal.SIGSTOP, HUNG, 20.0)]
)  # on a busy machine a process may take ten seconds until its first message
def test_a_killed_or_hanging_process_is_replaced_and_ends_the_same(
    number: signal.Signals, kind: str, hang: float
) -> None:
    done = list[bool]()

    def strike(label: str, what: str) -> None:
        if what == "progress" and not done:
            done.append(True)
            for child in children():
                child.send_signal(number)

    home, log = Home(), Log(strike)
    run = small("epochs=8")
    pool = Pool(home, hang_seconds=hang, checkpoint_seconds=0.1, watch=log)
    outcome = pool.run([("one", run)], keep_weights=True)["one"]
    assert outcome == Outcome(run, "finished")
    assert log.kinds.count("retry") == 1
    record = home.records.record(run.id)
    assert record is not None
    assert [a.kind for a in record.attempts] == [kind]
    other = replace(home, path=home.path.with_name("whole"))
    Pool(other).run([("one", run)], keep_weights=True)
    folders = [RunFolder(p.records.run(run.id)) for p in (home, other)]
    assert same(*(load_file(f.path / "model.safetensors") for f in folders))


@pytest.mark.slow
def test_two_labels_of_one_run_compute_it_once() -> None:
    log = Log()
    outcomes = Pool(Home(), jobs=2, watch=log).run([("a", small()), ("b", small())])
    assert outcomes["a"].state == outcomes["b"].state == "finished"
    assert log.kinds.count("started") == 1


@pytest.mark.slow
def test_halted_runs_end_with_a_checkpoint_and_without_an_outcome() -> None:
    log = Log()
    pool, run = Pool(Home(), checkpoint_seconds=0.0, watch=log), small("epochs=400")
    pool.start("one", run)
    until = time.monotonic() + 120
    while "progress" not in log.kinds and time.monotonic() < until:
        assert pool.poll() == {}
    pool.halt()
    while pool.busy and time.monotonic() < until:
        assert pool.poll() == {}
    assert not pool.busy
    assert RunFolder(Home().records.run(run.id)).checkpoints()
    assert "ended" not in log.kinds


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB of its own."""
    mount = tmp_path / "disk"
    mount.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(mount)], check=False).returncode:
        pytest.skip("this machine does not let a test mount a file system")
    yield mount
    time.sleep(0.5)
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_with_a_clear_line_and_nothing_corrupted(tiny_disk: Path, own_place: Path) -> None:
    home = Home(path=tiny_disk / "results")
    cache = own_place / "results" / "cache"
    Pool(Home()).run([("warm", small("epochs=1"))])
    shutil.copytree(cache, home.cache)
    filler = tiny_disk / "filler"
    free = shutil.disk_usage(tiny_disk).free
    filler.write_bytes(b"0" * (free - 100_000))  # room for the curves, not for a checkpoint
    run = small("epochs=8")
    with pytest.raises(BenchError, match="is full; free some space"):
        Pool(home, checkpoint_seconds=0.0).run([("one", run)], keep_weights=True)
    folder = RunFolder(home.records.run(run.id))
    assert folder.record() is None
    assert not list(folder.path.glob("*.tmp"))
    assert folder.load_checkpoint() is None or folder.checkpoints()
    filler.unlink()
    assert Pool(home).run([("one", run)])["one"].state == "finished"


@pytest.mark.gpu
def test_a_gpu_is_dealt_out() -> None:
    outcome = Pool(Home(), gpus=("0",)).run([("one", replace(small(), device="cuda"))])["one"]
    assert outcome.state == "finished"


def test_results_of_different_versions_of_the_protocol_are_not_mixed() -> None:
    home, run = Home(), small()
    RunFolder(home.records.run(run.id)).close(run_record(run.id, run=run.to_dict(), protocol="1"))
    with pytest.raises(BenchError, match=r"run \w+ was computed by version 1 and this is .*; set BENCH_HOME"):
        Pool(home).run([("one", run)])

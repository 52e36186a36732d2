"""A real SLURM cluster on loopback, which requeues and loses jobs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator

import psutil
import pytest

from bench.errors import BenchError
from bench.records.home import Home
from bench.scheduler import engines
from bench.scheduler.engines.base import Resources
from bench.scheduler.engines.slurm import Slurm
from tests.bench.scheduler.engines import slurm_here, tiny

pytest.importorskip("submitit")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(slurm_here.missing()), reason=slurm_here.missing()),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with slurm_here.cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def engine(found: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Slurm:
    for name, value in {**found, "BENCH_LEASE": "30", "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:sesame@127.0.0.1:1")
    monkeypatch.setattr(Slurm, "every", 1.0)
    made = engines.engine("slurm", Resources(workers=2))
    assert isinstance(made, Slurm)
    return made


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def python_of(job: str) -> int:
    """The process of a job's worker."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        own = process.info["environ"] or {}
        if f"{own.get('SLURM_ARRAY_JOB_ID')}_{own.get('SLURM_ARRAY_TASK_ID')}" == job:
            line = " ".join(process.info["cmdline"] or ())
            if "submitit.core._submit" in line and "srun" not in line and "bash" not in line:
                return int(process.pid)
    raise AssertionError(f"no process of {job}")


def test_requeued_and_killed_jobs_lose_nothing_and_report_nothing_twice(engine: Slurm) -> None:
    name = tiny.study(trials=1).name
    local = tiny.Coordinated(tiny.study(trials=1), None)  # the study is begun here, and goes on there
    local.end()
    assert {e.kind for e in tiny.entries(name)} >= {"trial", "final"}

    going = tiny.Coordinated(tiny.study(trials=3), engine)
    going.until(lambda: going.said("2 workers started") or going.said("1 worker started"))
    first, second = (str(slot.job) for slot in engine.slots)
    going.until(lambda: tiny.running(name) >= 1)
    slurm("scancel", "--signal=USR2", first)  # what a preempted job gets, and one that comes to its limit
    going.until(lambda: going.said("worker 0 on") and going.said("put back into the queue"))
    os.kill(python_of(second), signal.SIGKILL)
    going.until(lambda: going.said("worker 1 on") and going.said("was lost"))
    result = going.end()

    assert len(result.chosen) == 1
    entries = tiny.entries(name)
    assert sorted(e.number for e in entries if e.kind == "trial") == [0, 1, 2]
    assert {e.state for e in entries} == {"finished"}
    assert slurm("squeue", "--noheader") == ""
    folder = Home().path / "studies" / name / "slurm"
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in Home().path.rglob("*"):
        assert path.is_dir() or b"sesame" not in path.read_bytes(), path


def test_a_partition_that_is_not_there_is_refused_by_sbatch(engine: Slurm) -> None:
    engine = Slurm(Resources(partition="none"))
    with pytest.raises(BenchError, match=r"sbatch says: .*invalid partition"):
        engine.start(tiny.config())


def test_a_study_that_was_not_begun_ends_with_the_worker_s_reason(engine: Slurm) -> None:
    engine.start(tiny.config())
    with pytest.raises(BenchError, match=r"failed at once, 3 times.*a study that was begun"):
        tiny.tend_until(engine, lambda: False)


def test_half_a_gpu_is_refused_with_what_slurm_calls_it(engine: Slurm) -> None:
    with pytest.raises(BenchError, match=re.escape("gres=shard:1")):
        Slurm(Resources(gpus=0.5))

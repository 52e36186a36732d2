"""One study under three engines, with both servers, from the command line: the same configurations, the same results."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bench import tracking
from bench.records.home import Home
from tests.bench.scheduler.engines import slurm_here, tiny
from tests.bench.scheduler.servers import running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(bool(running.missing()), reason=running.missing()),
    pytest.mark.skipif(bool(slurm_here.missing()), reason=slurm_here.missing()),
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: the extra `ray`"),
    pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is not installed: the extra `slurm`"),
]
STUDY = (
    "study",
    "gradual",
    "--models",
    "test_resnet",
    "--sampler",
    "qmc",
    "--trials",
    "6",
    "--finals",
    "1",
    "--final-seeds",
)
STUDY += ("1000", "--no-report", "--device", "cpu", "epochs=2", "batch=256", "threads=1")
Surroundings = dict[str, str]


@contextlib.contextmanager
def local(tmp_path: Path) -> Iterator[tuple[tuple[str, ...], Surroundings]]:
    yield ("--jobs", "2"), {}


@contextlib.contextmanager
def ray(tmp_path: Path) -> Iterator[tuple[tuple[str, ...], Surroundings]]:
    from ray.cluster_utils import Cluster

    made, small = Cluster(), {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    try:
        for _ in range(2):
            made.add_node(**small)
        yield ("--on", "ray", "--workers", "2", "--ray-address", made.address), {"RAY_USAGE_STATS_ENABLED": "0"}
    finally:
        made.shutdown()


@contextlib.contextmanager
def slurm(tmp_path: Path) -> Iterator[tuple[tuple[str, ...], Surroundings]]:
    with slurm_here.cluster(tmp_path / "cluster") as environment:
        yield ("--on", "slurm", "--workers", "2"), dict(environment)


def answered(engine: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The study under an engine, on servers of its own: its configurations and runs, as records and MLflow have them."""
    (tmp_path / "cluster").mkdir(exist_ok=True)
    home = tmp_path / engine.__name__
    with running.running() as lab, engine(tmp_path) as (options, surroundings):
        for key, value in {**lab.environment, **surroundings, "BENCH_HOME": str(home), "OMP_NUM_THREADS": "1"}.items():
            monkeypatch.setenv(key, value)
        done = subprocess.run(
            [sys.executable, "-m", "bench", *STUDY, *options],
            capture_output=True,
            text=True,
            check=False,
            env=dict(os.environ),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (name,) = Home(path=home).records.studies()
        tracking.fetch(Home(path=home), tmp_path / f"{engine.__name__}-fetched", (name,))
        found = tiny.configurations(name)
        monkeypatch.setenv("BENCH_HOME", str(tmp_path / f"{engine.__name__}-fetched"))
        assert tiny.configurations(name) == found
    assert len(found) == 8
    return found


def test_local_ray_and_slurm_come_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = answered(local, tmp_path, monkeypatch)
    assert answered(ray, tmp_path, monkeypatch) == ours
    assert answered(slurm, tmp_path, monkeypatch) == ours

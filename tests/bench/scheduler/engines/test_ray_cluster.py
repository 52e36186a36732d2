"""A real Ray cluster: two nodes on one machine, one of which dies; and a cluster of our own on loopback."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.errors import BenchError
from bench.records.home import Home
from bench.scheduler import engines
from bench.scheduler.engines.base import Resources
from tests.bench.scheduler.engines import tiny

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("BENCH_LEASE", "30")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:sesame@127.0.0.1:1")


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    made = [Cluster()]
    small: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    try:
        for _ in range(2):
            patiently(lambda: made[0].add_node(**small))
        yield made[0]
    finally:
        made.pop().shutdown()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray does not wait for the programs that it has started
            gc.collect()


def patiently(add: Any) -> None:
    """A node has 30 s to start in, which a busy machine may miss."""
    for _ in range(3):
        with contextlib.suppress(Exception):
            add()
            return
    add()


def secret_in(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and b"sesame" in p.read_bytes()]


def test_when_a_node_dies_the_study_continues_on_the_other(cluster: Any, capfd: pytest.CaptureFixture[str]) -> None:
    one = tiny.study(trials=3)
    engine = engines.engine("ray", Resources(workers=2, address=cluster.address))
    going = tiny.Coordinated(one, engine)
    going.until(lambda: tiny.running(one.name) >= 2)
    (second,) = cluster.worker_nodes
    cluster.remove_node(second, allow_graceful=False)
    going.until(lambda: going.said("was lost"))
    result = going.end()

    assert len(result.chosen) == 1
    entries = tiny.entries(one.name)
    assert sorted(e.number for e in entries if e.kind == "trial") == [0, 1, 2]
    assert {e.state for e in entries} == {"finished"}
    assert not secret_in(Path(cluster.head_node.get_session_dir_path()) / "logs")
    assert not secret_in(Home().path)
    for e in entries:
        record = Home().records.record(e.run)
        assert record is not None
        assert record.provenance.command == f"bench work {one.name}"
    assert "raylet" not in "".join(capfd.readouterr())


OWN = """
import sys, threading
from bench.scheduler import engines
from tests.bench.scheduler.engines import tiny

if __name__ == "__main__":
    going = tiny.Coordinated(tiny.study(trials=1, epochs=200), engines.engine("ray", engines.Resources()))
    going.until(lambda: tiny.running(going.study.name) >= 1)
    print("running", flush=True)
    going.end()
"""


def test_a_cluster_of_our_own_is_on_loopback_and_ends_with_the_study(tmp_path: Path) -> None:
    script = tmp_path / "own.py"
    script.write_text(OWN)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "running\n"
            family = psutil.Process(process.pid).children(recursive=True)
            folders = set(re.findall(r"/tmp/ray-[^/ ]+", " ".join(word for p in family for word in p.cmdline())))
            sockets = [c for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        finally:
            process.kill()  # no process can end properly; the worker writes its checkpoint and ends
    _, alive = psutil.wait_procs(family, timeout=120)
    assert not alive
    assert {c.laddr.ip.removeprefix("::ffff:") for c in sockets} == {"127.0.0.1"}
    assert folders
    assert not any(Path(folder).exists() for folder in folders)
    (run,) = (path for path in (Home().path / "runs").iterdir() if not (path / "record.json").exists())
    assert list(run.glob("checkpoint-*.pt"))
    assert "running" in {e.state for e in tiny.entries(tiny.study(trials=1, epochs=200).name)}
    assert not tiny.running(tiny.study(trials=1, epochs=200).name)


def test_what_no_machine_here_has_is_refused() -> None:
    engine = engines.engine("ray", Resources(gpus=64))
    engine.start(tiny.config())
    with pytest.raises(BenchError, match="a worker must fit on one machine, but 1 CPUs, 64 GPUs"):
        tiny.tend_until(engine, lambda: False)


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    engine = engines.engine("ray", Resources(address="127.0.0.1:1"))
    engine.start(tiny.config())
    with pytest.raises(BenchError, match=r"127\.0\.0\.1:1 does not answer"):
        tiny.tend_until(engine, lambda: False)

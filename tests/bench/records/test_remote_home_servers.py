"""The remote for real: S3 over HTTP, and workers that are killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.records.folder import Folder
from bench.records.home import Home
from bench.records.remote_home import RemoteHome
from bench.records.run_folder import RunFolder
from bench.run import new_run
from bench.tracking import fetch
from bench.training.execute import execute
from tests.bench.records.objects import answers, s3
from tests.bench.records.test_remote_home import bench, whole
from tests.reports.exact import HOME as GOLDEN

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of mlflow's and botocore's own imports

RUN = ("gradual", "model=test_resnet", "epochs=8", "batch=64", "image_size=32", "final=0.8", "device=cpu", "threads=1")


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "s3":
        with s3(monkeypatch) as made:
            yield made
        return
    (tmp_path / "store").mkdir()
    yield f"file://{tmp_path}/store"


def killed(home: Path, store: str, run: str) -> None:
    """Begin a run in a process of its own, and kill all of it once a checkpoint is in the store."""
    environment = {**os.environ, "BENCH_HOME": str(home), "BENCH_REMOTE": store, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "bench", "run", *RUN, "--no-track", "--checkpoint-every", "0.1"]
    with (home.parent / "killed.log").open("w") as log:
        worker = subprocess.Popen(words, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        while not any(name.startswith("checkpoint") for name in RemoteHome(store).sizes(f"runs/{run}")):
            assert worker.poll() is None, (home.parent / "killed.log").read_text()
            time.sleep(0.05)
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


@pytest.mark.timeout(900)
def test_a_run_killed_in_one_home_goes_on_in_another_and_ends_the_same(url: str, tmp_path: Path) -> None:
    run, remote = new_run(RUN[0], RUN[1:]), RemoteHome(url)
    killed(tmp_path / "a", url, run.id)
    assert not remote.has_record(run.id)
    remote.pull_run(tmp_path / "seen", run.id)
    seen = RunFolder(Folder(tmp_path / "seen").run(run.id))
    before, steps = seen.load_checkpoint(), list[int]()
    assert before is not None
    for home, store in (("b", url), ("c", "")):
        execute(
            run, replace(Home(), path=tmp_path / home, remote_url=store), observers=[lambda e: steps.append(e.step)]
        )
    whole = steps.index(1)  # where the undisturbed one begins
    assert steps[0] == before["at"]["step"] + 1
    assert steps[whole - 1] == steps[-1]
    b, c = (Folder(tmp_path / home).run(run.id) for home in "bc")
    assert (b / "model.safetensors").read_bytes() == (c / "model.safetensors").read_bytes()
    kept = pd.read_parquet(b / "curves.parquet")["time"].tolist()
    assert kept[: len(seen.rows())] == [row["time"] for row in seen.rows()]  # not measured again
    assert remote.has_record(run.id)
    assert not any("checkpoint" in name for name in remote.sizes(f"runs/{run.id}"))


@pytest.mark.timeout(900)
def test_mlflow_with_its_artifacts_on_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records go there by way of MLflow's server and come back as they were, and make a report."""
    with s3(monkeypatch) as prefix, socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        one.close()
        words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        words += ["--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}", "--artifacts-destination", prefix]
        with (tmp_path / "server.log").open("w") as log:
            server = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        try:
            answers(f"http://127.0.0.1:{port}/health", server)
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
            assert bench("sync", "--records", str(GOLDEN), monkeypatch=monkeypatch) == 0
            fetch(Home(), tmp_path / "back")
            assert bench("report", "--from-mlflow", "--out", str(tmp_path / "page"), monkeypatch=monkeypatch) == 0
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        assert RemoteHome(prefix).folders("")
    assert whole(tmp_path / "back")
    assert all(run in (tmp_path / "page/index.html").read_text() for run in Folder(GOLDEN).run_ids())

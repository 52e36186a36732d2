"""Real servers: started, used, stopped, started again; and no password where others may look."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import psutil
import pytest
from optuna.storages import BaseStorage

from bench import tracking
from bench.errors import BenchError
from bench.records.home import Home
from bench.scheduler.servers.lab import DATABASES, Servers
from bench.scheduler.storage_errors import transient
from bench.scheduler.storages import open_storage
from tests.bench.scheduler.servers.running import Running, needs

pytestmark = [
    pytest.mark.xdist_group("servers"),
    pytest.mark.timeout(1800),  # on a busy machine MLflow takes minutes to start
    pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning"),
    pytest.mark.filterwarnings("ignore:<psycopg.Connection object:ResourceWarning"),  # Optuna closes no engine
]


def opened(url: str) -> BaseStorage:
    return open_storage(url, Path("unused"))


def processes(lab: Running) -> list[psutil.Process]:
    """Everything that was started, but for the database's backends."""
    numbers = [lab.lab.mlflow._process(), lab.lab.proxy._process()]
    postmaster = psutil.Process(int((lab.lab.postgres._data / "postmaster.pid").read_text().split()[0]))
    found = [postmaster, *(p for p in numbers if p is not None)]
    return found + [child for p in found for child in p.children(recursive=True)]


@needs
def test_only_their_owner_reads_their_files_and_nobody_a_password_on_a_command_line(lab: Running) -> None:
    for name in ("secrets.json", "env", "auth.ini", "mlflow.log", "proxy.log"):
        assert stat.S_IMODE((lab.lab.folder / name).stat().st_mode) == 0o600, name
    lines = [" ".join(process.cmdline()) for process in processes(lab)]
    assert len(lines) >= 3
    assert not [line for line in lines for secret in lab.secrets.values() if secret in line]
    assert not [
        secret for log in lab.lab.folder.rglob("*.log") for secret in lab.secrets.values() if secret in log.read_text()
    ]


@needs
def test_they_listen_on_the_loopback_address_only(lab: Running) -> None:
    listening = [c.laddr for p in processes(lab) for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert {c.port for c in listening} >= {lab.lab.postgres_port, lab.lab.mlflow_port, lab.lab.proxy_port}
    assert {c.ip.removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}  # gRPC writes it as one of IPv6


@needs
def test_without_the_password_nobody_comes_in(lab: Running) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(
            f"http://127.0.0.1:{lab.lab.mlflow_port}/api/2.0/mlflow/experiments/search?max_results=1"
        )
    assert caught.value.code == 401
    caught.value.close()
    secret = lab.secrets["optuna"]
    for wrong in (lab.optuna_url.replace(secret, "guessed"), lab.lab.postgres.url("optuna", "mlflow")):
        with pytest.raises(BenchError, match="refuses it") as refused:
            opened(wrong)
        assert secret not in str(refused.value)


@needs
def test_stopped_and_started_again_they_go_on_with_the_data(lab: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", lab.mlflow_url)
    optuna.create_study(storage=opened(lab.optuna_url), study_name="kept").add_trial(optuna.create_trial(value=0.5))
    experiment = tracking.connect(Home()).create_experiment("kept")
    lab.stop()
    assert not lab.lab.postgres.running()
    with pytest.raises(BenchError, match="does not"):
        tracking.connect(Home())
    lab.start()
    assert optuna.load_study(storage=opened(lab.proxy_url), study_name="kept").best_value == 0.5
    assert tracking.connect(Home()).get_experiment_by_name("kept").experiment_id == experiment


@needs
def test_started_twice_they_are_the_same_and_other_ports_are_refused(lab: Running) -> None:
    before = [process.pid for process in processes(lab)]
    lab.start()
    assert {process.pid for process in processes(lab)} >= set(before[:3])
    for port, message in ({"postgres_port": 1}, "on port"), ({"mlflow_port": 2}, "runs with others"):
        ports = {"postgres_port": lab.lab.postgres_port, "mlflow_port": lab.lab.mlflow_port, **port}
        with pytest.raises(BenchError, match=message):
            Servers(lab.lab.folder, **ports).start()


@needs
@pytest.mark.parametrize("way", ["database", "proxy"])
def test_a_database_that_went_down_is_met_again_by_who_was_connected(lab: Running, way: str) -> None:
    storage = opened(lab.optuna_url if way == "database" else lab.proxy_url)
    study = optuna.create_study(storage=storage)
    study.ask()
    lab.stop_postgres("immediate")
    with pytest.raises(Exception, match="commit") as caught:
        study.ask()
    assert transient(caught.value)
    lab.start_postgres()
    assert study.ask().number == 1


@needs
def test_a_proxy_that_is_away_is_transient(lab: Running) -> None:
    study = optuna.create_study(storage=opened(lab.proxy_url))
    lab.stop_proxy()
    with pytest.raises(Exception, match="UNAVAILABLE") as caught:
        study.ask()
    assert transient(caught.value)
    with pytest.raises(BenchError, match="bench proxy"):
        opened(lab.proxy_url)
    lab.start_proxy()
    assert opened(lab.proxy_url).get_study_id_from_name(study.study_name) == study._study_id


@needs
def test_many_workers_may_make_the_tables_of_a_new_database(lab: Running) -> None:
    lab.lab.postgres.provide({**DATABASES, "fresh": "optuna"})
    program = (
        "import pathlib, sys; from bench.scheduler.storages import open_storage; print('ready', flush=True); url = input(); "
        "print(len(open_storage(url, pathlib.Path('unused')).get_all_studies()))"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen([sys.executable, "-c", program], **pipes) for _ in range(6)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write(lab.lab.postgres.url("optuna", "fresh") + "\n")
        worker.stdin.flush()
    assert [worker.communicate() for worker in workers] == [("0\n", "")] * 6


@needs
def test_a_lease_runs_out_on_the_servers_clock(lab: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_LEASE", "2")
    storage: Any = opened(lab.optuna_url)
    study = optuna.create_study(storage=storage)
    dead, alive = study.ask(), study.ask()
    storage.record_heartbeat(dead._trial_id)
    while not (stale := storage._get_stale_trial_ids(study._study_id)):
        storage.record_heartbeat(alive._trial_id)
        time.sleep(0.2)
    assert stale == [dead._trial_id]


@needs
def test_no_password_is_written_anywhere(lab: Running, tmp_path: Path) -> None:
    """A study with passwords in both URLs, then a doctor, then both with the servers away: every byte that it leaves behind."""
    home = tmp_path / "results"
    environment = {**os.environ, **lab.environment, "BENCH_HOME": str(home), "OMP_NUM_THREADS": "1"}

    def bench(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return f"{done.returncode}\n{done.stdout}\n{done.stderr}"

    words = ["study", "gradual", "epochs=1", *["--smoke", "--models", "test_resnet", "--trials", "1", "--jobs", "1"]]
    said = [bench(*words), bench("doctor")]
    assert [text[:1] for text in said] == ["0", "0"], said
    said.append(_everything_in(lab, "mlflow") + _everything_in(lab, "optuna"))
    assert "curve/val_top1" in said[-1]
    assert "gradual/test_resnet" in said[-1]
    lab.stop_mlflow()
    lab.stop_postgres()
    said += [bench("doctor"), bench("sync"), bench(*words, "--seed", "1")]
    assert "0" not in {text[:1] for text in said[-3:]}
    lab.start()
    kept = [
        file.read_bytes()
        for folder in (home, lab.lab.folder / "artifacts")
        for file in folder.rglob("*")
        if file.is_file()
    ]
    assert len(kept) > 20
    for secret in lab.secrets.values():
        for form in {secret, quote(secret, safe="")}:
            assert not [text for text in said if form in text]
            assert not [content for content in kept if form.encode() in content]


def _everything_in(lab: Running, database: str) -> str:
    """Every row of every table, as text."""
    import psycopg
    from psycopg import sql

    url = lab.lab.postgres.url(DATABASES[database], database).replace("+psycopg", "")
    rows: list[str] = []
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (name,) in names:
            found = connection.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(name))).fetchall()
            rows += [text for (text,) in found]
    return "\n".join(rows)

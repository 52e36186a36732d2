from __future__ import annotations

import pickle
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.trial import TrialState

from bench.errors import BenchError
from bench.scheduler.storage_errors import transient
from bench.scheduler.storages import EXPIRY, HEARTBEAT, lease_times, open_storage, with_driver

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning")  # ours beats without Study.optimize


def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'optuna.db'}"


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_second_opening_finds_what_the_first_wrote(tmp_path: Path, kind: str) -> None:
    url = None if kind == "journal" else sqlite(tmp_path)
    study = optuna.create_study(storage=open_storage(url, tmp_path / "x" / "optuna.journal"), study_name="one")
    study.tell(study.ask(), 0.5)
    again = optuna.load_study(storage=open_storage(url, tmp_path / "x" / "optuna.journal"), study_name="one")
    assert [trial.value for trial in again.get_trials()] == [0.5]


def test_a_database_is_cached_and_keeps_heartbeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_LEASE", raising=False)
    storage = open_storage(sqlite(tmp_path), tmp_path / "x")
    assert type(storage).__name__ == "_CachedStorage"
    assert isinstance(storage, BaseHeartbeat)
    assert storage.get_heartbeat_interval() == HEARTBEAT
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    storage.record_heartbeat(trial._trial_id)
    assert storage._get_stale_trial_ids(study._study_id) == []
    assert storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [1.0])


def test_a_lease_is_set_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_LEASE", raising=False)
    assert lease_times() == (HEARTBEAT, EXPIRY)
    monkeypatch.setenv("BENCH_LEASE", "18")
    assert lease_times() == (3, 18)
    monkeypatch.setenv("BENCH_LEASE", "1")
    assert lease_times() == (1, 1)
    for wrong in ("0", "soon", "-5"):
        monkeypatch.setenv("BENCH_LEASE", wrong)
        with pytest.raises(BenchError, match="a whole number of seconds"):
            open_storage(sqlite(tmp_path), tmp_path / "x")


def test_postgresql_means_psycopg_3() -> None:
    for url in ("postgresql://me@host/db", "postgres://me@host/db"):
        assert with_driver(url) == "postgresql+psycopg://me@host/db"
    for url in ("postgresql+psycopg2://me@host/db", "sqlite:///a.db", "mysql+pymysql://host/db"):
        assert with_driver(url) == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://me:s3cr3t@127.0.0.1:1/db", "start the server|its driver"),
        ("nosuch://me:s3cr3t@127.0.0.1/db", "needs its driver"),
        ("postgresql:/me:s3cr3t@127.0.0.1/db", "must be a URL"),
        ("me:s3cr3t@127.0.0.1", "must be a URL"),
        ("sqlite:////nowhere/at/all.db", "/nowhere/at does not; make it"),
        ("grpc://me:s3cr3t@127.0.0.1:1", "grpc://HOST:PORT"),
        ("grpc://127.0.0.1", "grpc://HOST:PORT"),
    ],
)
def test_what_cannot_be_opened_is_one_line_without_its_password(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(BenchError, match=message) as caught:
        open_storage(url, tmp_path / "x")
    assert "s3cr3t" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a?b", "a%20b", "a#b", "a:b@c"])
def test_a_file_is_the_one_that_the_url_names(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    open_storage(f"sqlite:///{folder / 'optuna.db'}?timeout=30", tmp_path / "x")
    assert [p.name for p in folder.iterdir()] == ["optuna.db"]
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_relative_file_begins_at_the_working_directory(tmp_path: Path) -> None:
    open_storage("sqlite:///optuna.db", tmp_path / "x")
    assert (tmp_path / "optuna.db").exists()


def test_a_file_of_something_else_is_to_be_moved_away(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_bytes(b"no database " * 100)
    with pytest.raises(BenchError, match="move that file away"):
        open_storage(sqlite(tmp_path), tmp_path / "x")


@pytest.mark.parametrize("damage", [b"\0\0\0\n", b'{"op_code": 0, "wor\n', b"\n", b"3\n"])
def test_a_damaged_line_inside_a_journal_names_the_file(tmp_path: Path, damage: bytes) -> None:
    journal = tmp_path / "made" / "optuna.journal"
    study = optuna.create_study(storage=open_storage(None, journal), study_name="one")
    study.tell(study.ask(), 0.5)
    lines = journal.read_bytes().splitlines(keepends=True)
    broken = tmp_path / "broken" / "optuna.journal"
    broken.parent.mkdir()
    broken.write_bytes(b"".join([lines[0], damage, *lines[1:]]))
    with pytest.raises(BenchError, match=f"line 2 of {broken} is damaged; move that file away"):
        open_storage(None, broken)
    broken.rename(tmp_path / "away")
    optuna.create_study(storage=open_storage(None, broken), study_name="one")


def test_a_database_of_another_optuna_names_the_upgrade(tmp_path: Path) -> None:
    open_storage(sqlite(tmp_path), tmp_path / "x")
    with sqlite3.connect(tmp_path / "optuna.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'v3.0.0.a'")
    database.close()
    with pytest.raises(BenchError, match="optuna storage upgrade"):
        open_storage(sqlite(tmp_path), tmp_path / "x")


def test_a_storage_can_be_pickled_and_a_lost_table_is_no_transient_error(tmp_path: Path) -> None:
    storage = open_storage(sqlite(tmp_path), tmp_path / "x")
    study = optuna.create_study(storage=storage)
    other = pickle.loads(pickle.dumps(storage))
    assert other.get_study_name_from_id(study._study_id) == study.study_name
    with sqlite3.connect(tmp_path / "optuna.db") as database:
        database.execute("DROP TABLE trials")
    database.close()
    with pytest.raises(Exception, match="commit") as caught:
        study.ask()
    assert not transient(caught.value)

"""Addresses of MLflow stores as users write them, and what is said about those that cannot be used; real SQLite stores."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from bench.records.home import Home
from bench.tracking import Tracker, Unavailable, connect, sync_study
from tests.bench.tracking.studies import STUDY, view

pytestmark = pytest.mark.filterwarnings("ignore")  # of mlflow's own imports


def refused(uri: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said about a store that cannot be used."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(Unavailable) as caught:
        connect(Home())
    told = str(caught.value)
    assert "\n" not in told
    assert "`bench sync`" in told
    for name in ("Exception", "OperationalError", "DatabaseError", "ModuleNotFoundError"):
        assert name not in told
    return told


@pytest.mark.parametrize("name", ["a?b", "a%20b", "a#b"])
def test_a_store_is_the_file_that_the_url_names(
    name: str, own_place: Path, made_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_place / name
    folder.mkdir()
    shutil.copy(made_store, folder / "mlflow.db")
    monkeypatch.setenv("BENCH_HOME", str(folder))
    home = Home()
    made = connect(home).create_experiment("one")
    assert connect(home).get_experiment_by_name("one").experiment_id == made
    with sqlite3.connect(folder / "mlflow.db") as database:
        assert ("one",) in list(database.execute("SELECT name FROM experiments"))
    database.close()
    assert [p.name for p in own_place.iterdir()] == [name]
    assert home.artifacts == folder / "mlartifacts"


def test_a_relative_store_has_artifacts_beside_it(
    own_place: Path, made_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(made_store, own_place / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    home = Home()
    found = Tracker(home, "runs", connect(home))
    where = found.client.get_experiment(found.experiment).artifact_location
    assert where == (own_place / "mlartifacts" / "runs").as_uri()


@pytest.mark.parametrize("uri", ["mlruns", "/tmp/mlruns", "file:///tmp/mlruns"])
def test_a_store_of_files_is_a_url_to_be_written(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "mlruns/mlflow.db for a file" in refused(uri, monkeypatch)


def test_another_schema_names_the_upgrade(own_place: Path, made_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(made_store, own_place / "mlflow.db")
    with sqlite3.connect(own_place / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'another'")
    database.close()
    assert "`mlflow db upgrade 'sqlite:///" in refused(f"sqlite:///{own_place}/mlflow.db", monkeypatch)


def test_a_damaged_file_is_to_be_moved_away(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_place / "mlflow.db").write_bytes(b"no database " * 100)
    assert "move that file away" in refused(f"sqlite:///{own_place}/mlflow.db", monkeypatch)


def test_a_database_of_another_program_is_not_written_to(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(own_place / "mlflow.db") as database:
        database.execute("CREATE TABLE mine (a)")
    database.close()
    before = (own_place / "mlflow.db").read_bytes()
    assert "another program" in refused(f"sqlite:///{own_place}/mlflow.db", monkeypatch)
    assert (own_place / "mlflow.db").read_bytes() == before


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("mysql://me:s3cr3t@127.0.0.1:1/x", "needs its driver, which is not installed: `pip install mysqlclient`"),
        ("nosuch://host/x", "must be at a URL with sqlite, postgresql"),
        ("http://127.0.0.1:9", "Connection refused"),
    ],
)
def test_the_reason_is_passed_on(uri: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = refused(uri, monkeypatch)
    assert told in found
    assert "s3cr3t" not in found


def test_a_file_in_place_of_a_folder_is_said(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_place / "file").touch()
    assert "exists" in refused(f"sqlite:///{own_place}/file/mlflow.db", monkeypatch)


@pytest.mark.slow
def test_a_store_whose_making_was_cut_off_is_made_anew(home: Home) -> None:
    (home.path / "mlflow.db").unlink()
    (home.path / ".mlflow.db.tmp").write_bytes(b"half a database")
    sync_study(home, STUDY)
    assert view(home)["parent"][0] == "KILLED"
    assert (home.path / "mlflow.db").exists()
    assert not (home.path / ".mlflow.db.tmp").exists()

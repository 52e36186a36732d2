"""Where the home and the remote are, by environment variables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.records.home import Home


def test_environment_variables_move_the_home_and_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "results"))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    home = Home()
    assert (home.path, home.data) == (tmp_path / "results", tmp_path / "data")
    assert home.records.path == home.path
    assert (home.cache, home.report) == (home.path / "cache", home.path / "report")


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, ""),
        ({"BENCH_REMOTE": "s3://lab"}, "s3://lab"),
        ({"BENCH_STORE": "s3://old"}, "s3://old"),
        ({"BENCH_REMOTE": "s3://lab", "BENCH_STORE": "s3://old"}, "s3://lab"),
    ],
)
def test_the_remote_is_named_by_either_variable(
    variables: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BENCH_REMOTE", "BENCH_STORE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Home().remote_url == url
    assert (Home().remote is None) is (url == "")


def test_a_password_in_the_remote_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_REMOTE", "sftp://ada:s3cret@lab/records")
    assert "s3cret" not in repr(Home())


def test_stores_are_files_in_the_home_unless_a_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "BENCH_OPTUNA"):
        monkeypatch.delenv(name, raising=False)
    home = Home(path=tmp_path)
    assert home.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert home.artifacts == tmp_path / "mlartifacts"
    assert home.storage is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://lab:5000")
    monkeypatch.setenv("BENCH_OPTUNA", "postgresql://lab/optuna")
    assert (home.tracking_uri, home.artifacts, home.storage) == ("http://lab:5000", None, "postgresql://lab/optuna")


def test_reading_records_needs_neither_torch_nor_pandas() -> None:
    modules = ("home", "folder", "run_folder", "remote_home", "watcher", "reading", "sharing")
    imports = "; ".join(f"import bench.records.{module}" for module in modules)
    heavy = ("torch", "pandas", "optuna", "mlflow", "pyarrow")
    script = f"import sys; {imports}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

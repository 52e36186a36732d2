"""What every test gets: a folder of its own for all stores, one torch thread, quiet libraries."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("loaded", deadline=None)  # no test asserts a time
hypothesis.settings.load_profile("loaded")


@pytest.fixture(scope="session")
def catalogue_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' catalogue of methods, tasks and models is kept: collecting one takes seconds."""
    return tmp_path_factory.mktemp("catalogue")


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, catalogue_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test can write into real results, read real data, or reach a real server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(catalogue_folder))
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "results"))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    for name in ("MLFLOW_TRACKING_URI", "BENCH_OPTUNA", "BENCH_STORE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store without anything in it, to be copied: making one takes seconds."""
    from bench.records.home import Home
    from bench.tracking import connect

    home = Home(path=tmp_path_factory.mktemp("store"))
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect(home)
    return home.path / "mlflow.db"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tests run side by side, one to a core."""
    torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that needs a GPU skips where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))

"""What `bench doctor` finds wrong, and what it finds without importing much."""

from __future__ import annotations

import sqlite3
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from bench.cli import catalog, doctor
from bench.cli.facts import Catalogue, MethodFacts
from bench.records.home import Home


class NVMLError(Exception):
    """NVML's own."""


def gpus(count: int, cuda: int = 13020) -> SimpleNamespace:
    """A library like pynvml, with some GPUs."""
    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: count,
        nvmlDeviceGetHandleByIndex=lambda index: f"GPU {index}",
        nvmlDeviceGetHandleByUUID=lambda name: name,
        nvmlDeviceGetName=lambda handle: f"{handle} by name",
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=80 * 2**30),
        nvmlSystemGetDriverVersion=lambda: "580.1",
        nvmlSystemGetCudaDriverVersion=lambda: cuda,
    )


@pytest.mark.parametrize(
    ("visible", "name"),
    [(None, "GPU 0 by name"), ("1,0", "GPU 1 by name"), ("GPU-ab,1", "GPU-ab by name"), ("", None), ("7", None)],
)
def test_the_gpu_that_runs_would_use(visible: str | None, name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", gpus(2))
    monkeypatch.setattr(doctor, "_cuda_of_torch", lambda: "13.2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found, trouble = doctor._gpu()
    assert not trouble
    assert found.get("gpu") == name
    if name is not None:
        assert found == {"gpu": name, "gpu_memory": 80 * 2**30, "driver": "580.1", "cuda": "13.2"}


def test_a_driver_that_is_too_old_for_torch_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", gpus(1, cuda=12080))
    monkeypatch.setattr(doctor, "_cuda_of_torch", lambda: "13.2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    _, ((good, text),) = doctor._gpu()
    assert not good
    assert "for CUDA 13.2, but the driver is for 12.8" in text


def test_a_machine_without_a_gpu_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise NVMLError("no driver")

    library = gpus(1)
    library.nvmlInit = absent
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(doctor, "_cuda_of_torch", lambda: "13.2")
    assert doctor._gpu() == ({}, [])
    monkeypatch.setattr(doctor, "_cuda_of_torch", lambda: None)
    assert doctor._gpu() == ({}, [])


def test_the_cuda_version_of_torch_is_read_from_its_files() -> None:
    import torch

    assert doctor._cuda_of_torch() == torch.version.cuda


def test_the_store_is_asked_without_mlflow() -> None:
    home = Home()
    assert doctor._store(home) == [(True, "the MLflow store is not there yet: the first run makes it")]
    home.path.mkdir()
    (home.path / "mlflow.db").write_text("something else")
    ((good, text),) = doctor._store(home)
    assert not good
    assert "must be a database of MLflow" in text
    (home.path / "mlflow.db").unlink()
    with sqlite3.connect(home.path / "mlflow.db") as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
    database.close()
    assert doctor._store(home) == [(True, "the MLflow store answers")]


def test_a_database_that_does_not_answer_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_OPTUNA", "nodatabase://ada:s3cret@host/x")
    ((good, text),) = doctor._storage(Home())
    assert not good
    assert "s3cret" not in text


def test_broken_records_and_methods_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    (Home().path / "runs" / "0123456789ab").mkdir(parents=True)
    (Home().path / "runs" / "0123456789ab" / "record.json").write_text("{")
    ((good, text),) = doctor._records(Home())
    assert not good
    assert "record.json" in text
    methods = (
        MethodFacts("good"),
        MethodFacts("bad", error="No module named 'x'"),
        MethodFacts("odd", problem="space"),
    )
    installed = Catalogue(methods, (), (), (), (), (), ())
    assert doctor._methods(installed) == [(False, "method bad: No module named 'x'"), (False, "method odd: space")]


@pytest.mark.parametrize(("free", "good"), [(5.0, True), (0.5, False)])
def test_runs_need_space(free: float, good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=int(free * 2**30))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)  # type: ignore[attr-defined]
    ((found, text),) = doctor._disk(Home())
    assert found is good
    assert text.startswith(f"{free:.1f} GiB free")


def test_all_of_it_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    empty: Any = Catalogue((), (), (("digits", ""),), (), (), (), ())
    monkeypatch.setattr(catalog, "catalogue", lambda: empty)
    assert doctor.examine()
    out = capsys.readouterr().out
    for word in ("python", "torch", "cpu", "memory", "results", "MLflow", "data sets at hand: digits", "0 runs"):
        assert word in out

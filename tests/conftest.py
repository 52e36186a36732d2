"""What every test gets: a folder of its own for all stores, one torch thread, quiet libraries; and who runs which tests."""

from __future__ import annotations

import gc
import os
import re
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

hypothesis.settings.register_profile("loaded", deadline=None, max_examples=50)  # no test asserts a time
hypothesis.settings.load_profile("loaded")
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, here and in the processes that tests start
gc.disable()  # until all tests are collected


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test can write into real results, read real data, or reach a real server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "results"))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    for name in ("MLFLOW_TRACKING_URI", "BENCH_OPTUNA", "BENCH_REMOTE", "BENCH_STORE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store without anything in it, to be copied: making one takes seconds."""
    from bench.records.home import Home
    from bench.tracking import connect

    home = Home(path=tmp_path_factory.mktemp("store"))
    with pytest.MonkeyPatch.context() as environment, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mlflow's own migrations
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect(home)
    return home.path / "mlflow.db"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tests run side by side, one to a core."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def timed_briefly() -> Iterator[None]:
    """Times ten forward passes of a finished model, not as many as fit into 0.3 seconds (the timer's own test aside)."""
    from bench import measure  # here, as below

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "latency", partial(measure.latency, seconds=0))
        yield


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that needs a GPU skips where there is none."""
    wanting = [item for item in items if "gpu" in item.keywords]
    if not wanting:
        return
    import torch  # here, so that the process that only hands out tests starts fast

    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def pytest_collection_finish() -> None:
    """Keep the garbage collector off what the imports and the collection made: it lives until the end."""
    gc.freeze()
    gc.enable()


FORKING = ("bench/cli/test_main.py", "bench/study/test_study.py", "studies/test_compare.py", "scheduler/test_pool.py")
"""Files whose tests start trial processes, from a fork server that imports torch once."""


def shared(nodeid: str) -> str:
    """Which tests run in one process, one after the other: those of a file, and of the contract those of a method.

    So what they share (a fixture of the module, a cached training, a fork server) is made once.
    """
    file = nodeid.partition("::")[0]
    if file.endswith(FORKING):
        return "fork server"
    if file.endswith("test_contract.py") and (method := re.search(r"\[(\w+)", nodeid)):
        return f"{file}:{method[1]}"
    return file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """`--dist loadgroup` by `shared`: xdist 3.8 forgets the groups of marks with pytest 9.2 (pytest-xdist#1386)."""
    from xdist.scheduler import LoadScopeScheduling  # here, because pytest without xdist reads this file too

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return shared(nodeid)

    return Sharing(config, log) if config.getvalue("dist") == "loadgroup" else None

"""The registry of engines: an engine is one module and one line."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.scheduler import engines
from bench.scheduler.engines.base import Resources

NEW = """
class Mine:
    def __init__(self, resources):
        self.resources = resources
"""


def test_an_unknown_engine_is_refused_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="slurm"):
        engines.engine("slrum", Resources())


@pytest.mark.parametrize("name", engines.ENGINES)
def test_an_engine_without_its_package_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BenchError, match=rf'pip install "prunebench\[{name}\]"'):
        engines.engine(name, Resources())


def test_an_engine_is_added_by_one_module_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_cluster.py").write_text(NEW)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(engines.ENGINES, "mine", "my_cluster:Mine")
    assert "my_cluster" not in sys.modules  # imported when asked for
    made = engines.engine("mine", Resources(workers=3))
    monkeypatch.delitem(sys.modules, "my_cluster")
    assert type(made).__name__ == "Mine"
    assert made.resources == Resources(workers=3)

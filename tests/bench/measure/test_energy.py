"""Energy counters as files, read twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.measure.energy import Meter, reading

CPU = torch.device("cpu")


def count(root: Path, name: str, joules: float, most: float = 1000.0) -> None:
    folder = root / name
    folder.mkdir(exist_ok=True)
    (folder / "energy_uj").write_text(f"{joules * 1e6:.0f}\n")
    (folder / "max_energy_range_uj").write_text(f"{most * 1e6:.0f}\n")


def test_packages_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        count(tmp_path, name, 100.0)
    meter = Meter(CPU, root=tmp_path)
    for name, joules in (("intel-rapl:0", 130.0), ("intel-rapl:1", 105.0), ("intel-rapl:0:0", 120.0)):
        count(tmp_path, name, joules)
    assert meter.joules() == pytest.approx(35.0)


def test_a_counter_that_wrapped_goes_on(tmp_path: Path) -> None:
    count(tmp_path, "intel-rapl:0", 990.0)
    meter = Meter(CPU, beside=2, root=tmp_path)
    count(tmp_path, "intel-rapl:0", 20.0)
    assert meter.joules() == pytest.approx(30.0 / 2)  # shared by two runs


def test_without_counters_nothing_is_told(tmp_path: Path) -> None:
    assert reading(CPU, tmp_path) == {}
    assert Meter(CPU, root=tmp_path).joules() is None
    count(tmp_path, "intel-rapl:0", 1.0)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("none")
    assert Meter(CPU, root=tmp_path).joules() is None

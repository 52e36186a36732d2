"""The command that times 2:4 kernels."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from bench.deploy import two_four
from bench.errors import BenchError
from bench.measure import semistructured
from bench.measure.turns import Ratio, Timing


def test_two_four_needs_a_gpu_and_says_so(own_place: Path) -> None:
    with pytest.raises(BenchError, match=r"need a CUDA GPU of compute capability 8.0"):
        two_four.two_four(Console(), "cpu", 0.0)


def test_a_verdict_needs_three_quarters_of_the_rounds() -> None:
    verdicts = [two_four.verdict(Ratio(1.0, low, high, 5)) for low, high in ((1.1, 1.2), (0.8, 0.9), (0.9, 1.1))]
    assert verdicts == ["win", "loss", "unclear"]


def test_the_rows_of_the_file_and_of_the_table() -> None:
    times = Timing(2.0, 1.0, 3.0, 5, 0, None)
    layer = semistructured.Layer("fc", 8, 4, 16)
    row = semistructured.LayerSpeed(layer, "fp16", "cutlass", times, times, Ratio(1.5, 1.2, 1.8, 5))
    assert row.to_json() == {
        "layer": "fc",
        "inputs": 8,
        "outputs": 4,
        "tokens": 16,
        "dtype": "fp16",
        "backend": "cutlass",
        "dense": vars(times),
        "sparse": vars(times),
        "ratio": 1.5,
        "ratio_q1": 1.2,
        "ratio_q3": 1.8,
        "rounds": 5,
    }
    assert [cell for column in two_four.table([row]).columns for cell in column.cells][-2:] == [
        "1.50 (1.20 to 1.80)",
        "win",
    ]

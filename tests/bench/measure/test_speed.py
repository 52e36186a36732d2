"""Two models timed in turns; no test asserts a time."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import nn

from bench import environment
from bench.errors import BenchError
from bench.measure import speed
from bench.models.factory import create
from bench.records.speed_record import Throughput

CPU = torch.device("cpu")


class Noting(nn.Module):
    """Notes who is called, in what precision and layout."""

    def __init__(self, name: str, calls: list[tuple[object, ...]]) -> None:
        super().__init__()
        self.name, self.calls, self.layer = name, [calls], nn.Linear(4, 2)

    def __deepcopy__(self, memo: object) -> Noting:
        return Noting(self.name, self.calls[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls[0].append((self.name, len(x), x.dtype, self.layer.weight.dtype, torch.is_inference_mode_enabled()))
        assert not self.training
        out: torch.Tensor = self.layer(x.flatten(1))
        return out


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_both_models_are_called_alike(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "fast_bf16", lambda: True)
    calls = list[tuple[object, ...]]()
    bed = speed.Bed((1, 2, 2), CPU)
    setting = speed.Setting(3, precision)
    rows = speed.compare(Noting("d", calls), Noting("p", calls), bed, setting, seconds=0)
    dtype = speed.PRECISIONS[precision]
    assert {call[1:] for call in calls} == {(3, dtype, dtype, True)}
    names = [call[0] for call in calls]
    assert names.count("d") == names.count("p") >= 3 + 2 * 11  # warm-up, then a cold and a timed call to each block
    assert [row.model for row in rows] == ["dense", "pruned"]
    assert "ratio" in rows[1].to_json()
    assert "ratio" not in rows[0].to_json()
    for row in rows:
        assert row.q1_ms <= row.median_ms <= row.q3_ms
        assert row.images_per_s == pytest.approx(3000 / row.median_ms)
        json.dumps(row.to_json(), allow_nan=False)


def test_emulated_bf16_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "fast_bf16", lambda: False)
    with pytest.raises(BenchError, match="no bf16 arithmetic"):
        speed.compare(nn.Flatten(), nn.Flatten(), speed.Bed((1, 2, 2), CPU), speed.Setting(1, "bf16"), seconds=0)


def test_a_model_that_cannot_be_compiled_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: nn.Module, dynamic: bool) -> Callable[[torch.Tensor], torch.Tensor]:
        def call(x: torch.Tensor) -> torch.Tensor:
            raise ValueError("no compiler. A long story")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    setting = speed.Setting(1, "fp32", "compiled")
    with pytest.raises(BenchError, match=r"able to compile the model, but got ValueError: no compiler$"):
        speed.compare(nn.Flatten(), nn.Flatten(), speed.Bed((1, 2, 2), CPU), setting, seconds=0)


def test_the_best_batch_is_the_smallest_near_the_highest_throughput() -> None:
    rates = {1: 100.0, 2: 180.0, 4: 297.0, 8: 300.0, 16: 290.0}
    assert speed.pick([Throughput(b, r) for b, r in rates.items()]) == 4
    batch, tried = speed.best_batch(nn.Flatten(), speed.Bed((1, 2, 2), CPU), "fp32")
    assert [row.batch for row in tried] == [2**i for i in range(len(tried))]
    assert batch == speed.pick(tried)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_models_are_timed_as_well() -> None:
    model, size = create("test_resnet", classes=10, channels=1, image_size=16, seed=0)
    found = speed.compare(model, model, speed.Bed((1, size, size), CPU), speed.Setting(2, mode="compiled"), seconds=0)
    assert [row.mode for row in found] == ["compiled"] * 2


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")
def test_on_a_gpu() -> None:
    device = torch.device("cuda", 0)
    model, size = create("test_resnet", classes=10, channels=1, image_size=16, seed=0)
    bed = speed.Bed((1, size, size), device)
    for precision in speed.PRECISIONS:
        rows = speed.compare(model, model, bed, speed.Setting(8, precision), seconds=0.1)
        assert (rows[1].rounds or 0) >= 1
    assert speed.best_batch(model, bed, "fp32")[0] >= 1

import pytest
import torch
from torch import nn

from bench.measure import latency
from bench.recipe import Recipe

CPU = torch.device("cpu")


class Recorder(nn.Module):
    """Notes each call's input."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, x):
        self.calls.append((tuple(x.shape), x.is_contiguous(memory_format=torch.channels_last), self.training))
        return x


def test_at_least_ten_calls_after_warming_up():
    model = Recorder()
    found = latency(model, (2, 3, 4, 4), Recipe(), CPU, seconds=0)
    assert found["n"] == 10
    assert model.calls == [((2, 3, 4, 4), True, False)] * 13
    assert model.training


def test_at_most_a_hundred_calls():
    model = Recorder()
    assert latency(model, (1, 3, 4, 4), Recipe(channels_last=False), CPU, seconds=60)["n"] == 100
    assert not any(channels_last for _, channels_last, _ in model.calls)


def test_median_and_tail_are_of_the_same_calls():
    found = latency(nn.Conv2d(3, 8, 3), (2, 3, 8, 8), Recipe(precision="bf16"), CPU, seconds=0.05)
    assert set(found) == {"median_ms", "p95_ms", "n"}
    assert 0 < found["median_ms"] <= found["p95_ms"]


@pytest.mark.gpu
def test_on_a_gpu():
    device = torch.device("cuda", 0)
    found = latency(nn.Conv2d(3, 8, 3).to(device), (2, 3, 8, 8), Recipe(), device, seconds=0.05)
    assert 0 < found["median_ms"] <= found["p95_ms"]

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench.measure import size, sparse_bytes


@pytest.mark.parametrize(
    ("nonzero", "megabytes"),
    [(2_130_000, 9.04), (1_090_000, 4.88), (460_000, 2.07), (250_000, 1.13)],
)
def test_mobilenet_of_zhu_and_gupta_table_6(nonzero, megabytes):
    prunable = 4_164_000
    assert sparse_bytes(prunable, nonzero) / 1e6 == pytest.approx(megabytes, abs=0.0051)


def test_by_hand():
    assert sparse_bytes(1000, 1000) == 4000  # dense is smaller than dense with a mask
    assert sparse_bytes(1000, 500) == 2000 + 125  # bit mask
    assert sparse_bytes(1000, 100) == 400 + 50  # 4-bit indices
    assert sparse_bytes(9, 1) == 4 + 1
    assert sparse_bytes(1000, 0) == 0


@given(total=st.integers(1, 10**6), share=st.floats(0, 1))
def test_never_more_than_dense_and_never_less_than_the_values(total, share):
    nonzero = round(share * total)
    assert 4 * nonzero <= sparse_bytes(total, nonzero) <= 4 * total
    assert sparse_bytes(total, max(0, nonzero - 1)) <= sparse_bytes(total, nonzero)


def model_with_known_counts():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
        model[0].weight[:2] = 0  # 36 of 72
    return model


def test_every_number_by_hand():
    found = size(model_with_known_counts(), compress=False)
    parameters = (72 + 4) + (4 + 4) + (20 + 5)
    buffers = 4 * 4 + 4 * 4 + 8  # running mean and variance, and the count of batches as a 64-bit integer
    assert found == {
        "params/all": parameters,
        "params/nonzero": parameters - 36,
        "bytes/dense": 4 * parameters + buffers,
        "bytes/sparse": 4 * parameters + buffers - 4 * 72 + (4 * 36 + 72 // 8),
    }


def test_shared_tensors_count_once():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    found = size(model)
    assert found["params/all"] == 9
    assert found["bytes/dense"] == 36


def test_compressed_is_smaller_the_more_zeros_there_are_and_takes_any_memory_format():
    model = nn.Conv2d(64, 64, 3, bias=False).to(memory_format=torch.channels_last)
    dense = size(model)["bytes/compressed"]
    with torch.no_grad():
        model.weight[8:] = 0
    sparse = size(model)["bytes/compressed"]
    assert sparse < dense / 4
    assert dense == pytest.approx(4 * 64 * 64 * 9, rel=0.1)  # random floats hardly compress


def test_a_model_without_parameters():
    assert size(nn.Flatten(), compress=False) == {
        "params/all": 0,
        "params/nonzero": 0,
        "bytes/dense": 0,
        "bytes/sparse": 0,
    }

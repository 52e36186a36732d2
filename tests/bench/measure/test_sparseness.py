import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench import masks
from bench.errors import BenchError
from bench.measure import layers, progress_point
from bench.measure.pq_index import pq_index
from bench.measure.sparseness import pq
from bench.seeds import generator


class Small(nn.Module):
    """One convolution, one linear layer and a classifier; of (N, 1, 2, 2)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 2, bias=False)
        self.mid = nn.Linear(2, 4)
        self.head = nn.Linear(4, 3)

    def get_classifier(self):
        return self.head

    def forward(self, x):
        return self.head(self.mid(self.conv(x).flatten(1)))


def small():
    model = Small()
    with torch.no_grad():
        model.conv.weight.copy_(torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0]).view(2, 1, 2, 2))
        model.mid.weight.zero_()
        model.head.weight.fill_(-2.0)
    return model


def test_layers_by_hand():
    table = layers(
        small(), ["conv.weight", "mid.weight"], {"conv.weight": 80, "mid.weight": 8, "head.weight": 12, "": 5}
    )
    assert [row.to_json() for row in table] == [
        {
            "name": "conv.weight",
            "shape": [2, 1, 2, 2],
            "weights": 8,
            "nonzero": 4,
            "sparsity": 0.5,
            "macs": 80,
            "macs_left": 40,
            "pq": 0,
            "prunable": True,
        },
        {
            "name": "mid.weight",
            "shape": [4, 2],
            "weights": 8,
            "nonzero": 0,
            "sparsity": 1,
            "macs": 8,
            "macs_left": 0,
            "pq": 0,
            "prunable": True,
        },
        {
            "name": "head.weight",
            "shape": [3, 4],
            "weights": 12,
            "nonzero": 12,
            "sparsity": 0,
            "macs": 12,
            "macs_left": 12,
            "pq": 0,
            "prunable": False,
        },
    ]


def test_a_shared_weight_is_one_row_whichever_name_is_given():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    (row,) = layers(model, ["1.weight"], {})
    assert row.name == "0.weight"
    assert row.prunable


def test_a_name_that_the_model_does_not_have():
    with pytest.raises(BenchError, match=r"no 'gone\.weight'"):
        layers(small(), ["gone.weight"], {})


def test_pq_by_hand():
    # 1 - (1 / d) * (sum of roots)^2 / sum = 1 - (1 / 2) * (1 + 2)^2 / (1 + 4), zeros left out
    assert pq([torch.tensor([1.0, 0.0]), torch.tensor([[0.0, -4.0]])]) == pytest.approx(0.1)
    assert pq([torch.zeros(3)]) == pq([]) == 0


def test_progress_by_hand():
    found = progress_point(small(), ["conv.weight", "mid.weight"])
    assert found["sparsity"] == 12 / 16
    assert found["weights_left"] == 16 / 28
    # four ones and twelve twos
    assert found["pq"] == pytest.approx(1 - (4 + 12 * 2**0.5) ** 2 / (16 * 28), abs=1e-9)


@given(seed=st.integers(0, 1000), sparsity=st.floats(0, 1))
def test_progress_agrees_with_the_table(seed, sparsity):
    model = small()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator("progress", seed)))
        chosen = masks.prunable(model)
        kept = masks.keep_top({n: w.abs() for n, w in chosen.items()}, sparsity, "global")
        masks.mul_(chosen.values(), kept.values())
    found, table = progress_point(model, chosen), layers(model, chosen, {})
    assert found["sparsity"] == pytest.approx(masks.zeros(kept))
    assert found["weights_left"] == pytest.approx(sum(r.nonzero for r in table) / sum(r.weights for r in table))
    flat = torch.cat([w.detach().flatten() for w in masks.prunable(model, classifier=True).values()])
    assert found["pq"] == pytest.approx(float(pq_index(flat[flat != 0], 0.5, 1.0)), abs=1e-9)


def test_progress_counts_what_the_model_computes_with():
    model = small()
    found = progress_point(model, ["conv.weight", "mid.weight"], {"conv.weight": torch.zeros(2, 1, 2, 2)})
    assert found["sparsity"] > progress_point(model, ["conv.weight", "mid.weight"])["sparsity"]
    with torch.no_grad():
        model.conv.weight.zero_()
    assert found == progress_point(model, ["conv.weight", "mid.weight"])


def test_nothing_prunable_and_nothing_left():
    assert progress_point(nn.Flatten(), []) == {"sparsity": 0, "weights_left": 1, "pq": 0}
    dead = nn.Linear(2, 2)
    nn.init.zeros_(dead.weight)
    assert progress_point(dead, ["weight"]) == {"sparsity": 1, "weights_left": 0, "pq": 0}

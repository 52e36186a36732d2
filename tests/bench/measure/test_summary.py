import json

import pytest
import timm
import torch
from torch import nn

from bench import masks
from bench.measure import summary
from bench.recipe import Recipe

CPU = torch.device("cpu")


def summarise(model, prunable=(), shape=(2, 3, 32, 32), **options):
    return summary(model, prunable=prunable, example_shape=shape, recipe=Recipe(), device=CPU, **options)


def pruned(sparsity):
    model = timm.create_model("test_efficientnet", num_classes=10)
    chosen = masks.prunable(model)
    kept = masks.keep_top({n: w.abs() for n, w in chosen.items()}, sparsity, "layer")
    with torch.no_grad():
        masks.mul_(chosen.values(), kept.values())
    return model, list(chosen), masks.zeros(kept)


def test_a_pruned_model():
    model, names, zeros = pruned(0.75)
    found, table = summarise(model, names)
    assert found["sparsity/prunable"] == pytest.approx(zeros) == pytest.approx(0.75, abs=0.01)
    assert found["weights/prunable"] == sum(row.weights for row in table if row.prunable)
    assert [row.name for row in table if not row.prunable] == ["classifier.weight"]
    assert found["weights/nonzero"] == found["weights/all"] - round(zeros * found["weights/prunable"])
    assert found["weights_left"] == found["weights/nonzero"] / found["weights/all"]
    assert 0 < found["sparsity/all"] < found["sparsity/prunable"]
    assert found["macs/left"] < found["macs/dense"]
    assert found["speedup/theoretical"] == pytest.approx(1 / found["macs/fraction"])
    assert max(found["bytes/sparse"], found["bytes/compressed"]) < found["bytes/dense"]
    assert found["latency/full_batch"] == 2
    assert 0 < found["latency/full_median_ms"] <= found["latency/full_p95_ms"]
    assert 0 < found["latency/batch1_median_ms"] <= found["latency/batch1_p95_ms"]
    json.dumps([found, [row.to_json() for row in table]], allow_nan=False)


def test_quick_skips_slow_measurements():
    model, names, _ = pruned(0.5)
    quick, table = summarise(model, names, quick=True)
    full, same = summarise(model, names)
    assert table == same
    assert {key for key in full if key not in quick} == {
        "bytes/compressed",
        "latency/batch1_median_ms",
        "latency/batch1_p95_ms",
        "latency/full_median_ms",
        "latency/full_p95_ms",
        "latency/full_batch",
        "sparsity/effective",
        "weights/disconnected",
    }
    assert quick.items() <= full.items()


def test_nothing_prunable():
    found, _ = summarise(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), shape=(2, 3, 2, 2), quick=True)
    assert found["sparsity/prunable"] == found["weights/prunable"] == 0
    assert found["macs/fraction"] == found["speedup/theoretical"] == 1


def test_no_weights_at_all():
    found, table = summarise(nn.Flatten(), quick=True)
    assert table == []
    assert found["weights_left"] == found["speedup/theoretical"] == 1


def test_nothing_left_stays_finite():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    nn.init.zeros_(model[1].weight)
    found, _ = summarise(model, ["1.weight"], (2, 3, 2, 2), quick=True)
    assert found["weights_left"] == found["macs/left"] == found["pq"] == 0
    assert found["speedup/theoretical"] == 24

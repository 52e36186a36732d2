"""The smaller model: how many weights it should have, which one it is, and what its record says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench import masks, measure, models
from bench.errors import BenchError, Ineffective
from bench.recipe import Recipe
from bench.records.home import Home
from bench.records.run_record import RunRecord
from bench.run import Run
from bench.training import execute
from methods import dense as control
from methods import gradual
from methods.small_dense import CLAIMS, METHOD, weights_wanted

SHAPE = {"classes": 10, "channels": 3, "image_size": 32}


def counts(model: str) -> tuple[int, int]:
    """All convolution and linear weights, and those that can be pruned."""
    empty = models.empty(model, **SHAPE)
    return tuple(sum(w.numel() for w in masks.prunable(empty, classifier=c).values()) for c in (True, False))  # type: ignore[return-value]


def run(method: Any = None, **values: Any) -> RunRecord:
    """The record of one epoch on the digits, 32 x 32 pixels."""
    one = Run(
        method=method or METHOD(), model="lenet_300_100", epochs=1, recipe=Recipe(batch=64), device="cpu", **values
    )
    return execute.execute(one, Home())


def test_the_wanted_weights_are_those_of_a_pruned_model(toy_model) -> None:
    model = toy_model()  # 54 + 144 + 96 prunable weights, 24 of the classifier
    assert [weights_wanted(model, final) for final in (0.0, 0.5, 0.7)] == [318, 318 - 147, 318 - 206]


@pytest.mark.parametrize(
    ("model", "final", "miss"),
    [
        ("cifar_resnet20", 0.8, 0.02),
        ("cifar_resnet20", 0.95, 0.05),
        ("test_resnet", 0.8, 0.02),
        ("test_efficientnet", 0.8, 0.02),
        ("mobilenetv3_large_100", 0.8, 0.02),
        pytest.param("resnet50", 0.9, 0.01, marks=pytest.mark.slow),
    ],
)
def test_the_model_built_has_them(model, final, miss):
    built = METHOD(final=final).architecture(model, **SHAPE)
    everything, prunable = counts(model)
    assert built.startswith(f"{model}:width=")
    assert counts(built)[0] == pytest.approx(everything - final * prunable, rel=miss)


def test_the_papers_widths_are_found():
    """Table 2: of 4.21 M weights, widths 0.25, 0.5 and 0.75 have 0.46, 1.32 and 2.57 M."""
    thousand = {**SHAPE, "classes": 1000}
    narrow = [c for c in CLAIMS if c.sparsity]
    assert [round(4.21 * (1 - c.sparsity), 2) for c in narrow] == [2.57, 1.32, 0.46]
    for claim, millions in zip(narrow, (2.57, 1.32, 0.46), strict=True):
        found = models.smaller("mobilenetv1_100", round(1e6 * millions), **thousand)
        width = float(claim.note.split(",")[0].removeprefix("width "))
        assert float(found.model.rpartition("=")[2]) == pytest.approx(width, abs=0.005)


def test_nothing_to_do_without_is_the_model_itself():
    assert METHOD(final=0).architecture("cifar_resnet20", **SHAPE) == "cifar_resnet20"
    assert METHOD(final=0).architecture("mixer_s16_224", **SHAPE) == "mixer_s16_224"


def test_a_model_that_misses_by_more_than_the_factor_is_refused():
    wanted = r"within a factor of 2, but final=0.97 of mobilevit_s leaves \d+,\d+ and the nearest, mobilevit_xxs, has 941,536"
    with pytest.raises(Ineffective, match=wanted) as caught:
        METHOD(final=0.97).architecture("mobilevit_s", **SHAPE)
    assert "\n" not in str(caught.value)
    assert METHOD(final=0.97, factor=10).architecture("mobilevit_s", **SHAPE) == "mobilevit_xxs"
    with pytest.raises(BenchError, match="mixer_s16_224 takes no width"):
        METHOD().architecture("mixer_s16_224", **SHAPE)


@pytest.mark.parametrize(
    ("values", "rule"), [({"final": 1.0}, "0 <= final < 1"), ({"factor": 0.5}, "1 <= factor <= 100")]
)
def test_bad_values_are_refused(values, rule):
    with pytest.raises(BenchError, match=f"`{rule}` must hold"):
        METHOD(**values)


def test_a_model_with_nothing_to_prune_is_ineffective():
    with pytest.raises(Ineffective, match="found none"):
        METHOD().attach(nn.Sequential(nn.BatchNorm2d(1)), torch.zeros(1))


def test_the_record_counts_against_the_model_that_the_run_names(own_place):
    record, home = run(method=METHOD(final=0.8)), Home().records
    dense = 1024 * 300 + 300 * 100 + 100 * 10
    metrics, layers = record.metrics, record.layers
    first, second = (int(n * float(record.architecture.rpartition("=")[2]) + 0.5) for n in (300, 100))
    built = 1024 * first + first * second + second * 10
    assert record.run.model == "lenet_300_100"
    assert [layer.shape for layer in layers] == [(first, 1024), (second, first), (10, second)]
    assert metrics.weights_all == metrics.weights_nonzero == built
    assert metrics.weights_reference == metrics.macs_dense == dense
    assert metrics.params_reference == dense + 410
    assert metrics.weights_left == metrics.macs_fraction == built / dense
    assert metrics.wanted_weights_left == 1 - round(0.8 * (dense - 1000)) / dense
    assert metrics.weights_left == pytest.approx(metrics.wanted_weights_left, rel=0.01)
    assert metrics.speedup_theoretical == dense / built
    assert metrics.sparsity_prunable == metrics.sparsity_weights == 0
    assert home.curves(record.id)["weights_left"].tolist() == [metrics.weights_left]

    model, plan = execute.load_model(home.run(record.id))
    assert (plan["model"], plan["arguments"].keys()) == ("lenet_300_100", {"width"})
    shape = (1, 1, plan["image_size"], plan["image_size"])
    assert measure.macs(model, shape) == {layer.name: layer.macs for layer in layers} | {"": 0}


def test_final_zero_is_dense_training_bit_for_bit(own_place):
    found = [run(method=method) for method in (METHOD(final=0), control.METHOD())]
    assert found[0].weights_sha256 == found[1].weights_sha256
    assert found[0].architecture == "lenet_300_100"
    assert not found[0].metrics.measured("wanted_weights_left")


def test_a_pruned_model_is_its_own_reference(own_place):
    metrics = run(method=gradual.METHOD(final=0.8, frequency=1)).metrics
    assert (metrics.weights_reference, metrics.params_reference) == (metrics.weights_all, metrics.params_all)
    assert metrics.weights_left == metrics.weights_nonzero / metrics.weights_all


@pytest.mark.parametrize("start", ["timm", "run:0123456789ab", "weights.safetensors"])
def test_it_trains_from_scratch(start, own_place: Path):
    Path("weights.safetensors").write_bytes(b"")
    with pytest.raises(
        BenchError, match=f"small_dense trains lenet_300_100:width=.* from scratch, and got start={start}"
    ):
        run(start=start)

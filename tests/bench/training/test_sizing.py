"""One size for all: a share of the whole model's parameters, whatever a method counts itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import tasks
from bench.errors import Ineffective
from bench.records.home import Home
from bench.run import Run, new_run
from bench.training.execute import execute
from bench.training.sizing import sized
from reports.load.attained import missed

SMALL = ("model=test_resnet", "image_size=16", "epochs=0.5", "batch=256", "final=0.8")
INFO = tasks.info("digits", Path())


@pytest.mark.parametrize(
    ("method", "settings"), [("oneshot", ("when=0",)), ("depgraph", ()), ("gradual", ("frequency=1",))]
)
def test_every_method_leaves_the_same_share_of_all_parameters(method: str, settings: tuple[str, ...]) -> None:
    """The last one by its own denominator leaves more, as it spares the classifier, the norms and the biases."""
    run = new_run(method, (*SMALL, *settings, "share_of=params"))
    record = execute(run, Home())
    metrics = record.metrics
    left = metrics.params_all - metrics.sparsity_prunable * metrics.weights_prunable
    assert left / metrics.params_reference == pytest.approx(0.2, abs=0.01)
    assert missed(record) == 0
    assert record.run.method["final"] == 0.8  # what was asked for


def test_the_own_target_follows_from_the_whole_model() -> None:
    run = new_run("oneshot", ("model=test_efficientnet", "final=0.9", "share_of=params"))
    own = sized(run, INFO, 32).method
    assert own.to_dict()["final"] == pytest.approx(0.9 / 0.9463358793692147)
    assert sized(new_run("dense", ("share_of=params",)), INFO, 32).method == new_run("dense").method
    plain: Run = new_run("oneshot")
    assert sized(plain, INFO, 32) is plain
    assert sized(new_run("depgraph", ("share_of=params",)), INFO, 32).method.to_dict()["budget"] == "params"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            ("final=0.95", "share_of=params"),
            r"must remove 95.0% of the .* those that it may prune are 94.6%; lower the target",
        ),
        (("final=0.5", "share_of=macs"), "only methods that remove channels can be given a share of the MACs"),
    ],
)
def test_what_cannot_be_met_is_refused_with_the_reason(settings: tuple[str, ...], told: str) -> None:
    with pytest.raises(Ineffective, match=told):
        sized(new_run("oneshot", ("model=test_efficientnet", *settings)), INFO, 32)

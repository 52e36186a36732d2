"""A dense model that is far better on validation than on test was trained on validation images."""

from __future__ import annotations

import math

import pytest

from bench.records.leakage import excess, told
from bench.records.run_record import Metrics

CLEAN = {"val/top1": 91.9, "test/top1": 91.5, "val/n": 5000, "test/n": 10000, "sparsity/all": 0.0}


def test_an_honest_dense_model_is_no_suspicion() -> None:
    assert told(Metrics.from_numbers(CLEAN)) == ""
    assert excess(Metrics.from_numbers(CLEAN)) == pytest.approx(0.83, abs=0.01)


def test_weights_that_were_trained_on_the_validation_split_show() -> None:
    """Share 0.9413 = (0.994 x 5000 + 0.915 x 10000) / 15000; 0.079 / sqrt(0.9413 x 0.0587 x 0.0003) = 19.4."""
    metrics = Metrics.from_numbers({**CLEAN, "val/top1": 99.4})
    assert excess(metrics) == pytest.approx(19.4, abs=0.05)
    assert "99.40 % exceeds 91.50 % on test by 19.4 binomial standard errors" in told(metrics)


@pytest.mark.parametrize(
    "change", [{"sparsity/all": 0.5}, {"params/all": 5, "params/reference": 9}, {"val/top1": None}]
)
def test_other_models_tell_nothing(change: dict[str, float | None]) -> None:
    """A pruned model was selected on validation, and may be better there."""
    numbers = {**CLEAN, "val/top1": 99.4, **change}
    metrics = Metrics.from_numbers({key: value for key, value in numbers.items() if value is not None})
    assert math.isnan(excess(metrics))
    assert told(metrics) == ""

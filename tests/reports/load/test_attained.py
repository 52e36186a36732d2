"""Whether a run has the requested size."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from bench.records.run_record import Metrics, RunRecord
from reports.load.attained import missed
from tests.records import run_record


def record(method: dict[str, Any], **metrics: float) -> RunRecord:
    sizes = {"params_all": 100.0, "params_reference": 100.0, "params_nonzero": 100.0}
    return replace(run_record(run={"method": method}), metrics=Metrics(**{**sizes, **metrics}))


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (record({"final": 0.5}, sparsity_prunable=0.505), 0.0),
        (record({"final": 0.5}, sparsity_prunable=0.506), 0.006),
        (record({"final": 0.5, "budget": "macs"}, macs_fraction=0.49), 0.0),
        (record({"final": 0.5, "budget": "macs"}, macs_fraction=0.48), 0.02),
        (record({"final": 0.5, "budget": "params"}, params_all=49.0), 0.01),
        (record({"final": 0.5, "budget": "params", "fallback": "mask"}, params_nonzero=50.0), 0.0),
        (record({"name": "dense"}), math.nan),
    ],
)
def test_a_size_is_attained_within_half_a_per_cent_of_the_weights_or_one_of_the_macs(
    found: RunRecord, wanted: float
) -> None:
    assert missed(found) == pytest.approx(wanted, nan_ok=True)


def test_a_smaller_dense_model_has_a_size_of_its_own() -> None:
    found = record({"final": 0.5}, wanted_weights_left=0.52, weights_left=0.53)
    assert missed(found) == pytest.approx(0.01)

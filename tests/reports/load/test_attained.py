"""Whether a run has the requested size."""

from __future__ import annotations

import math
from typing import Any

import pytest

from reports.load.attained import missed


def record(method: dict[str, Any], **metrics: float) -> dict[str, Any]:
    sizes = {"params/all": 100.0, "params/reference": 100.0, "params/nonzero": 100.0}
    return {"run": {"method": method}, "metrics": {**sizes, **{k.replace("_", "/", 1): v for k, v in metrics.items()}}}


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
def test_a_size_is_attained_within_half_a_per_cent_of_the_weights_or_one_of_the_macs(found: Any, wanted: float) -> None:
    assert missed(found) == pytest.approx(wanted, nan_ok=True)


def test_a_smaller_dense_model_has_a_size_of_its_own() -> None:
    found = record({"final": 0.5})
    found["metrics"] |= {"wanted/weights_left": 0.52, "weights_left": 0.53}
    assert missed(found) == pytest.approx(0.01)

"""What `bench run` prints of a record."""

from __future__ import annotations

from bench.cli import single_run
from tests.records import run_record

HALF = {"weights/nonzero": 500.0, "weights/all": 500.0, "weights/reference": 1000.0, "params/all": 510.0}
HALF |= {"params/reference": 1020.0, "sparsity/prunable": 0.0, "sparsity/all": 0.0}


def test_a_half_sized_model_is_compared_with_the_one_before() -> None:
    rows = dict(single_run._metric_rows(run_record(metrics=HALF)))
    assert rows["sparsity"].startswith("0.5000 of the weights of the model before; ")


def test_zeros_of_a_model_of_the_same_size_are_its_sparsity() -> None:
    same = HALF | {"weights/all": 1000.0, "params/all": 1020.0, "sparsity/prunable": 0.51, "sparsity/all": 0.49}
    rows = dict(single_run._metric_rows(run_record(metrics=same)))
    assert rows["sparsity"] == "0.5100 of the prunable, 0.4900 of all"

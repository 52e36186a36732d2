"""A sign that a dense model was trained on validation images: its validation accuracy exceeds its test accuracy by far.

Both splits are samples of the same distribution, and a dense model's validation accuracy selected nothing. So the difference of
the two is zero up to the binomial error of each.
"""

from __future__ import annotations

import math

from bench.records.run_record import Metrics

LIMIT = 3.0  # standard errors of the difference
PRUNED = 1e-3  # share of zeros in a model that was pruned


def excess(metrics: Metrics) -> float:
    """By how many binomial standard errors the validation top-1 of a dense model exceeds that on test; NaN where the model is
    pruned, or one of the two was not measured."""
    if not metrics.measured("val_top1", "test_top1", "val_n", "test_n") or metrics.sparsity_all > PRUNED:
        return math.nan
    if metrics.measured("params_reference") and metrics.params_all < metrics.params_reference:
        return math.nan
    shares, counts = (metrics.val_top1 / 100, metrics.test_top1 / 100), (metrics.val_n, metrics.test_n)
    pooled = sum(share * n for share, n in zip(shares, counts, strict=True)) / sum(counts)
    error = math.sqrt(pooled * (1 - pooled) * sum(1 / n for n in counts))
    if not error:
        return 0.0
    return (shares[0] - shares[1]) / error


def told(metrics: Metrics) -> str:
    """The warning for a dense model whose validation accuracy is too high; "" where it is not."""
    errors = excess(metrics)
    if not errors > LIMIT:
        return ""
    return (
        f"dense validation accuracy {metrics.val_top1:.2f} % exceeds {metrics.test_top1:.2f} % on test by {errors:.1f} "
        "binomial standard errors: its training saw validation images"
    )

"""Whether a finished run has the size that was asked for: within 0.5 % of the weights, or 1 % of the MACs."""

from __future__ import annotations

import math

from bench.records.run_record import RunRecord

WEIGHTS, MACS = 0.005, 0.01
SLACK = 1e-9  # of floating point


def missed(record: RunRecord) -> float:
    """By how much of the dense model's weights (or MACs) a run missed its budget, beyond what it may: 0 where it is within;
    NaN where no size was asked for, or none that can be checked.

    What was asked for is the method's `final`: of the MACs or of all parameters where it has such a `budget`, else of the
    weights that it may prune; a smaller dense model has its own.
    """
    method, metrics = record.run.method, record.metrics
    wanted, budget = method.get("final"), method.get("budget")
    if wanted is None or not record.finished or budget not in (None, "macs", "params"):
        return math.nan
    if not math.isnan(metrics.wanted_weights_left):
        return _beyond(metrics.weights_left - metrics.wanted_weights_left, WEIGHTS)
    if budget == "macs":
        return _beyond(1 - metrics.macs_fraction - wanted, MACS)
    if budget == "params":
        masked = method.get("fallback") == "mask" and metrics.params_all == metrics.params_reference
        left = metrics.params_nonzero if masked else metrics.params_all
        return _beyond(1 - left / metrics.params_reference - wanted, WEIGHTS)
    return _beyond(metrics.sparsity_prunable - wanted, WEIGHTS)


def _beyond(difference: float, allowed: float) -> float:
    return abs(difference) if abs(difference) > allowed + SLACK else 0.0

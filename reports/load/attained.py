"""Whether a finished run has the requested size: within 0.5 % of the weights, or 1 % of the MACs."""

from __future__ import annotations

import math

from bench.records.run_record import RunRecord

WEIGHTS, MACS = 0.005, 0.01
SLACK = 1e-9  # tolerance for rounding errors


def missed(record: RunRecord) -> float:
    """Returns by how much (as a share of the dense model's weights or MACs) a run misses the requested size: 0 within the
    tolerance, NaN where no size was requested, or none that can be checked.

    The request is the method's `final`: a share of the MACs or of all parameters where the method has such a `budget`, else
    of the prunable weights; with the run's `share_of`, of the whole model for every method. A method that trains a smaller
    dense model records its own.
    """
    method, metrics = record.run.method, record.metrics
    wanted, budget, share_of = method.get("final"), method.get("budget"), record.run.values.get("share_of", "method")
    if budget is not None and share_of != "method":
        budget = share_of
    if wanted is None or not record.finished or budget not in (None, "macs", "params"):
        return math.nan
    if not math.isnan(metrics.wanted_weights_left):
        return _beyond(metrics.weights_left - metrics.wanted_weights_left, WEIGHTS)
    if budget == "macs":
        return _beyond(1 - metrics.macs_fraction - wanted, MACS)
    if budget == "params":
        left = metrics.params_all
        if method.get("fallback") == "mask" and metrics.params_all == metrics.params_reference:
            left = metrics.params_nonzero
        return _beyond(1 - left / metrics.params_reference - wanted, WEIGHTS)
    if share_of == "params":
        gone = metrics.sparsity_prunable * metrics.weights_prunable / metrics.params_reference
        return _beyond(gone - wanted, WEIGHTS)
    return _beyond(metrics.sparsity_prunable - wanted, WEIGHTS)


def _beyond(difference: float, allowed: float) -> float:
    """The absolute difference where it exceeds the tolerance, else 0."""
    if abs(difference) <= allowed + SLACK:
        return 0.0
    return abs(difference)

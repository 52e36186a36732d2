"""MLflow's parameters, metrics and tags of a record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bench.records.run_record import RunRecord


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested settings to MLflow's parameters, with dots between the names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _numbers(prefix: str, values: Mapping[str, Any]) -> dict[str, float]:
    return {f"{prefix}/{k}": v for k, v in values.items() if isinstance(v, (int, float))}


def finite(value: Any) -> bool:
    """Returns whether a value is a finite number; MLflow accepts no other."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def results(record: RunRecord) -> list[Any]:
    """Returns the metrics and the cost of a run as MLflow's metrics."""
    from mlflow.entities import Metric

    when, step = int((record.provenance.finished or 0) * 1000), record.cost.steps
    numbers = {f"result/{key}": value for key, value in record.metrics.numbers().items()}
    numbers |= _numbers("result/cost", record.cost.to_json())
    return [Metric(key, float(value), when, step) for key, value in numbers.items() if finite(value)]


def tags_of(record: RunRecord) -> dict[str, str]:
    """Returns a run's status, versions and hardware as tags."""
    where = record.provenance
    tags = {"bench.status": record.status, "bench.commit": where.commit or ""}
    tags |= {f"bench.version.{name}": str(version) for name, version in where.versions.items()}
    tags |= {f"bench.hardware.{name}": str(fact) for name, fact in where.hardware.items()}
    if record.label:
        tags["bench.label"] = record.label
    if record.reason:
        tags["bench.reason"] = record.reason[:5000]
    return tags

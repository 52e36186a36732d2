"""Records as MLflow's values: parameters, metrics and tags."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level, with dots between the names: MLflow's parameters."""
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
    """Whether a value is a number that MLflow takes."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def as_json(value: Mapping[str, Any]) -> str:
    """A record as the text of an artifact."""
    return json.dumps(value, indent=1) + "\n"


def results(record: Mapping[str, Any]) -> list[Any]:
    """What a run came to, as MLflow's numbers."""
    from mlflow.entities import Metric

    when, step = int(record["provenance"].get("finished", 0) * 1000), int(record["cost"].get("steps", 0))
    numbers = {**_numbers("result", record["metrics"]), **_numbers("result/cost", record["cost"])}
    return [Metric(k, float(v), when, step) for k, v in numbers.items() if finite(v)]


def tags_of(record: Mapping[str, Any]) -> dict[str, str]:
    """How a run ended and where it was computed, as tags."""
    where = record["provenance"]
    tags = {"bench.status": record["status"], "bench.commit": str(where.get("commit", ""))}
    tags |= {f"bench.version.{k}": str(v) for k, v in where.get("versions", {}).items()}
    tags |= {f"bench.hardware.{k}": str(v) for k, v in where.get("hardware", {}).items()}
    if record.get("label"):
        tags["bench.label"] = str(record["label"])
    if record["reason"]:
        tags["bench.reason"] = str(record["reason"])[:5000]
    return tags

"""The record of a run's speed."""

from __future__ import annotations

import math

from bench.records.reading import from_json
from bench.records.speed_record import SpeedRecord


def row(model: str, **more: float) -> dict[str, object]:
    how = {"batch": 1, "wanted": "1", "precision": "fp32", "mode": "eager", "device": "Some CPU", "threads": 1}
    return {"model": model, **how, "memory_format": "channels_last", "median_ms": 4.0, "clock_mhz": None, **more}


def test_rows_come_in_pairs_of_the_dense_and_the_pruned_model() -> None:
    rows = [row("dense"), row("pruned", ratio=2.0, rounds=5), row("dense"), row("pruned", ratio=0.9, rounds=5)]
    value = {"schema": 1, "id": "a", "dense": "net", "image_size": 8, "smaller": True, "rows": rows}
    record = from_json(SpeedRecord, {**value, "speedup/theoretical": 3.0}, "here")
    assert [(first.model, second.ratio) for first, second in record.pairs()] == [("dense", 2.0), ("dense", 0.9)]
    assert record.speedup_theoretical == 3.0
    assert math.isnan(record.rows[0].ratio)
    assert "ratio" not in record.rows[0].to_json()
    assert from_json(SpeedRecord, record.to_json(), "here") == record


def test_the_first_files_name_no_dense_model() -> None:
    record = from_json(SpeedRecord, {"schema": 1, "id": "a", "smaller": False, "rows": []}, "here")
    assert (record.dense, record.image_size, record.rows) == ("", 0, ())

"""Typed records for tests: complete ones, of which a test says what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.records.protocol import PROTOCOL
from bench.records.run_record import FINISHED, SCHEMA, Metrics, RunRecord, RunSpec
from bench.records.study_record import StudyRecord


def run_record(
    run_id: str = "0123456789ab",
    *,
    run: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    **changes: Any,
) -> RunRecord:
    """The record of a finished run of `dense` on `digits`; ``run`` are fields of it, ``metrics`` numbers by key."""
    spec = RunSpec({"method": {"name": "dense"}, "task": "digits", "model": "net", "seed": 0, **(run or {})})
    made = RunRecord(
        schema=SCHEMA,
        protocol=PROTOCOL,
        id=run_id,
        status=FINISHED,
        reason=None,
        run=spec,
        identity={},
        architecture=spec.model,
        metrics=Metrics.from_numbers(metrics or {}),
    )
    return replace(made, **changes)


def study_record(name: str, **changes: Any) -> StudyRecord:
    """The declaration of a Pareto study of `sap` on `digits` that goes on."""
    made = StudyRecord(
        schema=SCHEMA,
        protocol=PROTOCOL,
        name=name,
        kind="pareto",
        topic="",
        state="running",
        question="why?",
        select="the best",
        objectives=("accuracy", "weights_left"),
        task="digits",
        models=("net",),
        methods=("sap",),
        targets=None,
        settings=(),
        trials=2,
        sampler="tpe",
        generation=4,
        seed=0,
        final_seeds=(1000,),
        controls=("dense",),
    )
    return replace(made, **changes)

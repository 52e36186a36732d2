"""Small studies on an Optuna storage in memory, whose jobs a test reports without computing them."""

from __future__ import annotations

from typing import Any

from optuna.storages import BaseStorage, InMemoryStorage

import studies.compare
import studies.pareto
from bench.records.home import Home
from bench.records.run_folder import RunFolder
from bench.records.run_record import LayerRow, Metrics
from bench.run import Run
from bench.scheduler import shared_study
from bench.scheduler.stage_kinds import LeasedJob
from bench.scheduler.stages import Stages
from bench.study.study import Study
from tests.records import run_record

SMALL: dict[str, Any] = {"models": ("test_resnet",), "settings": ("epochs=1",), "trials": 2}


def pareto(**changes: Any) -> Study:
    """Two trials, one final and one control."""
    return studies.pareto.study(("gradual",), **{**SMALL, "finals": 1, "final_seeds": (1000,), **changes})


def compare(**changes: Any) -> Study:
    """Two dense models, two trials, a final and its baselines; then a control that depends on the final."""
    return studies.compare.study(("gradual",), smoke=True, **{**SMALL, **changes})


def stages_of(study: Study, storage: BaseStorage | None = None, **more: Any) -> Stages:
    """The stages of a study that was just published."""
    storage = storage or InMemoryStorage()
    shared_study.publish(storage, study)
    return Stages(study, Home(), storage, **more)


def leased(stages: Stages, owner: str = "me") -> LeasedJob:
    """The next job; there must be one."""
    found = stages.lease(owner)
    assert found is not None
    return found


def finish(stages: Stages, job: LeasedJob, top1: float = 50.0) -> None:
    """Report a job as finished."""
    values = stages.values(job.planned, Metrics(val_top1=top1, weights_left=0.5))
    assert job.queue.tell(job.lease, values, {"run": job.planned.run.id, "reason": ""})


def fail(job: LeasedJob, reason: str) -> None:
    """Report a job as failed."""
    assert job.queue.tell(job.lease, None, {"run": job.planned.run.id, "reason": reason})


def record(job: LeasedJob) -> None:
    """Write the record of a job's run, as if it had been computed."""
    record_run(job.planned.run)


def record_run(run: Run) -> None:
    """Write the record of a run, as if it had been computed: half of one layer is zeros."""
    layer = LayerRow("weight", (2, 2), weights=4, nonzero=2, sparsity=0.5, macs=4.0, macs_left=2.0)
    metrics = {"val/top1": 50.0, "weights_left": 0.5}
    made = run_record(run.id, run=run.to_dict(), metrics=metrics, layers=(layer,))
    RunFolder(Home().records.run(run.id)).close(made)

"""The record of a run that has ended, built from its run, its training and what was found of its model."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch

from bench import environment, tasks
from bench.records import leakage, reading, starting_weights
from bench.records.folder import Folder
from bench.records.home import Home
from bench.records.protocol import PROTOCOL
from bench.records.run_folder import RECORD, RunFolder
from bench.records.run_record import (
    FAILED,
    FINISHED,
    SCHEMA,
    UNSAFE,
    Cost,
    PhaseRow,
    Provenance,
    RunRecord,
    RunSpec,
    StartingWeights,
    TestOpening,
)
from bench.run import SHUFFLED, START_RUN, Run
from bench.training.loop import Training
from bench.training.outcome import Findings


def finished(
    run: Run,
    folder: RunFolder,
    training: Training,
    findings: Findings,
    task: tasks.Task,
    where: Provenance,
    cost: Cost,
    start: StartingWeights | None,
) -> RunRecord:
    """The record of a finished run; ``start`` is what is known of its starting weights."""
    danger = starting_weights.danger(start, run.task, task.digest)
    doubts = [f"starting weights: {danger}" if danger else "", leakage.told(findings.metrics)]
    return replace(
        _ended(run, folder, where),
        architecture=findings.architecture,
        label=", ".join(filter(None, (training.label, findings.label, UNSAFE if danger else ""))),
        metrics=findings.metrics,
        layers=findings.layers,
        collapsed=findings.collapsed,
        unreached=findings.unreached,
        phases=tuple(map(PhaseRow.from_json, training.at.phases)),
        cost=cost,
        test_openings=task.openings,
        test_opened=tuple(map(TestOpening.from_json, task.opened)),
        starting_weights=start,
        warnings=tuple(filter(None, doubts)),
    )


def failed(run: Run, home: Home, reason: str) -> RunRecord:
    """Write the record of a run that cannot be computed: failures are results, with their reason."""
    folder = RunFolder(home.records.run(run.id))
    where = Provenance(versions=environment.versions(), command=environment.command(), finished=time.time())
    record = replace(_ended(run, folder, where), status=FAILED, reason=reason)
    reading.write(folder.path / RECORD, record)
    if (remote := home.remote) is not None:
        from bench.records.sharing import offer  # here, because most homes have no remote

        offer(remote, folder.path)
    return record


def _ended(run: Run, folder: RunFolder, where: Provenance) -> RunRecord:
    """What the records of finished and of failed runs have in common."""
    return RunRecord(
        schema=SCHEMA,
        protocol=PROTOCOL,
        id=run.id,
        status=FINISHED,
        reason=None,
        run=RunSpec(run.to_dict()),
        identity=run.identity(),
        architecture=run.model,
        provenance=where,
        attempts=folder.attempts(),
    )


def cost(
    run: Run,
    training: Training,
    records: Folder,
    seconds: float,
    beside: int,
    joules: float | None,
    start: StartingWeights | None,
) -> Cost:
    """What a run took; ``seconds`` are those of the whole run, ``beside`` is the number of runs on the machine."""
    steps, spent = training.setup.steps, training.at.seconds
    samples = steps * run.recipe.batch
    return Cost(
        steps=steps,
        start_steps=_steps(run.start, records) or (start.steps if start else 0) or 0,
        shape_steps=_steps(run.shape, records),
        start_known=start is None or start.steps is not None,
        samples=samples,
        seconds=seconds,
        train_seconds=spent,
        images_per_second=samples / spent if spent else None,
        peak_memory_bytes=environment.peak_memory(training.setup.device),
        runs_beside=beside,
        energy_joules=joules,
    )


def _steps(text: str, records: Folder) -> int:
    """The steps of a run named as run:ID, with those of the runs that it started from; 0 for anything else."""
    record = records.record(text.partition(":")[2]) if text.startswith((START_RUN, SHUFFLED)) else None
    if record is None:
        return 0
    return record.cost.steps + record.cost.start_steps + record.cost.shape_steps


def provenance(device: torch.device, started: float, task: tasks.Task, start: tuple[str, ...] = ()) -> Provenance:
    """Where the numbers of a finished run come from: code, libraries, machine, data and command, and what was done to the
    weights that it started from (``start``)."""
    return Provenance(
        **environment.code_version(Path(__file__).parent),
        versions=environment.versions(),
        hardware=environment.hardware(device),
        device=str(device),
        threads=torch.get_num_threads(),
        command=environment.command(),
        started=started,
        finished=time.time(),
        data={"task": task.info.name, "digest": task.digest, **task.counts, "classes": list(task.info.names)},
        start=start,
    )

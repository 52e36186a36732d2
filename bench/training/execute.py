"""One run from its specification to its record, in this process: data, model, start, training, measuring, files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench import environment, measure, models, tasks
from bench.channels import plan as plans
from bench.errors import BenchError
from bench.measure.energy import Meter
from bench.method import ReplacesModel
from bench.protocol import PROTOCOL
from bench.recipe import Recovery
from bench.records import reading
from bench.records.files import read_json, write_json
from bench.records.folder import Folder
from bench.records.home import Home
from bench.records.run_folder import RECORD, RunFolder
from bench.records.run_record import (
    FAILED,
    FINISHED,
    SCHEMA,
    Collapsed,
    Cost,
    LayerRow,
    Metrics,
    PhaseRow,
    Provenance,
    RunRecord,
    RunSpec,
    TestOpening,
)
from bench.run import SHUFFLED, START_RUN, Run
from bench.training import outcome
from bench.training.loop import Observer, Setup, Training, train
from bench.training.start import InitialShape, begin_


def prepare(run: Run, home: Home) -> tuple[tasks.Info, nn.Module, int, InitialShape]:
    """What can be checked before any image is decoded: the task's facts, the model with its starting weights, the input
    size, and what was kept of the model's channels (`bench.training.start`); raises `BenchError` for whatever is wrong."""
    info = tasks.info(run.task, home.data)
    built, size = architecture(run, info)
    if built != run.model and (run.start or run.shape):
        raise BenchError(
            f"starting weights must fit the model that is trained, but {run.method.name} trains {built} in place of "
            f"{run.model}, from scratch, and got start={run.start or run.shape}; leave it out"
        )
    model, _ = models.create(
        built,
        classes=info.classes,
        channels=info.channels,
        image_size=info.image_size,
        seed=run.seed,
        wanted_size=size,
        pretrained=run.start == "timm",
    )
    _fetch_parents(run, home)
    return info, model, size, begin_(run, model, home.records)


def _fetch_parents(run: Run, home: Home) -> None:
    """Runs that this one starts from, which another worker may have computed."""
    for text in (run.start, run.shape):
        if text.startswith((START_RUN, SHUFFLED)) and (remote := home.remote) is not None:
            remote.pull_run(home.path, text.partition(":")[2], weights=True)


def architecture(run: Run, info: tasks.Info) -> tuple[str, int]:
    """What is built for a run, which is the model that it names unless its method trains another in its place, and the
    input size of either."""
    models.check(run.model)
    size = models.input_size(run.model, channels=info.channels, image_size=info.image_size, wanted_size=run.image_size)
    if isinstance(run.method, ReplacesModel):
        found = run.method.architecture(run.model, classes=info.classes, channels=info.channels, image_size=size)
        return found, size
    return run.model, size


def execute(
    run: Run,
    home: Home,
    *,
    observers: Sequence[Observer] = (),
    stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float = 30.0,
    keep_weights: bool = True,
    beside: int = 1,
    decoding: Callable[[int, int], None] | None = None,
) -> RunRecord:
    """Compute a run, or go on with it where it stopped, and return its record; a finished one is only read.

    ``beside`` is how many runs share the machine (it is recorded: it blurs seconds and latencies).
    """
    folder = RunFolder(home.records.run(run.id))
    with folder.lock(), _shared(home, folder, keep_weights):
        done = folder.record()
        if done is not None and done.finished and _has_weights(folder, keep_weights):
            return done
        write_json(folder.path / "run.json", {"run": run.to_dict(), "identity": run.identity()})
        began, started = time.perf_counter(), time.time()
        device = environment.resolve_device(run.device)
        if run.threads:
            torch.set_num_threads(run.threads)
        info, model, size, initial = prepare(run, home)
        task = tasks.load(
            run.task, data=home.data, cache=home.cache, device=device, workers=run.workers, progress=decoding
        )
        built, _ = architecture(run, info)
        shape = {"classes": info.classes, "channels": info.channels, "image_size": size}
        plan = plans.plan(model, built, kept=initial.kept, **shape)
        whole = model if built == run.model and not initial.kept else models.empty(run.model, **shape)
        dense = measure.reference(whole, (1, info.channels, size, size))
        aim = {} if built == run.model else outcome.aim(run, whole)
        training = Training(
            replace(
                setup(run, task, size, device),
                dense_weights=dense.weights,
                held=initial.held,
                folder=folder,
                observers=observers,
                stop=stop,
                checkpoint_seconds=checkpoint_seconds,
            ),
            model,
        )
        before = outcome.dense(run, model, initial)
        whole_run, meter = not folder.checkpoints(), Meter(device, beside)
        finished = train(training)
        joules = meter.joules() if whole_run else None  # of a run that was cut off, the rest says nothing
        metrics, layers = outcome.measured(run, finished, task, size, device, dense, before)
        outcome.require_target(run, metrics)
        metrics |= outcome.pruned(training, finished) | {"val_best/top1": outcome.best(folder.rows(), metrics)}
        collapsed = measure.collapsed(finished, layers, training.setup.validation(), run.recipe)
        record = replace(
            _closed(run, folder, provenance(device, started, task)),
            architecture=built,
            label=training.label,
            metrics=Metrics.from_numbers({**metrics, **aim, "layers/collapsed": len(collapsed)}),
            layers=tuple(map(LayerRow.from_json, layers)),
            collapsed=tuple(map(Collapsed.from_json, collapsed)),
            phases=tuple(map(PhaseRow.from_json, training.at.phases)),
            cost=replace(_cost(run, training, home.records, time.perf_counter() - began, beside), energy_joules=joules),
            test_openings=task.openings,
            test_opened=tuple(map(TestOpening.from_json, task.opened)),
        )
        if keep_weights:
            digest = models.save_weights(finished, folder.path / "model.safetensors")
            record = replace(record, weights_sha256=digest)
            write_json(folder.path / "plan.json", _whole_plan(plan, training.kept))
        folder.close(record)
        return record


def _closed(run: Run, folder: RunFolder, where: Provenance, *, reason: str | None = None) -> RunRecord:
    """The record of a run that has ended, without what only a finished one has; ``reason`` says why it failed, if it did."""
    return RunRecord(
        schema=SCHEMA,
        protocol=PROTOCOL,
        id=run.id,
        status=FINISHED if reason is None else FAILED,
        reason=reason,
        run=RunSpec(run.to_dict()),
        identity=run.identity(),
        architecture=run.model,
        provenance=where,
        attempts=folder.attempts(),
    )


def _shared(home: Home, folder: RunFolder, weights: bool) -> contextlib.AbstractContextManager[None]:
    """Where there is a remote home, the run is shared with it while it is computed."""
    if (remote := home.remote) is None:
        return contextlib.nullcontext()
    from bench.records.sharing import shared  # here, because most homes need none

    return shared(remote, folder.path, weights=weights)


def _whole_plan(plan: dict[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """The plan with the channels that the run lost, which may have begun with fewer than the architecture has."""
    if not kept:
        return plan
    from bench.channels.groups import then

    return {**plan, "kept": then(plan.get("kept", {}), dict(kept))}


def _has_weights(folder: RunFolder, wanted: bool) -> bool:
    return not wanted or (folder.path / "model.safetensors").exists()


def setup(run: Run, task: tasks.Task, size: int, device: torch.device) -> Setup:
    """The configuration of a run's training; without a folder it leaves nothing on disk."""
    recipe = run.recipe
    batches = task.train(
        seed=run.seed, batch=recipe.batch, augment=recipe.augment, image_size=size, channels_last=recipe.channels_last
    )
    validation = task.evaluation("validation", batch=512, image_size=size, channels_last=recipe.channels_last)
    steps = max(1, round(run.epochs * batches.steps))
    recovery = None if run.recovery == "none" else Recovery(run.recovery, run.recover, run.rewind_to)
    return Setup(run.method, recipe, run.seed, batches, lambda: validation, device, steps, recovery=recovery)


def _cost(run: Run, training: Training, records: Folder, seconds: float, beside: int) -> Cost:
    steps, spent = training.setup.steps, training.at.seconds
    samples = steps * run.recipe.batch
    return Cost(
        steps=steps,
        start_steps=_steps(run.start, records),
        shape_steps=_steps(run.shape, records),
        samples=samples,
        seconds=seconds,
        train_seconds=spent,
        images_per_second=samples / spent if spent else None,
        peak_memory_bytes=environment.peak_memory(training.setup.device),
        runs_beside=beside,
    )


def _steps(text: str, records: Folder) -> int:
    """The steps that a run named as run:ID took, with those of the runs that it started from; 0 of anything else."""
    record = records.record(text.partition(":")[2]) if text.startswith((START_RUN, SHUFFLED)) else None
    if record is None:
        return 0
    return record.cost.steps + record.cost.start_steps + record.cost.shape_steps


def provenance(device: torch.device, started: float, task: tasks.Task) -> Provenance:
    """Where numbers come from: code, libraries, machine, data and command."""
    return Provenance(
        **environment.code_version(Path(__file__).parent),
        versions=environment.versions(),
        hardware=environment.hardware(device),
        device=str(device),
        threads=torch.get_num_threads(),
        command=environment.command(),
        started=started,
        finished=time.time(),
        data={"task": task.info.name, "digest": task.digest, **task.counts},
    )


def failed(run: Run, home: Home, reason: str) -> RunRecord:
    """Write the record of a run that cannot be computed: failures are results, with their reason."""
    folder = RunFolder(home.records.run(run.id))
    known = Provenance(versions=environment.versions(), command=environment.command(), finished=time.time())
    record = _closed(run, folder, known, reason=reason)
    reading.write(folder.path / RECORD, record)
    if (remote := home.remote) is not None:
        from bench.records.sharing import offer

        offer(remote, folder.path)
    return record


def load_model(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The finished model of a run, plain and in eval mode, with its plan: built from `plan.json`, nothing unpickled."""
    plan = read_json(folder / "plan.json")
    if not isinstance(plan, dict) or "model" not in plan:
        raise BenchError(f"{folder / 'plan.json'} must describe a model; run it again to have it written anew")
    model = plans.rebuild(plan)
    models.load_weights(model, folder / "model.safetensors")
    return model.eval(), plan

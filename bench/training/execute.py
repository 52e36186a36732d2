"""Computes one run in this process, from its specification to its record: data, model, start, training, measurements, files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench import environment, models, tasks
from bench.channels import plan as plans
from bench.errors import BenchError
from bench.measure.energy import Meter
from bench.method import ReplacesModel
from bench.recipe import Recovery
from bench.records import starting_weights
from bench.records.files import read_json, write_json
from bench.records.home import Home
from bench.records.run_folder import RunFolder
from bench.records.run_record import RunRecord, StartingWeights
from bench.run import SHUFFLED, START_RUN, Run
from bench.training import data, outcome, recording
from bench.training.loop import Observer, Setup, Training, train
from bench.training.sizing import sized
from bench.training.start import InitialShape, begin_, known


def prepare(run: Run, home: Home) -> tuple[tasks.Info, nn.Module, int, InitialShape]:
    """All that can be checked before any image is decoded: the task's facts, the model with its starting weights, the input
    size in pixels, and the channels that were kept of the model (`bench.training.start`).

    Raises:
        BenchError: the run cannot be computed as it is specified.
    """
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
    return info, model, size, begin_(run, model, home.records, info.names)


def _fetch_parents(run: Run, home: Home) -> None:
    """Fetch from the remote the runs that this one starts from, which another worker may have computed."""
    for text in (run.start, run.shape):
        if text.startswith((START_RUN, SHUFFLED)) and (remote := home.remote) is not None:
            remote.pull_run(home.path, text.partition(":")[2], weights=True)


def architecture(run: Run, info: tasks.Info) -> tuple[str, int]:
    """The architecture that is built for a run, and its input size in pixels. It is the model that the run names, unless the
    method trains another one in its place."""
    models.check(run.model)
    size = models.input_size(run.model, channels=info.channels, image_size=info.image_size, wanted_size=run.image_size)
    if isinstance(run.method, ReplacesModel):
        own = sized(run, info, size).method
        assert isinstance(own, ReplacesModel)
        found = own.architecture(run.model, classes=info.classes, channels=info.channels, image_size=size)
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
    """Compute a run, or resume it from its last checkpoint, and return its record. The record of a finished run is read.

    Args:
        run: the specification.
        home: where its folder is.
        observers: called at each step, epoch and phase.
        stop: asked at each step; when it returns True, a checkpoint is written and `Stopped` is raised.
        checkpoint_seconds: the least time between two checkpoints.
        keep_weights: write the finished model too.
        beside: the number of runs on the machine at the same time; recorded, as it blurs seconds and latencies.
        decoding: told the number of decoded images and of all, while a data set is decoded.
    """
    folder = RunFolder(home.records.run(run.id))
    with folder.lock(), _shared(home, folder, keep_weights):
        done = folder.record()
        if done is not None and done.finished and _has_weights(folder, keep_weights):
            return done
        facts = {"run": run.to_dict(), "identity": run.identity()}
        began_with = _data_of(folder)
        write_json(folder.path / "run.json", {**facts, "data": began_with})
        began, started = time.perf_counter(), time.time()
        device = environment.resolve_device(run.device)
        if run.threads:
            torch.set_num_threads(run.threads)
        info, model, size, initial = prepare(run, home)
        start = known(run, home.records)
        task = data.load(run, home, device, whose=run.id, progress=decoding)
        data.require_unchanged(run, home, task, began_with)
        data.require_parents(run, home, task)
        write_json(folder.path / "run.json", {**facts, "data": task.digest})
        built, _ = architecture(run, info)
        aimed = sized(run, info, size)
        reference = outcome.reference(aimed, info, model, size, initial, built)
        shape = {"classes": info.classes, "channels": info.channels, "image_size": size}
        plan = plans.plan(model, built, kept=initial.kept, names=task.info.names, **shape)
        how = setup(aimed, task, size, device)
        how = replace(how, dense_weights=reference.whole.weights, held=initial.held, folder=folder, stop=stop)
        training = Training(replace(how, observers=observers, checkpoint_seconds=checkpoint_seconds), model)
        uncut, meter = not folder.checkpoints(), Meter(device, beside)
        finished = train(training)
        joules = meter.joules() if uncut else None  # of a resumed run, only part was metered
        findings = outcome.judge(aimed, training, finished, task, size, reference)
        where = recording.provenance(device, started, task, initial.notes)
        cost = recording.cost(run, training, home.records, time.perf_counter() - began, beside, joules, start)
        record = recording.finished(run, folder, training, findings, task, where, cost, start)
        if keep_weights:
            seen = starting_weights.after(start, run.task, task.digest, cost.steps)
            digest = _write_model(folder, finished, seen, _whole_plan(plan, training.kept))
            record = replace(record, weights_sha256=digest)
        folder.close(record)
        return record


def _write_model(folder: RunFolder, model: nn.Module, seen: StartingWeights, plan: dict[str, Any]) -> str:
    """Write the finished weights, which say what they have seen, and the plan; returns the SHA-256 of the weights."""
    metadata = {starting_weights.KEY: starting_weights.to_text(seen)}
    digest = models.save_weights(model, folder.path / "model.safetensors", metadata)
    write_json(folder.path / "plan.json", plan)
    return digest


def _data_of(folder: RunFolder) -> str:
    """The digest of the data that an interrupted run began with; "" where it has no checkpoint, or does not say."""
    file = folder.path / "run.json"
    if not folder.checkpoints() or not file.exists():
        return ""
    found = read_json(file)
    return str(found.get("data") or "") if isinstance(found, dict) else ""


def _shared(home: Home, folder: RunFolder, weights: bool) -> contextlib.AbstractContextManager[None]:
    """Shares the run through the remote while it is computed, if the home has a remote."""
    if (remote := home.remote) is None:
        return contextlib.nullcontext()
    from bench.records.sharing import shared  # here, because most homes have no remote

    return shared(remote, folder.path, weights=weights)


def _whole_plan(plan: dict[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """The plan with the channels that the run kept, of those that it started with."""
    if not kept:
        return plan
    from bench.channels.groups import then

    return {**plan, "kept": then(plan.get("kept", {}), dict(kept))}


def _has_weights(folder: RunFolder, wanted: bool) -> bool:
    return not wanted or (folder.path / "model.safetensors").exists()


def setup(run: Run, task: tasks.Task, size: int, device: torch.device) -> Setup:
    """The configuration of a run's training; without a folder it leaves nothing on disk."""
    recipe = run.recipe

    def train(augment: bool) -> tasks.Batches:
        return task.train(
            seed=run.seed, batch=recipe.batch, augment=augment, image_size=size, channels_last=recipe.channels_last
        )

    batches = train(recipe.augment)
    validation = task.evaluation("validation", batch=512, image_size=size, channels_last=recipe.channels_last)
    steps = max(1, round(run.epochs * batches.steps))
    recovery = None if run.recovery == "none" else Recovery(run.recovery, run.recover, run.rewind_to)
    return Setup(
        run.method,
        recipe,
        run.seed,
        batches,
        lambda: validation,
        device,
        steps,
        recovery=recovery,
        scored_on=lambda: train(augment=False),
    )


def load_model(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The finished model of a run, plain and in eval mode, with its plan: built from `plan.json`, nothing unpickled."""
    plan = read_json(folder / "plan.json")
    if not isinstance(plan, dict) or "model" not in plan:
        raise BenchError(f"{folder / 'plan.json'} must describe a model; run it again to have it written anew")
    model = plans.rebuild(plan)
    models.load_weights(model, folder / "model.safetensors")
    return model.eval(), plan

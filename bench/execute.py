"""One run from its specification to its record, in this process: data, model, start, training, measuring, files."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench import PROTOCOL, machine, masks, measure, models, tasks
from bench.errors import BenchError, Ineffective
from bench.loop import Observer, Training, train
from bench.place import Place
from bench.record import SCHEMA, Folder, read_json, write_json
from bench.recovery import Recovery
from bench.spec import SHUFFLED, START_RUN, Run
from bench.start import Begun, begin_
from bench.store import RunFolder

DENSE = 0.999  # share of weights that are not zero in a model that was not pruned


def prepare(run: Run, place: Place) -> tuple[tasks.Info, nn.Module, int, Begun]:
    """What can be checked before any image is decoded: the task's facts, the model with its starting weights, the input
    size, and what was kept of the model's channels (`bench.start`); raises `BenchError` for whatever is wrong."""
    info = tasks.info(run.task, place.data)
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
    return info, model, size, begin_(run, model, place.records)


def architecture(run: Run, info: tasks.Info) -> tuple[str, int]:
    """What is built for a run, which is the model that it names unless its method trains another in its place, and the
    input size of either."""
    models.check(run.model)
    size = models.input_size(run.model, channels=info.channels, image_size=info.image_size, wanted_size=run.image_size)
    return run.method.architecture(run.model, classes=info.classes, channels=info.channels, image_size=size), size


def execute(
    run: Run,
    place: Place,
    *,
    observers: Sequence[Observer] = (),
    stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float = 30.0,
    keep_weights: bool = True,
    beside: int = 1,
    decoding: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Compute a run, or go on with it where it stopped, and return its record; a finished one is only read.

    ``beside`` is how many runs share the machine (it is recorded: it blurs seconds and latencies).
    """
    folder = RunFolder(place.records.run(run.id))
    with folder.lock():
        done = folder.record()
        if done is not None and done["status"] == "finished" and _has_weights(folder, keep_weights):
            return done
        write_json(folder.path / "run.json", {"run": run.to_dict(), "identity": run.identity()})
        began, started = time.perf_counter(), time.time()
        device = machine.resolve_device(run.device)
        if run.threads:
            torch.set_num_threads(run.threads)
        info, model, size, begun = prepare(run, place)
        task = tasks.load(
            run.task, data=place.data, cache=place.cache, device=device, workers=run.workers, progress=decoding
        )
        built, _ = architecture(run, info)
        shape = {"classes": info.classes, "channels": info.channels, "image_size": size}
        plan = models.plan(model, built, kept=begun.kept, **shape)
        whole = model if built == run.model and not begun.kept else models.empty(run.model, **shape)
        dense = measure.reference(whole, (1, info.channels, size, size))
        aim = {} if built == run.model else _aim(run, whole)
        job = training(run, model, task, size, device)
        job.dense_weights, job.held = dense.weights, begun.held
        job.folder, job.observers, job.stop, job.checkpoint_seconds = folder, observers, stop, checkpoint_seconds
        before = _dense(run, model, begun)
        finished = train(job)
        metrics, layers = judge(run, finished, task, size, device, dense, before)
        _require_target(run, metrics)
        metrics |= _damage(job, finished)
        collapsed = measure.collapsed(finished, layers, job.validation(), run.recipe)
        best = max((row["val/top1"] for row in folder.rows()), default=metrics["val/top1"])
        record = {
            "schema": SCHEMA,
            "protocol": PROTOCOL,
            "id": run.id,
            "status": "finished",
            "reason": None,
            "run": run.to_dict(),
            "identity": run.identity(),
            "architecture": built,
            "label": job.label,
            "metrics": {**metrics, **aim, "val_best/top1": best, "layers/collapsed": len(collapsed)},
            "layers": layers,
            "collapsed": collapsed,
            "phases": job.at.phases,
            "cost": _cost(run, job, place.records, time.perf_counter() - began, beside),
            "provenance": provenance(device, started, task),
            "test_openings": task.openings,
            "attempts": folder.attempts(),
        }
        if keep_weights:
            record["weights_sha256"] = models.save_weights(finished, folder.path / "model.safetensors")
            write_json(folder.path / "plan.json", _whole_plan(plan, job.kept))
        folder.close(record)
        return record


def _whole_plan(plan: dict[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """The plan with the channels that the run lost, which may have begun with fewer than the architecture has."""
    if not kept:
        return plan
    from bench.groups import then

    return {**plan, "kept": then(plan.get("kept", {}), dict(kept))}


def _has_weights(folder: RunFolder, wanted: bool) -> bool:
    return not wanted or (folder.path / "model.safetensors").exists()


def training(run: Run, model: nn.Module, task: tasks.Task, size: int, device: torch.device) -> Training:
    """The training of a run, ready for `bench.loop.train`; without a folder it leaves nothing on disk."""
    recipe = run.recipe
    batches = task.train(
        seed=run.seed, batch=recipe.batch, augment=recipe.augment, image_size=size, channels_last=recipe.channels_last
    )
    validation = task.evaluation("validation", batch=512, image_size=size, channels_last=recipe.channels_last)
    steps = max(1, round(run.epochs * batches.steps))
    job = Training(run.method, recipe, run.seed, model, batches, lambda: validation, device, steps)
    if run.recovery != "none":
        job.recovery = Recovery(run.recovery, run.recover, run.rewind_to)
    return job


def _dense(run: Run, model: nn.Module, begun: Begun) -> nn.Module | None:
    """A copy of the trained dense model that the run starts from; None where it starts from none: from an initialisation, from
    timm (with a classifier of its own), or from what was pruned before."""
    if run.start in ("", "timm") or begun.kept or measure.progress_point(model, ())["weights_left"] < DENSE:
        return None
    return copy.deepcopy(model)


def _damage(job: Training, finished: nn.Module) -> dict[str, float]:
    """How good the model was as the method finished it: before a recovery, and with batch-norm statistics of its own."""
    if job.recovering:
        return job.at.pruned
    found = measure.reestimated(finished, job.batches, job.validation(), job.recipe)
    return {f"val/{key}": value for key, value in found.items()}


def _aim(run: Run, dense: nn.Module) -> dict[str, float]:
    """What a method that trains a smaller model in the place of the ``dense`` one aims at: the share of its convolution
    and linear weights that the method's target leaves."""
    share = getattr(run.method, run.method.target) if run.method.target else None
    if share is None:
        return {}
    prunable, weights = (
        sum(weight.numel() for weight in found.values())
        for found in (run.method.prunable(dense), masks.prunable(dense, classifier=True))
    )
    return {"wanted/weights_left": 1 - round(share * prunable) / weights}


def judge(
    run: Run,
    model: nn.Module,
    task: tasks.Task,
    size: int,
    device: torch.device,
    dense: measure.Reference,
    before: nn.Module | None = None,
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """All measurements of a finished model: on validation, on test if the run opens it, of its weights and its speed, which
    are compared with the ``dense`` model's; ``before`` is the trained dense model that it came from, if it came from one."""
    recipe, metrics = run.recipe, dict[str, float]()
    if before is not None:
        before = before.to(device).to(memory_format=recipe.memory_format)
    for split in ("validation", "test") if run.test else ("validation",):
        batches = task.evaluation(split, batch=512, image_size=size, channels_last=recipe.channels_last)
        prefix = "val" if split == "validation" else "test"
        metrics |= {f"{prefix}/{k}": v for k, v in measure.accuracy(model, batches, recipe, before).items()}
    shape = (recipe.batch, task.info.channels, size, size)
    facts, layers = measure.summary(
        model, prunable=run.method.prunable(model), example_shape=shape, recipe=recipe, device=device, dense=dense
    )
    return {**metrics, **facts}, layers


def _require_target(run: Run, metrics: Mapping[str, float]) -> None:
    method = run.method
    wanted, got = method.wanted, method.attained(metrics)
    if wanted is not None and got is not None and abs(got - wanted) > method.tolerance:
        raise Ineffective(
            f"what was wanted must be attained (within {method.tolerance:.1%}), but {method.name} was asked to remove "
            f"{wanted:.4f} and has removed {got:.4f}; this is no result of that method"
        )


def _cost(run: Run, job: Training, records: Folder, seconds: float, beside: int) -> dict[str, Any]:
    samples = job.steps * run.recipe.batch
    return {
        "steps": job.steps,
        "start_steps": _steps(run.start, records),
        "shape_steps": _steps(run.shape, records),
        "samples": samples,
        "seconds": seconds,
        "train_seconds": job.at.seconds,
        "images_per_second": samples / job.at.seconds if job.at.seconds else None,
        "peak_memory_bytes": machine.peak_memory(job.device),
        "runs_beside": beside,
    }


def _steps(text: str, records: Folder) -> int:
    """The steps that a run named as run:ID took, with those that it began with; of anything else none."""
    record = records.record(text.partition(":")[2]) if text.startswith((START_RUN, SHUFFLED)) else None
    cost: dict[str, int] = record["cost"] if record else {}
    return sum(cost.get(key, 0) for key in ("steps", "start_steps", "shape_steps"))


def provenance(device: torch.device, started: float, task: tasks.Task) -> dict[str, Any]:
    """Where numbers come from: code, libraries, machine, data and command."""
    return {
        **machine.code_version(Path(__file__).parent),
        "versions": machine.versions(),
        "hardware": machine.hardware(device),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "command": machine.command(),
        "started": started,
        "finished": time.time(),
        "data": {"task": task.info.name, "digest": task.digest, **task.counts},
    }


def failed(run: Run, place: Place, reason: str) -> dict[str, Any]:
    """Close a run that cannot be computed: failures are results, with their reason."""
    folder = RunFolder(place.records.run(run.id))
    record = {
        "schema": SCHEMA,
        "protocol": PROTOCOL,
        "id": run.id,
        "status": "failed",
        "reason": reason,
        "run": run.to_dict(),
        "identity": run.identity(),
        "metrics": {},
        "layers": [],
        "phases": [],
        "cost": {},
        "provenance": {"versions": machine.versions(), "command": machine.command(), "finished": time.time()},
        "test_openings": 0,
        "attempts": folder.attempts(),
    }
    write_json(folder.path / "record.json", record)
    return record


def load_model(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The finished model of a run, plain and in eval mode, with its plan: built from `plan.json`, nothing unpickled."""
    plan = read_json(folder / "plan.json")
    if not isinstance(plan, dict) or "model" not in plan:
        raise BenchError(f"{folder / 'plan.json'} must describe a model; run it again to have it written anew")
    model = models.rebuild(plan)
    models.load_weights(model, folder / "model.safetensors")
    return model.eval(), plan

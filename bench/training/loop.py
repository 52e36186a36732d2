"""The training loop: phases of steps, a method's hooks at fixed points, observers that look on.

    resume from the newest checkpoint, or attach the method
    while there is a phase:
        for each step: forward, penalty, backward, after_backward, clip, optimiser step, after_step
        at the end of each epoch and of the phase: evaluate, write a row, tell observers, checkpoint
        end_phase
    finish
    where the run has a recovery (`bench.training.recovery`): the finished model in phases of its own, its zeros held

All state of a run is in `Training`; a checkpoint holds it whole, so that a run killed anywhere ends with the same
weights, bit for bit on a CPU. The global generators (dropout inside models) are seeded at each epoch and each phase from
(seed, step), and are part of the checkpoint in between.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import BenchError, Diverged
from bench.measure import accuracy, progress_point, reestimated
from bench.method import Clock, Phase
from bench.seeds import address
from bench.training.checkpoint import due, resume_, save, save_if_due, set_generators_, to
from bench.training.recovery import Ended, Recover, rewind_, tensors, values, zeros
from bench.training.state import Batches, Event, Observer, Position, Stopped, Training

__all__ = ["Batches", "Event", "Observer", "Position", "Stopped", "Training", "step_", "train"]

FINITE_EVERY = 500  # steps between looks at the loss, each of which waits for the device


def train(job: Training) -> nn.Module:
    """Run all phases and return the plain finished model (in eval mode). Resumes by itself from the job's folder.

    Raises:
        Diverged: the loss is no finite number.
        Stopped: `job.stop()` said so.
        BenchError: a phase does not fit the budget.
    """
    devices = [job.device] if job.device.type == "cuda" else []
    job.held = {name: mask.to(job.device) for name, mask in job.held.items()}
    with torch.random.fork_rng(devices=devices):
        job.model.to(job.device).to(memory_format=job.recipe.memory_format)
        _begin(job)
        if not job.recovering:
            _run_phases(job)
            job.kept, job.label = dict(job.method.kept(job.state)), job.method.label(job.state)
            job.model = job.method.finish(job.state, job.model).eval()
        if job.recovery and not job.recovering:
            _turn_to_recovery(job)
        if job.recovering:
            _run_phases(job)
        return job.model.eval()


def _run_phases(job: Training) -> None:
    """The phases of the method, or of the recovery."""
    while (phase := job.method.phase(job.state, job.at.index, job.budget)) is not None:
        left = job.budget.left
        if not 0 < phase.steps <= left:
            raise BenchError(
                f"phases must fit the budget, but {phase.name!r} wants {phase.steps} steps and {left} of {job.end} "
                "are left; lower the number of rounds or raise `epochs`"
            )
        _train_phase(job, phase)
    if job.at.step != job.end:
        raise BenchError(f"phases must spend the whole budget, but {job.end - job.at.step} steps were left over")


def _begin(job: Training) -> None:
    checkpoint = job.folder.load_checkpoint() if job.folder else None
    job.measured = {row["step"]: row for row in job.folder.rows()} if job.folder else {}
    if checkpoint and checkpoint.get("recovery"):
        _resume_recovery(job, checkpoint)
        return
    if job.recovery and job.recovery.rewinds(job.steps) is not None:
        job.whole = tensors(job.model)
        _keep_origin(job)
    torch.manual_seed(address(job.seed, "attach"))
    images, _ = next(iter(job.batches.epoch(0)))
    job.state = job.method.attach(job.model, images)
    job.model.to(job.device).to(memory_format=job.recipe.memory_format)
    if checkpoint is None:
        return
    for name, value in checkpoint["state"].items():
        setattr(job.state, name, to(value, job.device))
    job.method.rebuild(job.state, job.model)
    resume_(job, checkpoint)
    job.origin = to(checkpoint.get("origin"), job.device) or job.origin


def _keep_origin(job: Training) -> None:
    """At the step that the recovery rewinds to, keep the values."""
    if job.whole and job.recovery and job.at.step == job.recovery.rewinds(job.steps):
        job.origin, job.whole = values(job.model, job.whole), {}


def _turn_to_recovery(job: Training) -> None:
    """After the method: measure what it left, hold its zeros, rewind, and let the recovery have the rest."""
    top1 = accuracy(job.model, job.validation(), job.recipe)["top1"]
    norms = reestimated(job.model, job.batches, job.validation(), job.recipe)
    job.at.pruned = {"val/top1_pruned": top1, **{f"val/{key}": value for key, value in norms.items()}}
    job.model.to(memory_format=job.recipe.memory_format)
    job.held = zeros(job.model)
    rewind_(job.model, job.origin, job.kept, job.held)
    job.origin, job.saved = {}, None
    _recover(job)


def _resume_recovery(job: Training, checkpoint: dict[str, Any]) -> None:
    """Back into a recovery: the model is built from what the method kept, as a finished one is, and the method is over."""
    found = checkpoint["recovery"]
    job.kept, job.label, job.held = found["kept"], found["label"], to(found["held"], job.device)
    if job.kept:
        from bench.channels.groups import (
            shrink_,  # here, because the tracer that it comes with takes a second to import
        )

        shrink_(job.model, job.kept)
    resume_(job, checkpoint)
    _recover(job)


def _recover(job: Training) -> None:
    assert job.recovery is not None
    shown = {key.removeprefix("method/"): value for key, value in job.at.row.items() if key.startswith("method/")}
    job.method = Recover(job.method, job.recovery.peak(job.recipe, job.end))
    job.state, job.recipe, job.recovering = Ended(shown), job.recovery.recipe(job.recipe), True


def _train_phase(job: Training, phase: Phase) -> None:
    optimizer = job.method.optimizer(job.state, job.model, job.recipe, phase)
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"] * phase.lr
    at, resumed = job.at, job.saved is not None
    if job.saved is not None and job.saved["optimizer"] is not None:
        optimizer.load_state_dict(job.saved["optimizer"])
    clock = Clock(job.seed, job.budget, phase, at.index, at.step, at.phase_step, optimizer)
    while at.phase_step < phase.steps:
        epoch, skip = divmod(at.step, job.batches.steps)
        if resumed and job.saved is not None:
            set_generators_(job.saved["generators"], job.device)
        if skip == 0 or at.phase_step == 0:
            torch.manual_seed(address(job.seed, "torch", at.step))
        resumed = False
        count = min(job.batches.steps - skip, phase.steps - at.phase_step)
        _segment(job, clock, epoch, skip, count)
        _evaluate(job, clock)
        save_if_due(job, optimizer)
    job.saved = None
    at.phases.append({"index": at.index, "name": phase.name, "steps": phase.steps, **_phase_row(at.row)})
    before = _versions(job.model)
    job.method.end_phase(job.state, job.model, clock)
    job.model.to(memory_format=job.recipe.memory_format)  # tensors that were cut have lost it
    if _versions(job.model) != before:
        scores = accuracy(job.model, job.validation(), job.recipe)
        at.phases[-1] |= {"after/val/top1": scores["top1"]}
    _tell(job, "phase", phase)
    at.index, at.phase_step = at.index + 1, 0
    save_if_due(job, None)


def _segment(job: Training, clock: Clock, epoch: int, skip: int, count: int) -> None:
    """Train ``count`` steps of an epoch."""
    at, recipe, phase = job.at, job.recipe, clock.phase
    forward: Callable[[Tensor], Tensor] = torch.compile(job.model) if recipe.compile else job.model
    job.model.train()
    total = torch.tensor(at.loss_sum, device=job.device, dtype=torch.float64)
    batches, began = iter(job.batches.epoch(epoch, skip)), time.perf_counter()
    for done in range(1, count + 1):
        for group in clock.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * recipe.rate(clock.phase_step, phase.steps)
        total += step_(job, clock, forward, *next(batches))
        at.step, at.phase_step, at.loss_steps = clock.step, clock.phase_step, at.loss_steps + 1
        _keep_origin(job)
        _tell(job, "step", phase)
        stopping = job.stop()
        if done == count or stopping or at.step % FINITE_EVERY == 0 or due(job):
            at.loss_sum = float(total)
            if not math.isfinite(at.loss_sum):
                raise Diverged(f"the loss must stay finite, but at step {at.step} it is {at.loss_sum}; lower `lr`")
            if done < count and (stopping or due(job)):
                at.seconds += time.perf_counter() - began
                save(job, clock.optimizer)
                began = time.perf_counter()
            if stopping and done < count:
                raise Stopped
    if job.device.type == "cuda":
        torch.cuda.synchronize(job.device)  # the last backward and step, which the loss did not wait for
    at.seconds += time.perf_counter() - began


def step_(job: Training, clock: Clock, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """One optimiser step; returns the task's loss (a scalar on the device, not waited for)."""
    method, recipe, optimizer = job.method, job.recipe, clock.optimizer
    parts = recipe.micro_batches
    task_loss = torch.zeros((), device=job.device) if parts > 1 else None
    for index, (x, y) in enumerate(zip(images.chunk(parts), labels.chunk(parts), strict=True)):
        with recipe.autocast(job.device):
            loss = F.cross_entropy(forward(x), y, label_smoothing=recipe.label_smoothing)
        loss = loss if task_loss is None else loss * (len(y) / len(labels))
        task_loss = loss.detach() if task_loss is None else task_loss + loss.detach()
        penalty = method.penalty(job.state, job.model, clock) if index == 0 else None
        if index == 0:
            optimizer.zero_grad(set_to_none=True)  # here, so that backward finds this memory warm
        (loss if penalty is None else loss + penalty).backward()  # type: ignore[no-untyped-call]
    method.after_backward(job.state, job.model, clock)
    if job.held:
        _hold_(job)
    if recipe.clip:
        nn.utils.clip_grad_norm_(job.model.parameters(), recipe.clip, foreach=True)
    optimizer.step()
    clock.step += 1
    clock.phase_step += 1
    method.after_step(job.state, job.model, clock)
    assert task_loss is not None
    return task_loss


def _hold_(job: Training) -> None:
    """No gradient where a zero is held. Without one, and without momentum, the optimiser leaves a zero at zero."""
    values = dict(job.model.named_parameters())
    pairs = [(g, mask) for name, mask in job.held.items() if (g := values[name].grad) is not None]
    if any(g.shape != mask.shape for g, mask in pairs):
        raise BenchError(
            f"zeros can be held in a model that keeps its size, but {job.method.name} removed channels; leave `shape` out"
        )
    torch._foreach_mul_([g for g, _ in pairs], [mask for _, mask in pairs])


def _evaluate(job: Training, clock: Clock) -> None:
    """Add a row to the curves: the training loss since the last one, and the model as it is now."""
    at, method = job.at, job.method
    scores = accuracy(job.model, job.validation(), job.recipe)
    if not math.isfinite(scores["loss"]):
        raise Diverged(
            f"the validation loss must stay finite, but at step {at.step} it is {scores['loss']}; lower `lr`"
        )
    at.row = {
        "step": at.step,
        "epoch": at.step / job.batches.steps,
        "phase": clock.phase.name,
        "time": time.time_ns() // 1_000_000,
        "train/loss": at.loss_sum / max(1, at.loss_steps),
        "val/top1": scores["top1"],
        "val/loss": scores["loss"],
        "lr": max(float(group["lr"]) for group in clock.optimizer.param_groups),
        "seconds": at.seconds,
        **progress_point(
            job.model, method.prunable(job.model), method.effective(job.state, job.model), job.dense_weights
        ),
        **{f"method/{k}": float(v) for k, v in method.stats(job.state, job.model).items()},
    }
    at.loss_sum, at.loss_steps = 0.0, 0
    if job.folder:
        if at.step in job.measured:  # before a kill, after the checkpoint: that row stands
            at.row = job.measured[at.step]
        else:
            job.folder.append_row(at.row)
    _tell(job, "epoch", clock.phase)


def _versions(model: nn.Module) -> list[tuple[int, int, int]]:
    """What changes with every write to a parameter, and with its shape."""
    return [(id(p), p._version, p.numel()) for p in model.parameters()]


def _phase_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("step", "val/top1", "val/loss", "sparsity", "weights_left", "pq")}


def _tell(job: Training, kind: str, phase: Phase) -> None:
    for observer in job.observers:
        observer(Event(kind, job.at.step, job.steps, phase.name, job.at.row))

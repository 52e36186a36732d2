"""The training loop: phases of steps, a method's hooks at fixed points, observers that look on.

    resume from the newest checkpoint, or attach the method
    for each stage (the method; then the recovery, where the run has one):
        while the stage's method has a phase:
            for each epoch of the phase:
                for each step: forward, penalty, backward, after_backward, clip, optimiser step, after_step
                evaluate, write a row, tell observers, checkpoint
            end_phase, checkpoint
        finish

All state of a run is in `Training`, and a checkpoint holds all of it, so that a run killed anywhere ends with the same
weights, bit for bit on a CPU. The global generators (dropout inside models) are seeded at each epoch and each phase from
(seed, step), and are part of the checkpoint in between.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import BenchError, Diverged
from bench.measure import accuracy, reestimated
from bench.method import Clock, Labels, Phase, RemovesChannels
from bench.seeds import address
from bench.training.checkpoint import due, load, save, save_if_due
from bench.training.curves import add_phase, add_row, writes
from bench.training.recovery import Ended, hold_, zeros
from bench.training.rewind import Origin, rewind_, tensors
from bench.training.setup import Batches, Event, Observer, Setup, Stopped
from bench.training.state import Position, Training

__all__ = ["Batches", "Event", "Observer", "Position", "Setup", "Stopped", "Training", "step_", "train"]

FINITE_EVERY = 500  # steps between checks that the loss is finite, each of which waits for the device


def train(training: Training) -> nn.Module:
    """Run all stages and return the plain finished model in eval mode. Resumes by itself from the folder's checkpoint.

    Raises:
        Diverged: the loss is not a finite number.
        Stopped: `Setup.stop` asked for it.
        BenchError: a phase does not fit the budget.
    """
    device = training.setup.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        _resume_or_attach_(training)
        _run_stage_(training)
        if training.setup.recovery and not training.recovering:
            _turn_to_recovery_(training)
            _run_stage_(training)
    return training.model


def _run_stage_(training: Training) -> None:
    """All phases of the stage's method, and the model as the method finishes it."""
    method, at = training.stage.method, training.at
    while (phase := method.phase(training.state, at.index, training.budget)) is not None:
        _require_budget(training, phase)
        _train_phase_(training, phase)
    if at.step != training.stage.end:
        raise BenchError(f"phases must spend the whole budget, but {training.stage.end - at.step} steps were left over")
    if isinstance(method, RemovesChannels):
        training.kept = dict(method.kept(training.state))
    if isinstance(method, Labels):
        training.label = method.label(training.state)
    training.model = method.finish(training.state, training.model).eval()


def _train_phase_(training: Training, phase: Phase) -> None:
    """The steps of a phase, epoch by epoch, and what the method does at its end."""
    at, epoch_steps = training.at, training.setup.batches.steps
    clock = _open_phase_(training, phase)
    while at.phase_step < phase.steps:
        epoch, done = divmod(at.step, epoch_steps)
        if done == 0 or at.phase_step == 0:
            torch.manual_seed(address(training.setup.seed, "torch", at.step))
        _train_epoch_(training, clock, epoch, done, min(epoch_steps - done, phase.steps - at.phase_step))
        add_row(training, clock)
        save_if_due(training)
    _close_phase_(training, clock)


def _train_epoch_(training: Training, clock: Clock, epoch: int, done: int, count: int) -> None:
    """The next ``count`` steps of an epoch of which ``done`` are done; saves and stops in between where that is due."""
    at, model, recipe, stop = training.at, training.model, training.stage.recipe, training.setup.stop
    forward: Callable[[Tensor], Tensor] = torch.compile(model) if recipe.compile else model
    model.train()
    total = torch.tensor(at.loss_sum, device=training.setup.device, dtype=torch.float64)
    batches, began = iter(training.setup.batches.epoch(epoch, done)), time.perf_counter()
    for left in reversed(range(count)):
        for group in clock.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * recipe.rate(clock.phase_step, clock.phase.steps)
        total += step_(training, clock, forward, *next(batches))
        at.step, at.phase_step, at.loss_steps = clock.step, clock.phase_step, at.loss_steps + 1
        training.origin.keep(at.step, model)
        training.tell("step", clock.phase.name)
        stopping = stop()
        saving = stopping or due(training)
        if left == 0 or saving or at.step % FINITE_EVERY == 0:
            at.loss_sum = _finite(float(total), at.step)
        if left and saving:
            at.seconds += time.perf_counter() - began
            save(training)
            began = time.perf_counter()
        if left and stopping:
            raise Stopped
    if training.setup.device.type == "cuda":
        torch.cuda.synchronize(training.setup.device)  # the last backward and step, which the loss did not wait for
    at.seconds += time.perf_counter() - began


def step_(
    training: Training, clock: Clock, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor
) -> Tensor:
    """One optimiser step; returns the task's loss (a scalar on the device, not waited for)."""
    model, state, stage = training.model, training.state, training.stage
    method, recipe, optimizer = stage.method, stage.recipe, clock.optimizer
    loss = _backward_(training, clock, forward, images, labels)
    method.after_backward(state, model, clock)
    if stage.held:
        hold_(model, stage.held)
    if recipe.clip:
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip, foreach=True)
    optimizer.step()
    clock.step += 1
    clock.phase_step += 1
    method.after_step(state, model, clock)
    return loss


def _backward_(
    training: Training, clock: Clock, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor
) -> Tensor:
    """Compute the gradients of a batch, in parts where memory is short; returns the task's loss."""
    recipe, device = training.stage.recipe, training.setup.device
    parts, losses = recipe.micro_batches, list[Tensor]()
    for index, (x, y) in enumerate(zip(images.chunk(parts), labels.chunk(parts), strict=True)):
        with recipe.autocast(device):
            loss = F.cross_entropy(forward(x), y, label_smoothing=recipe.label_smoothing)
        if parts > 1:
            loss = loss * (len(y) / len(labels))
        losses.append(loss.detach())
        if index == 0:
            penalty = training.stage.method.penalty(training.state, training.model, clock)
            loss = loss if penalty is None else loss + penalty
            clock.optimizer.zero_grad(set_to_none=True)  # here, so that backward finds this memory warm
        loss.backward()  # type: ignore[no-untyped-call]
    return sum(losses[1:], losses[0])


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise Diverged(f"the loss must stay finite, but at step {step} it is {loss}; lower `lr`")
    return loss


def _require_budget(training: Training, phase: Phase) -> None:
    left = training.budget.left
    if not 0 < phase.steps <= left:
        raise BenchError(
            f"phases must fit the budget, but {phase.name!r} wants {phase.steps} steps and {left} of {training.stage.end} "
            "are left; lower the number of rounds or raise `epochs`"
        )


def _open_phase_(training: Training, phase: Phase) -> Clock:
    """Make the phase's optimiser, or restore it in a resumed run."""
    at, stage = training.at, training.stage
    optimizer = stage.method.optimizer(training.state, training.model, stage.recipe, phase)
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"] * phase.lr
    training.optimizer = optimizer
    training.resume_phase_()
    return Clock(
        training.setup.seed, training.budget, phase, at.index, at.step, at.phase_step, optimizer, training.setup.scoring
    )


def _close_phase_(training: Training, clock: Clock) -> None:
    """Let the method act at the end of a phase, and note how good the model was before and, if it changed, after that."""
    at, model, stage, phase = training.at, training.model, training.stage, clock.phase
    add_phase(training, phase)
    before = writes(model)
    stage.method.end_phase(training.state, model, clock)
    model.to(memory_format=stage.recipe.memory_format)  # tensors that were cut have lost it
    if writes(model) != before:
        at.phases[-1]["after/val/top1"] = accuracy(model, training.setup.validation(), stage.recipe)["top1"]
    training.tell("phase", phase.name)
    at.index, at.phase_step, training.optimizer = at.index + 1, 0, None
    save_if_due(training)


def _resume_or_attach_(training: Training) -> None:
    """Attach the stage's method to the model, and restore the newest checkpoint where there is one."""
    setup, model = training.setup, training.model
    checkpoint = load(training)
    if setup.folder:
        training.measured = {row["step"]: row for row in setup.folder.rows()}
    if checkpoint:
        training.at.stage = checkpoint["at"]["stage"]
    model.to(setup.device).to(memory_format=setup.recipe.memory_format)
    if setup.rewinds_to is not None and not training.recovering:
        training.origin = Origin(setup.rewinds_to, tensors(model))
        training.origin.keep(0, model)
    torch.manual_seed(address(setup.seed, "attach"))
    images, _ = next(iter(setup.batches.epoch(0)))
    training.state = training.stage.method.attach(model, images)
    model.to(setup.device).to(memory_format=setup.recipe.memory_format)
    if checkpoint:
        training.load_state_dict(checkpoint)


def _turn_to_recovery_(training: Training) -> None:
    """After the method: measure the model that it left, hold its zeros, rewind it, and begin the recovery's stage."""
    setup, model, recipe, at = training.setup, training.model, training.stage.recipe, training.at
    top1 = accuracy(model, setup.validation(), recipe)["top1"]
    norms = reestimated(model, setup.batches, setup.validation(), recipe)
    at.pruned = {"val/top1_pruned": top1, **{f"val/{key}": value for key, value in norms.items()}}
    model.to(memory_format=recipe.memory_format)
    held = zeros(model)
    rewind_(model, training.origin.values, training.kept, held)
    shown = {key.removeprefix("method/"): value for key, value in at.row.items() if key.startswith("method/")}
    training.state, training.origin, at.stage = Ended(shown, training.kept, training.label, held), Origin(), 1

"""The training loop: phases of steps, a method's hooks at fixed points, observers that look on.

    resume from the newest checkpoint, or attach the method
    while there is a phase:
        for each step: forward, penalty, backward, after_backward, clip, optimiser step, after_step
        at the end of each epoch and of the phase: evaluate, write a row, tell observers, checkpoint
        end_phase
    finish

All state of a run is in `Training`; a checkpoint holds it whole, so that a run killed anywhere ends with the same
weights, bit for bit on a CPU. The global generators (dropout inside models) are seeded at each epoch and each phase from
(seed, step), and are part of the checkpoint in between.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.errors import BenchError, Diverged
from bench.measure import accuracy, progress_point
from bench.method import Budget, Clock, Method, Phase
from bench.recipe import Recipe
from bench.seeds import address
from bench.store import RunFolder

FINITE_EVERY = 500  # steps between looks at the loss, each of which waits for the device


class Batches(Protocol):
    """Training batches with an address: epoch ``index`` is the same whenever it is asked for."""

    @property
    def steps(self) -> int:
        """Batches to an epoch."""
        ...

    def epoch(self, index: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (N, C, H, W) and labels (N,) of an epoch, without its first ``skip`` batches."""
        ...


@dataclass(frozen=True)
class Event:
    """What observers are told: kind is "step", "epoch" or "phase"; ``row`` is the newest row of the curves."""

    kind: str
    step: int
    steps: int
    phase: str
    row: Mapping[str, Any]


Observer = Callable[[Event], None]


class Stopped(Exception):
    """The run was asked to stop; a checkpoint holds all of it."""


@dataclass
class Position:
    """How far a run is; plain values that a checkpoint stores."""

    step: int = 0
    index: int = 0
    phase_step: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    seconds: float = 0.0
    row: dict[str, Any] = field(default_factory=dict)
    phases: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Training:
    """Everything that one run consists of while it goes on."""

    method: Method[Any]
    recipe: Recipe
    seed: int
    model: nn.Module
    batches: Batches
    validation: Callable[[], Any]
    device: torch.device
    steps: int
    dense_weights: int | None = None  # what the curves' weights_left is relative to; None: the model's own
    held: Mapping[str, Tensor] = field(default_factory=dict)  # masks of weights whose zeros stay, whatever the method
    folder: RunFolder | None = None
    observers: Sequence[Observer] = ()
    checkpoint_seconds: float = 30.0
    stop: Callable[[], bool] = lambda: False
    at: Position = field(default_factory=Position)
    state: Any = None
    saved: dict[str, Any] | None = None  # optimiser and generators of a checkpoint, until the phase takes them up
    measured: dict[int, dict[str, Any]] = field(default_factory=dict)  # rows of an earlier process, by step
    last_save: float = field(default_factory=time.monotonic)

    @property
    def budget(self) -> Budget:
        """The budget as it stood when the present phase began."""
        return Budget(self.steps, self.steps - self.at.step + self.at.phase_step, self.batches.steps)


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
        _attach(job)
        while (phase := job.method.phase(job.state, job.at.index, job.budget)) is not None:
            left = job.budget.left
            if not 0 < phase.steps <= left:
                raise BenchError(
                    f"phases must fit the budget, but {phase.name!r} wants {phase.steps} steps and {left} of {job.steps} "
                    "are left; lower the number of rounds or raise `epochs`"
                )
            _train_phase(job, phase)
        if job.at.step != job.steps:
            raise BenchError(f"phases must spend the whole budget, but {job.steps - job.at.step} steps were left over")
        return job.method.finish(job.state, job.model).eval()


def _attach(job: Training) -> None:
    checkpoint = job.folder.load_checkpoint() if job.folder else None
    job.measured = {row["step"]: row for row in job.folder.rows()} if job.folder else {}
    torch.manual_seed(address(job.seed, "attach"))
    images, _ = next(iter(job.batches.epoch(0)))
    job.state = job.method.attach(job.model, images)
    job.model.to(job.device).to(memory_format=job.recipe.memory_format)
    if checkpoint is None:
        return
    for name, value in checkpoint["state"].items():
        setattr(job.state, name, _to(value, job.device))
    job.method.rebuild(job.state, job.model)
    job.model.to(memory_format=job.recipe.memory_format)  # as where it was cut: momentum has it too
    job.model.load_state_dict(checkpoint["model"])
    job.at = Position(**checkpoint["at"])
    job.saved = checkpoint


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
            _set_generators(job.saved["generators"], job.device)
        if skip == 0 or at.phase_step == 0:
            torch.manual_seed(address(job.seed, "torch", at.step))
        resumed = False
        count = min(job.batches.steps - skip, phase.steps - at.phase_step)
        _segment(job, clock, epoch, skip, count)
        _evaluate(job, clock)
        _maybe_checkpoint(job, optimizer)
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
    _maybe_checkpoint(job, None)


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
        _tell(job, "step", phase)
        stopping = job.stop()
        if done == count or stopping or at.step % FINITE_EVERY == 0 or _due(job):
            at.loss_sum = float(total)
            if not math.isfinite(at.loss_sum):
                raise Diverged(f"the loss must stay finite, but at step {at.step} it is {at.loss_sum}; lower `lr`")
            if done < count and (stopping or _due(job)):
                at.seconds += time.perf_counter() - began
                _checkpoint(job, clock.optimizer)
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


def _due(job: Training) -> bool:
    return time.monotonic() - job.last_save >= job.checkpoint_seconds


def _maybe_checkpoint(job: Training, optimizer: Optimizer | None) -> None:
    if job.stop():
        _checkpoint(job, optimizer)
        raise Stopped
    if _due(job):
        _checkpoint(job, optimizer)


def _checkpoint(job: Training, optimizer: Optimizer | None) -> None:
    """Write all of the run's state; ``optimizer`` is None between two phases."""
    if job.folder is None:
        return
    job.folder.save_checkpoint(
        2 * job.at.step + (optimizer is None),  # between phases comes after the end of the phase
        {
            "at": vars(job.at),
            "model": job.model.state_dict(),
            "state": _saved_fields(job.state),
            "optimizer": optimizer.state_dict() if optimizer else None,
            "generators": _generators(job.device),
        },
    )
    job.last_save = time.monotonic()


def _saved_fields(state: Any) -> dict[str, Any]:
    if state is None:
        return {}
    return {f.name: getattr(state, f.name) for f in fields(state) if f.metadata.get("saved", True)}


def _generators(device: torch.device) -> list[Tensor]:
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *cuda]


def _set_generators(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


def _to(value: Any, device: torch.device) -> Any:
    """Tensors inside plain containers, moved to a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {k: _to(v, device) for k, v in value.items()}
    return [_to(v, device) for v in value] if isinstance(value, list) else value

"""The curves of a run: one row at the end of each epoch and each phase, written to the run's folder as it is made."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from torch import Tensor, nn

from bench.errors import Diverged
from bench.measure import accuracy, progress_point
from bench.method import Clock, EffectiveWeights, Phase
from bench.training.state import Training

OF_A_PHASE = ("step", "val/top1", "val/loss", "sparsity", "weights_left", "pq")


def add_row(training: Training, clock: Clock) -> None:
    """Add a row to the curves: the mean training loss since the last one, and the model as it is now.

    Raises:
        Diverged: the validation loss is not a finite number.
    """
    at, model, stage, setup = training.at, training.model, training.stage, training.setup
    scores = accuracy(model, setup.validation(), stage.recipe)
    if not math.isfinite(scores["loss"]):
        raise Diverged(
            f"the validation loss must stay finite, but at step {at.step} it is {scores['loss']}; lower `lr`"
        )
    prunable = stage.method.prunable(model)
    effective: Mapping[str, Tensor] = prunable
    if isinstance(stage.method, EffectiveWeights):
        effective = stage.method.effective(training.state, model)
    at.row = {
        "step": at.step,
        "epoch": at.step / setup.batches.steps,
        "phase": clock.phase.name,
        "time": time.time_ns() // 1_000_000,
        "train/loss": at.loss_sum / max(1, at.loss_steps),
        "val/top1": scores["top1"],
        "val/loss": scores["loss"],
        "lr": max(float(group["lr"]) for group in clock.optimizer.param_groups),
        "seconds": at.seconds,
        **progress_point(model, prunable, effective, setup.dense_weights),
        **{f"method/{key}": float(value) for key, value in stage.method.stats(training.state, model).items()},
    }
    at.loss_sum, at.loss_steps = 0.0, 0
    if at.step in training.measured:  # written before a kill, after the checkpoint: that row stands
        at.row = training.measured[at.step]
    elif setup.folder:
        setup.folder.append_row(at.row)
    training.tell("epoch", clock.phase.name)


def add_phase(training: Training, phase: Phase) -> None:
    """Note a phase that has ended, with the newest row of the curves."""
    at = training.at
    newest = {key: at.row[key] for key in OF_A_PHASE}
    at.phases.append({"index": at.index, "name": phase.name, "steps": phase.steps, **newest})


def writes(model: nn.Module) -> list[tuple[int, int, int]]:
    """A value that changes with every write to a parameter, and with its shape."""
    return [(id(p), p._version, p.numel()) for p in model.parameters()]

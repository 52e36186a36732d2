"""Checkpoints of a training: all of its state, so that it goes on from there to the same weights."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from bench.training.state import Position, Stopped, Training


def due(job: Training) -> bool:
    """Whether the last checkpoint is old enough for another."""
    return time.monotonic() - job.last_save >= job.checkpoint_seconds


def save_if_due(job: Training, optimizer: Optimizer | None) -> None:
    """Write a checkpoint where one is due, and stop where that is asked for (`Stopped`)."""
    if job.stop():
        save(job, optimizer)
        raise Stopped
    if due(job):
        save(job, optimizer)


def save(job: Training, optimizer: Optimizer | None) -> None:
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
            "origin": job.origin if job.recovery and job.recovery.rewind_to else {},
            "recovery": {"kept": job.kept, "label": job.label, "held": dict(job.held)} if job.recovering else None,
        },
    )
    job.last_save = time.monotonic()


def resume_(job: Training, checkpoint: dict[str, Any]) -> None:
    """Take up the place and the weights of a checkpoint; the model has its shapes already."""
    job.model.to(memory_format=job.recipe.memory_format)  # as where it was cut: momentum has it too
    job.model.load_state_dict(checkpoint["model"])
    job.at = Position(**checkpoint["at"])
    job.saved = checkpoint


def _saved_fields(state: Any) -> dict[str, Any]:
    if state is None:
        return {}
    return {f.name: getattr(state, f.name) for f in fields(state) if f.metadata.get("saved", True)}


def _generators(device: torch.device) -> list[Tensor]:
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *cuda]


def set_generators_(states: list[Tensor], device: torch.device) -> None:
    """Put the global generators where they were."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


def to(value: Any, device: torch.device) -> Any:
    """Tensors inside plain containers, moved to a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {k: to(v, device) for k, v in value.items()}
    return [to(v, device) for v in value] if isinstance(value, list) else value

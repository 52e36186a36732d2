"""Checkpoints of a training: when they are written, and how they are read, those of earlier versions too."""

from __future__ import annotations

import time
from typing import Any

from bench.training.setup import Stopped
from bench.training.state import Training


def due(training: Training) -> bool:
    """Whether the last checkpoint is old enough for another."""
    return time.monotonic() - training.last_save >= training.setup.checkpoint_seconds


def save_if_due(training: Training) -> None:
    """Write a checkpoint where one is due, or where the run is asked to stop.

    Raises:
        Stopped: the run is asked to stop.
    """
    if training.setup.stop():
        save(training)
        raise Stopped
    if due(training):
        save(training)


def save(training: Training) -> None:
    """Write all of the state to the run's folder, where it has one."""
    if training.setup.folder is None:
        return
    between_phases = training.optimizer is None  # comes after the end of the phase, at the same step
    training.setup.folder.save_checkpoint(2 * training.at.step + between_phases, training.state_dict())
    training.last_save = time.monotonic()


def load(training: Training) -> dict[str, Any] | None:
    """The newest sound checkpoint in the run's folder; None where there is none."""
    if training.setup.folder is None:
        return None
    found = training.setup.folder.load_checkpoint()
    if found is None:
        return None
    return upgraded(found)


def upgraded(found: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint in the present layout.

    In the first layout the key "recovery" held what the method left, beside the recovery's state, and None while the method
    acted; it said which stage was under way. "origin" and "recovery" are missing in the oldest.
    """
    if "stage" in found["at"]:
        return found
    upgrade = {key: value for key, value in found.items() if key != "recovery"}
    upgrade["at"] = {**found["at"], "stage": 0}
    if (left := found.get("recovery")) is not None:
        upgrade["at"]["stage"] = 1
        upgrade["state"] = {**found["state"], **left}
    return upgrade

"""The data of a run, from its home: whoever opens its test split is noted in the home's journal."""

from __future__ import annotations

import os

import torch

from bench import environment, tasks
from bench.records.home import Home
from bench.records.openings import Opening, note
from bench.run import Run


def load(
    run: Run, home: Home, device: torch.device, *, whose: str, progress: tasks.Progress | None = None
) -> tasks.Task:
    """The task of a run on a device (see `bench.tasks.load`); ``whose``: id of the run whose model is evaluated, or ""."""
    found = tasks.load(
        run.task, data=home.data, cache=home.cache, device=device, workers=run.workers, progress=progress
    )

    def journal(time: float) -> None:
        command = environment.command()
        note(home.path, Opening(run.task, found.digest, time, os.getpid(), whose, command))

    found.journal = journal
    return found

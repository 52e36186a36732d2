"""What a run would cost, from a few real steps."""

from __future__ import annotations

import contextlib
import itertools
import time

import torch

from bench import execute, machine, tasks
from bench.loop import Stopped, train
from bench.place import Place
from bench.spec import Run

STEPS = 8


def step_seconds(run: Run, place: Place) -> tuple[int, float]:
    """Steps that a run takes, and the median seconds of one, from `STEPS` steps after two to warm up."""
    device = machine.resolve_device(run.device)
    _, model, size = execute.prepare(run, place)
    task = tasks.load(run.task, data=place.data, cache=place.cache, device=device, workers=run.workers)
    job = execute.training(run, model, task, size, device)
    steps, times = job.steps, list[float]()

    def note(*_: object) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter())

    job.steps, job.observers = min(steps, STEPS + 2), [note]
    job.stop = lambda: len(times) >= job.steps
    with contextlib.suppress(Stopped):
        train(job)
    gaps = sorted(b - a for a, b in itertools.pairwise(times[1:])) or [0.0]
    return steps, gaps[len(gaps) // 2]

"""Measured times of single forward passes."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from bench.measure.quality import evaluating
from bench.recipe import Recipe
from bench.seeds import generator

WARM_UP, FEWEST, MOST = 3, 10, 100


def latency(
    model: nn.Module, shape: tuple[int, ...], recipe: Recipe, device: torch.device, *, seconds: float = 0.3
) -> dict[str, float]:
    """Times single forward passes of one batch of ``shape`` (N, C, H, W) in the recipe's precision, with a wait after each.

    The model must be on ``device``; it runs eagerly. After 3 warm-up calls, at least 10 and at most 100 calls are timed;
    between these limits, timing stops after ``seconds``.

    Returns:
        "median_ms", "p95_ms", and "n", the number of timed calls.
    """
    images = torch.rand(shape, generator=generator("latency")).to(device, memory_format=recipe.memory_format)
    clock = stopwatch(device)
    times: list[float] = []
    with evaluating(model), torch.inference_mode(), recipe.autocast(device):
        for _ in range(WARM_UP):
            clock(model, images)
        began = time.perf_counter()
        while len(times) < FEWEST or (len(times) < MOST and time.perf_counter() - began < seconds):
            times.append(clock(model, images))
    median, p95 = np.percentile(times, (50, 95))
    return {"median_ms": float(median), "p95_ms": float(p95), "n": len(times)}


def stopwatch(device: torch.device) -> Callable[[Callable[[Tensor], Tensor], Tensor], float]:
    """Returns a function that times one call on a tensor in milliseconds: by events on a GPU, by the clock on a CPU."""
    if device.type == "cuda":
        return _on_gpu
    return _on_cpu


def _on_cpu(call: Callable[[Tensor], Tensor], images: Tensor) -> float:
    began = time.perf_counter()
    call(images)
    return 1e3 * (time.perf_counter() - began)


def _on_gpu(call: Callable[[Tensor], Tensor], images: Tensor) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    stream = torch.cuda.current_stream(images.device)
    start.record(stream)
    call(images)
    end.record(stream)
    stream.synchronize()
    return float(start.elapsed_time(end))

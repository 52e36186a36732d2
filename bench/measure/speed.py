"""How much faster a pruned model runs than the dense one: measured in turns (`bench.measure.turns`), never derived.

A setting is a batch, a precision and a mode. "bf16" means weights and images in bf16, as a model is deployed, without
autocast. "compiled" is torch.compile for exactly this batch.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench import environment
from bench.errors import BenchError, one_of
from bench.measure.timing import WARM_UP, stopwatch
from bench.measure.turns import race, summary
from bench.models.sizes import told
from bench.seeds import generator

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
MODES = ("eager", "compiled")
LARGEST = 4096  # images in a batch
LONGEST = 500.0  # ms of one pass, in the search for the best batch
CLOSE = 0.98  # of the highest throughput: the smallest batch that reaches it is taken


@dataclass(frozen=True)
class Setting:
    """How both models are run."""

    batch: int
    precision: str = "fp32"
    mode: str = "eager"

    def __post_init__(self) -> None:
        """Only known precisions and modes."""
        if self.precision not in PRECISIONS:
            raise one_of("precision", self.precision, PRECISIONS)
        if self.mode not in MODES:
            raise one_of("mode", self.mode, MODES)
        if self.batch < 1:
            raise BenchError(f"`batch >= 1` must hold, but got {self.batch}")


@dataclass(frozen=True)
class Bed:
    """Where and on what both models are timed: images of ``shape`` (C, H, W)."""

    shape: tuple[int, int, int]
    device: torch.device
    memory_format: torch.memory_format = torch.channels_last

    def images(self, batch: int, precision: str) -> Tensor:
        """A batch (N, C, H, W), always the same."""
        made = torch.rand((batch, *self.shape), generator=generator("speed", batch))
        return made.to(self.device, PRECISIONS[precision]).contiguous(memory_format=self.memory_format)

    def ready(self, model: nn.Module, precision: str) -> nn.Module:
        """A copy of a model in eval mode, with its weights in that precision."""
        made = copy.deepcopy(model).to(self.device, PRECISIONS[precision]).eval()
        return made.to(memory_format=self.memory_format)

    def refuse(self, precision: str) -> None:
        """No bf16 on a processor that only emulates it: that would be no measurement of the model."""
        if precision == "bf16" and self.device.type == "cpu" and not environment.fast_bf16():
            raise BenchError("bf16 is timed where the hardware computes in it, but this CPU has no bf16 arithmetic")


def compare(dense: nn.Module, pruned: nn.Module, bed: Bed, setting: Setting, *, seconds: float) -> list[dict[str, Any]]:
    """Time both models in turns for about ``seconds`` after a warm-up.

    Returns:
        Two rows, of the "model" "dense" and "pruned", with the keys of `bench.measure.turns.summary`, "images_per_s",
        the setting's batch, precision and mode, "threads" (of a CPU), "load" (the machine's average over the last
        minute, our own work included), "busy" (the share of the processors that others used just before) and "when"
        (seconds since 1970). The ratio, dense over pruned, is in the second row.

    Raises:
        BenchError: this setting cannot be timed here, with the reason.
    """
    bed.refuse(setting.precision)
    facts = {**vars(setting), "threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
    facts |= {"busy": environment.busy(), "when": time.time()}
    with torch.inference_mode(), _told(setting):
        images = bed.images(setting.batch, setting.precision)
        made = [bed.ready(model, setting.precision) for model in (dense, pruned)]
        calls = [_compiled(model, images) if setting.mode == "compiled" else model for model in made]
        first, second, both = summary(race(calls[0], calls[1], images, seconds=seconds))
    rows = [{"model": "dense", **facts, **first}, {"model": "pruned", **facts, **second, **both}]
    return [{**row, "images_per_s": 1e3 * setting.batch / row["median_ms"]} for row in rows]


def _compiled(model: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    """The model compiled for these images; nothing of former settings is used again."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it tells of a missing CUDA each time
    torch.compiler.reset()
    made: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False)
    try:
        with warnings.catch_warnings(action="ignore"):
            for _ in range(WARM_UP):
                made(images)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a missing compiler, or an operation that it does not know: each raises its own
        raise BenchError(f"torch.compile must be able to compile the model, but got {told(error)}") from None
    return made


@contextlib.contextmanager
def _told(setting: Setting) -> Iterator[None]:
    """Tells what torch raises, for want of memory or of an operation, in one line."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error):
            raise BenchError(f"a batch must fit in memory, but {setting.batch} images do not; give fewer") from None
        raise BenchError(f"a model must run in {setting.precision}, but got {told(error)}") from None


def best_batch(model: nn.Module, bed: Bed, precision: str) -> tuple[int, list[dict[str, float]]]:
    """The batch at which a model computes the most images per second, eagerly: the smallest within 2 % of that.

    Powers of two are tried, up to 4096 images, until a pass takes longer than half a second, memory runs out, or three
    batches in turn are no faster than a smaller one. Of each, the fastest of six passes counts.

    Returns:
        The batch; and what was tried, with "batch" and "images_per_s".

    Raises:
        BenchError: not even one image can be processed in this precision here.
    """
    bed.refuse(precision)
    made, timed, tried = bed.ready(model, precision), stopwatch(bed.device), list[dict[str, float]]()
    batch = 1
    with torch.inference_mode():
        while batch <= LARGEST:
            try:
                with _told(Setting(batch, precision)):
                    images = bed.images(batch, precision)
                    took = min(timed(made, images) for _ in range(2 * WARM_UP))  # what disturbs only adds
            except BenchError:
                if not tried:
                    raise
                break
            tried.append({"batch": batch, "images_per_s": 1e3 * batch / took})
            if took > LONGEST or _past(tried):
                break
            batch *= 2
    return pick(tried), tried


def _past(tried: Sequence[dict[str, float]]) -> bool:
    rates = [row["images_per_s"] for row in tried]
    return len(rates) > 3 and max(rates[-3:]) <= max(rates[:-3])


def pick(tried: Sequence[dict[str, float]]) -> int:
    """The smallest batch whose throughput is within 2 % of the highest."""
    most = max(row["images_per_s"] for row in tried)
    return int(min(row["batch"] for row in tried if row["images_per_s"] >= CLOSE * most))

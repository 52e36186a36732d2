"""Speed of a pruned model beside the dense one: both are timed in turns (`bench.measure.turns`).

A setting is a batch, a precision and a mode. "bf16" means weights and images in bf16, as in deployment, without autocast;
"compiled" means torch.compile for exactly this batch.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench import environment
from bench.errors import BenchError, one_of
from bench.measure.timing import WARM_UP, stopwatch
from bench.measure.turns import Timing, race, summary
from bench.models.sizes import told
from bench.records.speed_record import DENSE, PRUNED, SpeedRow, Throughput
from bench.seeds import generator

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
MODES = ("eager", "compiled")
LARGEST = 4096  # images in a batch
LONGEST = 500.0  # ms of one pass, in the search for the best batch
CLOSE = 0.98  # of the highest throughput: the smallest batch that reaches it is the best


@dataclass(frozen=True)
class Setting:
    """The batch, precision and mode in which both models run."""

    batch: int
    precision: str = "fp32"
    mode: str = "eager"

    def __post_init__(self) -> None:
        """Checks the fields."""
        if self.precision not in PRECISIONS:
            raise one_of("precision", self.precision, PRECISIONS)
        if self.mode not in MODES:
            raise one_of("mode", self.mode, MODES)
        if self.batch < 1:
            raise BenchError(f"`batch >= 1` must hold, but got {self.batch}")


@dataclass(frozen=True)
class Bed:
    """The device and the images, of ``shape`` (C, H, W), on which both models are timed."""

    shape: tuple[int, int, int]
    device: torch.device
    memory_format: torch.memory_format = torch.channels_last

    def images(self, batch: int, precision: str) -> Tensor:
        """Returns a batch (N, C, H, W), the same in each call."""
        made = torch.rand((batch, *self.shape), generator=generator("speed", batch))
        return made.to(self.device, PRECISIONS[precision]).contiguous(memory_format=self.memory_format)

    def ready(self, model: nn.Module, precision: str) -> nn.Module:
        """Returns a copy of a model in eval mode with its weights in a precision."""
        made = copy.deepcopy(model).to(self.device, PRECISIONS[precision]).eval()
        return made.to(memory_format=self.memory_format)

    def refuse(self, precision: str) -> None:
        """Raises a `BenchError` for bf16 on a processor that only emulates it."""
        if precision == "bf16" and self.device.type == "cpu" and not environment.fast_bf16():
            raise BenchError("bf16 is timed where the hardware computes in it, but this CPU has no bf16 arithmetic")


def compare(
    dense: nn.Module, pruned: nn.Module, bed: Bed, setting: Setting, *, seconds: float
) -> tuple[SpeedRow, SpeedRow]:
    """Times both models in turns for about ``seconds`` after a warm-up.

    Returns:
        The rows of the dense and of the pruned model, without the names of the device and of the memory format. The ratio,
        dense over pruned, is in the second row.

    Raises:
        BenchError: this setting cannot be timed here, with the reason.
    """
    bed.refuse(setting.precision)
    load, busy, when = os.getloadavg()[0], environment.busy(), time.time()
    with torch.inference_mode(), _one_line_errors(setting):
        images = bed.images(setting.batch, setting.precision)
        first, second = (
            _callable(bed.ready(model, setting.precision), setting.mode, images) for model in (dense, pruned)
        )
        dense_times, pruned_times, both = summary(race(first, second, images, seconds=seconds))

    def row(model: str, times: Timing) -> SpeedRow:
        return SpeedRow(
            model=model,
            **vars(setting),
            wanted=str(setting.batch),
            device="",
            threads=torch.get_num_threads(),
            load=load,
            busy=busy,
            when=when,
            **vars(times),
            images_per_s=1e3 * setting.batch / times.median_ms,
        )

    return row(DENSE, dense_times), replace(row(PRUNED, pruned_times), **vars(both))


def _callable(model: nn.Module, mode: str, images: Tensor) -> Callable[[Tensor], Tensor]:
    if mode == "compiled":
        return _compiled(model, images)
    return model


def _compiled(model: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    """Compiles the model for these images; code compiled for other settings is dropped first."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it logs a missing CUDA each time
    torch.compiler.reset()
    made: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False)
    try:
        with warnings.catch_warnings(action="ignore"):
            for _ in range(WARM_UP):
                made(images)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a missing compiler and an unknown operation raise different errors
        raise BenchError(f"torch.compile must be able to compile the model, but got {told(error)}") from None
    return made


@contextlib.contextmanager
def _one_line_errors(setting: Setting) -> Iterator[None]:
    """Turns torch's errors, of missing memory or of an unknown operation, into a `BenchError` of one line."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error):
            raise BenchError(f"a batch must fit in memory, but {setting.batch} images do not; give fewer") from None
        raise BenchError(f"a model must run in {setting.precision}, but got {told(error)}") from None


def best_batch(model: nn.Module, bed: Bed, precision: str) -> tuple[int, list[Throughput]]:
    """Finds the smallest batch whose throughput (images per second, eager) is within 2 % of the highest.

    Tries powers of two up to 4096 images, until a pass takes longer than half a second, memory runs out, or three batches in
    a row are no faster than a smaller one. The fastest of six passes counts.

    Returns:
        The batch, and the throughput of each batch that was tried.

    Raises:
        BenchError: not even one image can be processed in this precision here.
    """
    bed.refuse(precision)
    made, timed, tried = bed.ready(model, precision), stopwatch(bed.device), list[Throughput]()
    batch = 1
    with torch.inference_mode():
        while batch <= LARGEST:
            try:
                with _one_line_errors(Setting(batch, precision)):
                    images = bed.images(batch, precision)
                    took = min(timed(made, images) for _ in range(2 * WARM_UP))  # other work can only add time
            except BenchError:
                if not tried:
                    raise
                break
            tried.append(Throughput(batch, 1e3 * batch / took))
            if took > LONGEST or _stagnates(tried):
                break
            batch *= 2
    return pick(tried), tried


def _stagnates(tried: Sequence[Throughput]) -> bool:
    """Returns whether the last three batches were no faster than a smaller one."""
    rates = [row.images_per_s for row in tried]
    return len(rates) > 3 and max(rates[-3:]) <= max(rates[:-3])


def pick(tried: Sequence[Throughput]) -> int:
    """Returns the smallest batch whose throughput is within 2 % of the highest."""
    most = max(row.images_per_s for row in tried)
    return min(row.batch for row in tried if row.images_per_s >= CLOSE * most)

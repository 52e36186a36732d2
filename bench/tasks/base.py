"""What every task offers: images that are ready to train on, in three fixed splits, the test split behind a gate."""

from __future__ import annotations

import abc
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from bench.errors import one_of

Progress = Callable[[int, int], None]  # (images done, images in all)
Gated = Literal["validation", "test"]


@dataclass(frozen=True)
class Info:
    """What can be known of a task without its images. ``image_size`` is the native height and width in pixels."""

    name: str
    classes: int
    channels: int
    image_size: int
    about: str


class Batches(abc.ABC):
    """Training batches of one run. An epoch is a pure function of (seed, index): asked again, it is the same again."""

    steps: int
    """Batches in an epoch: whole ones only, and at least one (a batch larger than the set is the whole set)."""

    @abc.abstractmethod
    def epoch(self, index: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of epoch ``index`` from batch ``skip`` on; skipped ones cost nothing.

        Images are float32 (N, C, S, S), normalised, on the device, in the memory format; labels are int64 (N,).
        """


class Task(abc.ABC):
    """A data set in three splits that depend on the task alone, never on the run.

    ``counts`` has the number of images by split; ``digest`` names the data in the provenance; ``opened`` says of each
    opening of the test split when it was (time, in seconds since 1970) and by which process (its id).
    """

    def __init__(self, info: Info, counts: dict[str, int], digest: str) -> None:
        self.info, self.counts, self.digest = info, counts, digest
        self.opened: list[dict[str, float]] = []

    @property
    def openings(self) -> int:
        """How often the test split was opened."""
        return len(self.opened)

    @abc.abstractmethod
    def train(self, *, seed: int, batch: int, augment: bool, image_size: int, channels_last: bool) -> Batches:
        """The training images in batches of ``batch``, ``image_size`` pixels high and wide."""

    def evaluation(
        self, split: Gated, *, batch: int, image_size: int, channels_last: bool
    ) -> Iterable[tuple[Tensor, Tensor]]:
        """All images of a split in a fixed order, the last batch as small as it must be; iterate as often as you like.

        This is the gate of the test split: asking for "test" counts as one opening. Batches are as in `Batches.epoch`.
        """
        if split not in ("validation", "test"):
            raise one_of("split to evaluate on", split, ("validation", "test"))
        if split == "test":
            self.opened.append({"time": time.time(), "process": os.getpid()})
        return self._evaluation(split, batch, image_size, channels_last)

    @abc.abstractmethod
    def _evaluation(
        self, split: Gated, batch: int, image_size: int, channels_last: bool
    ) -> Iterable[tuple[Tensor, Tensor]]: ...

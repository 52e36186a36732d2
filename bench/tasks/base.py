"""The interface of a task: batches to train on and three fixed splits. Each opening of the test split is counted."""

from __future__ import annotations

import abc
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from bench.errors import one_of

Progress = Callable[[int, int], None]  # (images done, images in all)
Gated = Literal["validation", "test"]


@dataclass(frozen=True)
class Info:
    """The facts about a task that are known without its images; ``image_size`` is the native height and width in pixels.

    ``names`` are those of the classes, in the order of their numbers; empty where they are not known.
    """

    name: str
    classes: int
    channels: int
    image_size: int
    about: str
    names: tuple[str, ...] = ()


class Batches(abc.ABC):
    """The training batches of one run. An epoch is a pure function of (seed, index)."""

    steps: int
    """The number of batches in an epoch; all have the full size, and there is at least one (at most as large as the set)."""

    @abc.abstractmethod
    def epoch(self, index: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of epoch ``index`` from batch ``skip`` on; skipped batches cost nothing.

        Images are float32 (N, C, S, S), normalised, on the device, in the memory format; labels are int64 (N,).
        """


class Task(abc.ABC):
    """A data set in three splits, which depend on the task only, never on the run.

    ``counts`` is the number of images by split, ``present`` the number of classes that have any; ``digest`` identifies the data
    in a run's provenance; ``notes`` say what was not read, and what a user should know of the splits; ``opened`` has the time
    (seconds since 1970) and the process id of each opening of the test split, and ``journal`` is called with each time.
    """

    def __init__(
        self,
        info: Info,
        counts: dict[str, int],
        digest: str,
        *,
        present: Mapping[str, int] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.info, self.counts, self.digest, self.notes = info, counts, digest, notes
        self.present = dict.fromkeys(counts, info.classes) if present is None else present
        self.opened: list[dict[str, float]] = []
        self.journal: Callable[[float], None] = _nowhere

    @property
    def openings(self) -> int:
        """The number of openings of the test split."""
        return len(self.opened)

    @property
    def found(self) -> str:
        """One line: how many images of how many classes there are in each split, and what was not read."""
        parts = [f"{split} {n:,} images of {self.present[split]:,} classes" for split, n in self.counts.items()]
        return "; ".join([f"{self.info.name}: {', '.join(parts)}", *self.notes])

    @abc.abstractmethod
    def train(self, *, seed: int, batch: int, augment: bool, image_size: int, channels_last: bool) -> Batches:
        """The training images in batches of ``batch``, ``image_size`` pixels high and wide."""

    def evaluation(
        self, split: Gated, *, batch: int, image_size: int, channels_last: bool
    ) -> Iterable[tuple[Tensor, Tensor]]:
        """All images of a split in a fixed order, in batches as in `Batches.epoch`; the last batch may be smaller.

        The result can be iterated several times. A call for "test" counts as one opening of the test split.
        """
        if split not in ("validation", "test"):
            raise one_of("split to evaluate on", split, ("validation", "test"))
        if split == "test":
            now = time.time()
            self.journal(now)  # first, so that no opening is unknown
            self.opened.append({"time": now, "process": os.getpid()})
        return self._evaluation(split, batch, image_size, channels_last)

    @abc.abstractmethod
    def _evaluation(
        self, split: Gated, batch: int, image_size: int, channels_last: bool
    ) -> Iterable[tuple[Tensor, Tensor]]: ...


def _nowhere(time: float) -> None:
    """The journal of a task that no home has loaded."""

"""A named task: one value that owns the facts of an image set, the look of its images, and where they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.tasks.arrays import ArrayTask, Look
from bench.tasks.base import Info, Progress, Task
from bench.tasks.cache import Split, Store
from bench.tasks.sources import Origin, Source
from bench.tasks.split import canonical, stratified


@dataclass(frozen=True)
class ImageSet:
    """A set of images that fits in memory; `bench.tasks.sets` has one for each named task."""

    info: Info
    look: Look
    origin: Origin

    def load(self, *, data: Path, cache: Path, device: torch.device, progress: Progress | None = None) -> Task:
        """The task with its images on the device; decodes them into ``cache`` where they are new or have changed.

        Raises:
            MissingData: the images are not below ``data``, and cannot be fetched.
            BenchError: an image or a folder that does not fit the set.
        """
        name, source = self.info.name, self.origin.find(self.info, data)
        folder = cache / f"{name}-{hashlib.sha256(source.place.encode()).hexdigest()[:8]}"
        store = Store(folder, source.stamp, lambda: _decode(name, source, progress))
        info = replace(self.info, names=source.names) if source.names else self.info
        return ArrayTask(info, self.look, store, device, source.notes)


def _decode(name: str, source: Source, progress: Progress | None) -> dict[str, Split]:
    read = source.read(progress or (lambda done, total: None))
    splits = {part: split.at(canonical(split.images, split.labels)) for part, split in read.items()}
    return three_splits(name, splits)


def three_splits(name: str, splits: Mapping[str, Split]) -> dict[str, Split]:
    """Train, validation and test, stratified by class.

    ``splits`` are "train" and "test", of which a tenth of train becomes validation; or "all", which is cut 60/20/20.
    ``name`` is the task's: the cut depends on it.
    """
    if "all" in splits:
        test, validation, train = _cut(name, splits["all"], 0.2, 0.2)
    else:
        test = splits["test"]
        validation, train = _cut(name, splits["train"], 0.1)
    return {"train": train, "validation": validation, "test": test}


def _cut(name: str, split: Split, *shares: float) -> list[Split]:
    return [split.at(part) for part in stratified(split.labels, shares, name)]

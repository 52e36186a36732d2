"""The tasks by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.errors import one_of
from bench.tasks.arrays import IMAGENET_MEAN, IMAGENET_STD, ArrayTask, Look
from bench.tasks.base import Info, Progress, Task
from bench.tasks.cache import Split, Store
from bench.tasks.folder import PREFIX, FolderTask, folder_info
from bench.tasks.sources import Archive, Source, find
from bench.tasks.split import canonical, stratified

# Colour sets use ImageNet's statistics, as public CIFAR ResNets were trained with; grey sets use their own.
_COLOUR = Look(IMAGENET_MEAN, IMAGENET_STD, padding=4, reflect=True, mirror=True)


@dataclass(frozen=True)
class _Set:
    info: Info
    look: Look
    archive: Archive | None = None


_SETS = {
    entry.info.name: entry
    for entry in (
        _Set(
            Info("digits", 10, 1, 32, "1,797 handwritten digits of scikit-learn, enlarged to 32x32; no download"),
            Look((0.306,), (0.324,), padding=2, reflect=False, mirror=False),
        ),
        _Set(
            Info("mnist", 10, 1, 28, "MNIST: 70,000 handwritten digits, 28x28 grey"),
            Look((0.1307,), (0.3081,), padding=2, reflect=False, mirror=False),
            Archive("MNIST", "MNIST/raw"),
        ),
        _Set(
            Info("fashion_mnist", 10, 1, 28, "Fashion-MNIST: 70,000 pieces of clothing, 28x28 grey"),
            Look((0.286,), (0.353,), padding=2, reflect=False, mirror=True),
            Archive("FashionMNIST", "FashionMNIST/raw"),
        ),
        _Set(
            Info("cifar10", 10, 3, 32, "CIFAR-10: 60,000 photographs of 10 classes, 32x32 colour"),
            _COLOUR,
            Archive("CIFAR10", "cifar-10-batches-py"),
        ),
        _Set(
            Info("cifar100", 100, 3, 32, "CIFAR-100: 60,000 photographs of 100 classes, 32x32 colour"),
            _COLOUR,
            Archive("CIFAR100", "cifar-100-python"),
        ),
    )
}


def names() -> list[str]:
    """The tasks with a name of their own, sorted; there is also ``folder:PATH``."""
    return sorted(_SETS)


def info(name: str, data: Path) -> Info:
    """What a task holds, without decoding an image.

    Raises:
        BenchError: for an unknown name, with the nearest valid one.
        MissingData: where ``folder:PATH`` is not there. Other sets are looked for below ``data`` when they are loaded.
    """
    if name.startswith(PREFIX):
        return folder_info(name)
    if name not in _SETS:
        raise one_of("task", name, [*_SETS, f"{PREFIX}PATH"])
    return _SETS[name].info


def load(
    name: str, *, data: Path, cache: Path, device: torch.device, workers: int = 0, progress: Progress | None = None
) -> Task:
    """A task with its training and validation images ready.

    Args:
        name: one of `names`, or ``folder:PATH``.
        data: where downloaded sets and image folders are (``$BENCH_DATA``).
        cache: where decoded images are kept.
        device: where the batches are wanted.
        workers: processes that decode images of ``folder:PATH``.
        progress: called with (images decoded, images in all) while a small set is decoded for the first time.

    Raises:
        BenchError: for an unknown name, or an image that cannot be used.
        MissingData: for a set that is not there; says how to get it.
    """
    found = info(name, data)
    if name.startswith(PREFIX):
        return FolderTask(name, device, workers)
    entry = _SETS[name]
    source = find(found, entry.archive, data)
    folder = cache / f"{name}-{hashlib.sha256(source.place.encode()).hexdigest()[:8]}"
    return ArrayTask(found, entry.look, Store(folder, source.stamp, lambda: _decode(name, source, progress)), device)


def _decode(name: str, source: Source, progress: Progress | None) -> dict[str, Split]:
    read = source.read(progress or (lambda done, total: None))
    splits = {part: split.at(canonical(split.images, split.labels)) for part, split in read.items()}
    return three_splits(name, splits)


def three_splits(name: str, splits: Mapping[str, Split]) -> dict[str, Split]:
    """Train, validation and test: a tenth of train is held out for validation, and a set that comes in one piece is cut
    60/20/20; both stratified by class."""

    def cut(split: Split, *shares: float) -> list[Split]:
        parts: list[Tensor] = stratified(split.labels, shares, name)
        return [split.at(part) for part in parts]

    if "all" in splits:
        test, validation, train = cut(splits["all"], 0.2, 0.2)
    else:
        test = splits["test"]
        validation, train = cut(splits["train"], 0.1)
    return {"train": train, "validation": validation, "test": test}

"""Tasks too large for memory: image folders, decoded and augmented by worker processes with timm's transforms."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from timm.data import create_transform
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.errors import BenchError, Corrupt, MissingData
from bench.seeds import address, generator
from bench.tasks.arrays import Normalise
from bench.tasks.base import Batches, Gated, Info, Task
from bench.tasks.images import class_names, read_image, scan
from bench.tasks.split import stratified

PREFIX = "folder:"
IMAGE_SIZE = 224
VALIDATION = 0.1
CROP = 0.875  # of the shorter side, in evaluation
INTERPOLATION = "bicubic"

Sample = tuple[np.ndarray, int]  # uint8 (3, S, S), label
Place = tuple[int, int]  # epoch, position in the list of images


def folder_of(name: str) -> Path:
    """The folder of a task named ``folder:PATH``."""
    return Path(name.removeprefix(PREFIX)).expanduser()


def folder_info(name: str) -> Info:
    """What ``folder:PATH`` holds; reads no image."""
    classes = len(class_names(folder_of(name) / "train"))
    return Info(name, classes, 3, IMAGE_SIZE, "image folder with {train,test} or {train,val}, timm's transforms")


class FolderTask(Task):
    """``PATH/{train,test}/<class>/<image>``, or ``{train,val}``, where val serves as the test split.

    A tenth of the training images, stratified, is the validation split. The digest is of names and sizes, since reading
    a large set takes longer than a short run.
    """

    def __init__(self, name: str, device: torch.device, workers: int) -> None:
        folder = folder_of(name)
        train = scan(folder / "train")
        held_out = next((folder / part for part in ("test", "val") if (folder / part).is_dir()), None)
        if held_out is None:
            raise MissingData(f"{folder.resolve()} has neither test nor val beside train; add one of them")
        test = scan(held_out, train.classes)
        validation, rest = stratified(torch.tensor(train.labels), [VALIDATION], "folder")
        self._files = {
            "train": [(train.paths[i], train.labels[i]) for i in rest.tolist()],
            "validation": [(train.paths[i], train.labels[i]) for i in validation.tolist()],
            "test": list(zip(test.paths, test.labels, strict=True)),
        }
        self._device, self._workers = device, workers
        counts = {split: len(files) for split, files in self._files.items()}
        super().__init__(folder_info(name), counts, hashlib.sha256((train.digest + test.digest).encode()).hexdigest())

    def train(self, *, seed: int, batch: int, augment: bool, image_size: int, channels_last: bool) -> Batches:
        """See `Task.train`."""
        images = _Images(self._files["train"], _transform(image_size, augment), seed)
        return FolderBatches(images, self._loading(image_size, channels_last), seed, batch, self._workers)

    def _evaluation(self, split: Gated, batch: int, image_size: int, channels_last: bool) -> Iterable[tuple[Tensor, Tensor]]:
        images = _Images(self._files[split], _transform(image_size, False), 0)
        plan = _Plan(_cut([(0, i) for i in range(len(images))], batch))
        loader = _loader(images, plan, self._workers, generator("loader"), self._device, persistent=False)
        return _InOrder(loader, self._loading(image_size, channels_last))

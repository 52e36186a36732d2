"""Tasks too large for memory: image folders, decoded and augmented with timm's transforms by data-loader processes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.errors import Corrupt
from bench.seeds import address, generator
from bench.tasks.arrays import IMAGENET_MEAN, IMAGENET_STD, Normalise
from bench.tasks.base import Batches, Gated, Info, Progress, Task
from bench.tasks.cache import SPLITS
from bench.tasks.content import content
from bench.tasks.decode import read_image
from bench.tasks.images import Listing, class_names, not_read, scan
from bench.tasks.layout import Layout, folder_of, layout, require_two
from bench.tasks.split import stratified

IMAGE_SIZE = 224
VALIDATION = 0.1
CROP = 0.875  # of the shorter side, in evaluation
INTERPOLATION = "bicubic"

Sample = tuple[np.ndarray, int]  # uint8 (3, S, S), label
Place = tuple[int, int]  # epoch, position in the list of images


def folder_info(name: str) -> Info:
    """The facts about ``folder:PATH``; reads no image."""
    names = class_names(layout(name).train)
    return Info(name, len(names), 3, IMAGE_SIZE, "image folder with {train,val,test} or {train,test}", names)


def listings(name: str) -> dict[str, Listing]:
    """The images of each folder of ``folder:PATH`` by the split that it is: "train", "test", and "validation" where there is
    one.

    Raises:
        BenchError: a folder that is not as it should be.
    """
    folders = layout(name)
    train = scan(folders.train)
    found = {"train": train, "test": scan(folders.test, train.classes)}
    if folders.validation is not None:
        found["validation"] = scan(folders.validation, train.classes)
    else:
        require_two(train, folders.train)
    return found


class FolderTask(Task):
    """``PATH/{train,val,test}/<class>/<image>``; see `bench.tasks.layout`.

    Without val a tenth of the training images, stratified, is the validation split. The digest is of all names and images
    (`bench.tasks.content`).
    """

    def __init__(
        self, name: str, device: torch.device, workers: int, cache: Path, progress: Progress | None = None
    ) -> None:
        info, parts = folder_info(name), listings(name)
        files = {part: list(zip(found.paths, found.labels, strict=True)) for part, found in parts.items()}
        if "validation" not in files:
            validation, rest = stratified(torch.tensor(parts["train"].labels), [VALIDATION], "folder")
            files["validation"] = [files["train"][i] for i in validation.tolist()]
            files["train"] = [files["train"][i] for i in rest.tolist()]
        self._files = {split: files[split] for split in SPLITS}
        self._device, self._workers = device, workers
        counts = {split: len(found) for split, found in self._files.items()}
        present = {split: len({label for _, label in found}) for split, found in self._files.items()}
        digest = content(folder_of(name), parts, cache, progress).digest
        notes = (*_unused(folder_of(name), layout(name)), *not_read(parts.values()))
        super().__init__(info, counts, digest, present=present, notes=notes)

    def train(self, *, seed: int, batch: int, augment: bool, image_size: int, channels_last: bool) -> Batches:
        """See `Task.train`."""
        images = _Images(self._files["train"], _transform(image_size, augment), seed)
        return FolderBatches(images, _Finish(image_size, self._device, channels_last), batch, self._workers)

    def _evaluation(
        self, split: Gated, batch: int, image_size: int, channels_last: bool
    ) -> Iterable[tuple[Tensor, Tensor]]:
        images = _Images(self._files[split], _transform(image_size, augment=False), seed=0)
        plan = _Plan(_cut([(0, i) for i in range(len(images))], batch))
        return _InOrder(images, plan, _Finish(image_size, self._device, channels_last), self._workers)


def _unused(folder: Path, used: Layout) -> tuple[str, ...]:
    """A note on the test folder where another is the test split."""
    if used.test.name != "test" and (folder / "test").is_dir():
        return (f"{used.test.name} is the test split, and the images without classes in test are not used",)
    return ()


class FolderBatches(Batches):
    """Shuffled batches, decoded and augmented by data-loader processes that live as long as this object."""

    def __init__(self, images: _Images, finish: _Finish, batch: int, workers: int) -> None:
        self._images, self._finish = images, finish
        self._batch = min(batch, len(images))
        self.steps = len(images) // self._batch
        self._plan = _Plan()
        self._loader = _loader(images, self._plan, finish.device, workers, persistent=workers > 0)

    def epoch(self, index: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches.epoch`."""
        order = torch.randperm(len(self._images), generator=generator(self._images.seed, "order", index))
        self._plan.batches = _cut([(index, i) for i in order.tolist()], self._batch)[skip : self.steps]
        return map(self._finish, self._loader)


@dataclass(frozen=True)
class _InOrder:
    images: _Images
    plan: _Plan
    finish: _Finish
    workers: int

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return map(self.finish, _loader(self.images, self.plan, self.finish.device, self.workers, persistent=False))


class _Finish:
    """Moves a loaded batch to the device and normalises it; raises the error of the process that loaded it."""

    def __init__(self, size: int, device: torch.device, channels_last: bool) -> None:
        self._normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD, device, channels_last)
        self._size, self.device = size, device

    def __call__(self, loaded: tuple[Tensor, Tensor] | Corrupt) -> tuple[Tensor, Tensor]:
        if isinstance(loaded, Corrupt):
            raise loaded
        images, labels = (x.to(self.device, non_blocking=True) for x in loaded)
        return self._normalise(images, self._size), labels


@dataclass
class _Plan:
    """The batches to load, each a list of places; a loader with persistent processes reads it again for each epoch."""

    batches: list[list[Place]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Place]]:
        return iter(self.batches)


class _Images(Dataset[Sample | Corrupt]):
    """Decoded and transformed images. The augmentation depends on (seed, epoch, position), not on the loading process."""

    def __init__(self, files: list[tuple[str, int]], transform: Callable[[Image], np.ndarray], seed: int) -> None:
        self._files, self._transform, self.seed = files, transform, seed

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, place: Place) -> Sample | Corrupt:
        epoch, position = place
        path, label = self._files[position]
        try:
            image = read_image(path, "RGB")
        except Corrupt as error:
            return error  # as a value: an exception would come back wrapped in the traceback of the loading process
        with _global_generators(address(self.seed, "augment", epoch, position)):
            return self._transform(image), label


@contextmanager
def _global_generators(seed: int) -> Iterator[None]:
    """Seeds the generators that timm's and torchvision's transforms use, and restores them afterwards."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002


def _transform(size: int, augment: bool) -> Callable[[Image], np.ndarray]:
    """A transform of timm to uint8 (3, size, size); the device normalises the batches."""
    from timm.data.transforms_factory import create_transform  # takes a second to import; sets in memory do not need it

    transform: Callable[[Image], np.ndarray] = create_transform(
        size, is_training=augment, interpolation=INTERPOLATION, crop_pct=CROP, use_prefetcher=True
    )
    return transform


def _cut(places: Sequence[Place], batch: int) -> list[list[Place]]:
    return [list(places[start : start + batch]) for start in range(0, len(places), batch)]


def _collate(samples: list[Sample | Corrupt]) -> tuple[Tensor, Tensor] | Corrupt:
    pairs = []
    for sample in samples:
        if isinstance(sample, Corrupt):
            return sample
        pairs.append(sample)
    images, labels = zip(*pairs, strict=True)
    return torch.from_numpy(np.stack(images)), torch.tensor(labels)


def _loader(images: _Images, plan: _Plan, device: torch.device, workers: int, *, persistent: bool) -> DataLoader[Any]:
    return DataLoader(
        images,
        batch_sampler=plan,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=device.type == "cuda",
        persistent_workers=persistent,
        generator=generator("loader"),  # it seeds the loading processes, whose own generators are not used
    )

"""Tasks that fit in memory: images are stored on the device as uint8, and augmented there batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.seeds import generator
from bench.tasks.base import Batches, Gated, Info, Task
from bench.tasks.cache import Split, Store

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Look:
    """How the images of a set are normalised (``mean`` and ``std`` per channel, of values 0 to 1) and augmented.

    ``padding`` pixels are added on each side, reflected at the edge if ``reflect`` and black otherwise, and a random crop of
    the native size is taken. ``mirror`` flips half of the images; set it only where a flip keeps the class.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int
    reflect: bool
    mirror: bool


class Normalise:
    """Converts uint8 images (N, C, H, W) to normalised float32 in a memory format, resized where another size is asked for."""

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device, channels_last: bool
    ) -> None:
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._mean = 255 * torch.tensor(mean, device=device)[:, None, None]
        self._scale = 1 / (255 * torch.tensor(std, device=device)[:, None, None])

    def __call__(self, images: Tensor, size: int) -> Tensor:
        """The normalised images, float32 (N, C, size, size)."""
        self._fill(images.shape[1:])
        found = images.to(torch.float32, memory_format=self._format).sub_(self._mean).mul_(self._scale)
        if size != images.shape[-1]:
            shrink = size < images.shape[-1]
            found = F.interpolate(found, (size, size), mode="bilinear", antialias=shrink)
        return found.contiguous(memory_format=self._format)

    def _fill(self, shape: torch.Size) -> None:
        """Expands the constants to the layout of an image: one long vector operation per image, 6 times as fast on a CPU."""
        if self._mean.shape != shape:
            self._mean = self._mean.expand(1, *shape).contiguous(memory_format=self._format)[0]
            self._scale = self._scale.expand(1, *shape).contiguous(memory_format=self._format)[0]


class ArrayTask(Task):
    """A task in memory. The test split's images are read when the test split is first opened."""

    def __init__(self, info: Info, look: Look, store: Store, device: torch.device, notes: tuple[str, ...] = ()) -> None:
        super().__init__(info, store.counts, store.digest, present=store.present, notes=notes)
        self._look, self._store, self._device = look, store, device
        self._splits = {split: store.read(split).to(device) for split in ("train", "validation")}

    def train(self, *, seed: int, batch: int, augment: bool, image_size: int, channels_last: bool) -> Batches:
        """See `Task.train`."""
        normalise = Normalise(self._look.mean, self._look.std, self._device, channels_last)
        look = self._look if augment else None
        return ArrayBatches(self._splits["train"], look, normalise, seed, batch, image_size, channels_last)

    def _evaluation(
        self, split: Gated, batch: int, image_size: int, channels_last: bool
    ) -> Iterable[tuple[Tensor, Tensor]]:
        if split not in self._splits:
            self._splits[split] = self._store.read(split).to(self._device)
        normalise = Normalise(self._look.mean, self._look.std, self._device, channels_last)
        return _InOrder(self._splits[split], normalise, batch, image_size)


@dataclass(frozen=True)
class _InOrder:
    split: Split
    normalise: Normalise
    batch: int
    size: int

    def __len__(self) -> int:
        return -(-len(self.split.labels) // self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.split.labels), self.batch):
            at = slice(start, start + self.batch)
            yield self.normalise(self.split.images[at].permute(0, 3, 1, 2), self.size), self.split.labels[at]


class ArrayBatches(Batches):
    """Shuffled, cropped and flipped batches, without work on the host or synchronisation within an epoch.

    All crops of all images are one overlapping view of the padded images, so a batch of crops is a single gather that copies
    whole rows.
    """

    def __init__(
        self,
        split: Split,
        look: Look | None,
        normalise: Normalise,
        seed: int,
        batch: int,
        image_size: int,
        channels_last: bool,
    ) -> None:
        self._labels, self._look, self._normalise = split.labels, look, normalise
        self._seed, self._size, self._channels_last = seed, image_size, channels_last
        self._batch = min(batch, len(split.labels))
        self.steps = len(split.labels) // self._batch
        padded = split.images
        if look is not None:
            padded = _pad(padded, look.padding, look.reflect)
        side = split.images.shape[1]
        if not channels_last:
            padded = padded.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
        self._crops = padded.unfold(1, side, 1).unfold(2, side, 1)  # (N, 2p+1, 2p+1, C, S, S)
        if channels_last:
            self._crops = self._crops.permute(0, 1, 2, 4, 5, 3)

    def epoch(self, index: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches.epoch`."""
        count, device = len(self._labels), self._labels.device
        order = torch.randperm(count, generator=generator(self._seed, "order", index)).to(device)
        top, left, mirrored = (x.to(device) for x in self._draw(index))
        labels = self._labels[order]
        for start in range(skip * self._batch, self.steps * self._batch, self._batch):
            at = slice(start, start + self._batch)
            images = self._crops[order[at], top[at], left[at]]
            if self._channels_last:
                images = images.permute(0, 3, 1, 2)
            if self._look and self._look.mirror:
                images = torch.where(mirrored[at, None, None, None], images.flip(3), images)
            yield self._normalise(images, self._size), labels[at]

    def _draw(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Row and column of the crop, int64 (N,), and whether it is flipped, bool (N,), in the epoch's order."""
        count, places = len(self._labels), self._crops.shape[1]
        draw = generator(self._seed, "augment", index)
        top, left = torch.randint(places, (2, count), generator=draw)
        return top, left, torch.randint(2, (count,), generator=draw).bool()


def _pad(images: Tensor, p: int, reflect: bool) -> Tensor:
    """Pads (N, H, W, C) to (N, H+2p, W+2p, C) with black, or with a reflection that does not repeat the edge, as torch's
    `reflect` does. (That has no uint8 kernel on CUDA, and indexing costs three times as much.)"""
    count, height, width, channels = images.shape
    padded = images.new_zeros(count, height + 2 * p, width + 2 * p, channels)
    padded[:, p : p + height, p : p + width] = images
    if reflect:
        for side in (padded[:, :, p : p + width], padded.transpose(1, 2)):  # rows first, then columns with the corners
            side[:, :p] = side[:, p + 1 : 2 * p + 1].flip(1)
            side[:, -p:] = side[:, -2 * p - 1 : -p - 1].flip(1)
    return padded

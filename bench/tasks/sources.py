"""Where the images of a set come from: bundled with a library, an image folder, or torchvision's archive."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from bench.errors import BenchError, MissingData
from bench.tasks.base import Info, Progress
from bench.tasks.cache import Split
from bench.tasks.decode import decode
from bench.tasks.images import class_names, not_read, scan

DOWNLOAD_SECONDS = 20  # without data, after which a download fails


@dataclass(frozen=True)
class Source:
    """Images before they are decoded.

    ``place`` distinguishes sources of one set, ``stamp`` changes when the content may have changed, and ``read`` decodes the
    images into the splits that they come in: "train" and "test", or "all". ``names`` are those of the classes where they differ
    from the set's own, and ``notes`` say what was not read.
    """

    place: str
    stamp: str
    read: Callable[[Progress], Mapping[str, Split]]
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Origin(Protocol):
    """Where the images of a set come from."""

    def find(self, info: Info, data: Path) -> Source:
        """The source of a set, below ``data`` or elsewhere. Raises `MissingData` where there is none."""


@dataclass(frozen=True)
class Bundled:
    """Images that an installed library contains, in one piece; ``read`` returns them at a size in pixels."""

    library: str
    stamp: str
    read: Callable[[int], Split]

    def find(self, info: Info, data: Path) -> Source:
        """See `Origin.find`; ``data`` is not used."""
        return Source(self.library, self.stamp, lambda _: {"all": self.read(info.image_size)})


@dataclass(frozen=True)
class Torchvision:
    """A data set of torchvision: the name of its class, and the folder below ``data`` in which it keeps its files."""

    cls: str
    folder: str

    def find(self, info: Info, data: Path) -> Source:
        """An image folder named after the set where there is one; else torchvision's archive, downloaded if it is missing.

        Raises:
            MissingData: there is neither; the message says where they were looked for and how to get them.
        """
        if (data / info.name / "train").is_dir():
            return image_folder(info, data / info.name)
        return torchvision_archive(info, self, data)


def digits(size: int) -> Split:
    """The 1797 handwritten digits that scikit-learn contains (8x8, values 0..16), enlarged once, values 0..255.

    E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI (1998). Pillow resizes bytes with integer
    arithmetic, so the pixels are the same on every machine.
    """
    from sklearn.datasets import load_digits  # scikit-learn takes long to import, and other sets do not need it

    found = load_digits()
    small = np.rint(found.images * (255 / 16)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)) for image in small]
    return Split(torch.from_numpy(np.stack(large)[..., None]), torch.from_numpy(found.target.astype(np.int64)))


def image_folder(info: Info, folder: Path) -> Source:
    """The source of ``folder/{train,test}/<class>/<image>``; every image has the set's native size."""
    own = class_names(folder / "train")
    if len(own) != info.classes:
        got = f"{folder.resolve() / 'train'} has {len(own)} class folders"
        raise BenchError(f"{info.name} has {info.classes} classes, but {got}; for another set use folder:{folder}")
    order, names = numbered(info, own)
    train = scan(folder / "train", order)
    listings = {"train": train, "test": scan(folder / "test", order)}
    images = sum(len(listing.paths) for listing in listings.values())

    def read(progress: Progress) -> dict[str, Split]:
        splits, done = {}, 0
        for name, listing in listings.items():
            mode = "L" if info.channels == 1 else "RGB"
            pixels = decode(listing.paths, mode, info.image_size, partial(_report, progress, done, images))
            splits[name] = Split(pixels, torch.tensor(listing.labels))
            done += len(listing.paths)
        return splits

    stamp = "".join((*order, *(listing.stamp for listing in listings.values())))
    digest = hashlib.sha256(stamp.encode()).hexdigest()
    return Source(str(folder.resolve()), digest, read, names, not_read(listings.values()))


def numbered(info: Info, folders: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The class folders of a named set in the order of its numbers, and the names of its classes.

    Folders that are numbers are the set's own numbers, and folders with the set's names (whatever their case and punctuation)
    have the set's order, so that a folder and the archive of one set are one task. Others are in the order of characters.
    """
    if all(name.isdecimal() for name in folders):
        return tuple(sorted(folders, key=int)), info.names
    plain = {_plain(name): name for name in folders}
    wanted = [_plain(name) for name in info.names]
    if sorted(plain) == sorted(wanted):
        return tuple(plain[name] for name in wanted), info.names
    return tuple(folders), tuple(folders)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _report(progress: Progress, before: int, images: int, done: int, _: int) -> None:
    progress(before + done, images)


def torchvision_archive(info: Info, archive: Torchvision, data: Path) -> Source:
    """The source of a set as torchvision stores it below ``data``; downloads it if it is missing."""
    folder = data / archive.folder
    if not folder.is_dir():
        _open(info, archive, data, train=True)
    files = sorted((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in folder.iterdir())

    def read(_: Progress) -> dict[str, Split]:
        return {name: _split(_open(info, archive, data, train=name == "train"), info) for name in ("train", "test")}

    return Source(str(folder.resolve()), hashlib.sha256(repr(files).encode()).hexdigest(), read)


def _split(found: Any, info: Info) -> Split:
    images = torch.as_tensor(found.data).reshape(-1, info.image_size, info.image_size, info.channels)
    return Split(images.contiguous(), torch.as_tensor(found.targets))


def _open(info: Info, archive: Torchvision, data: Path, *, train: bool) -> Any:
    """The data set as an object of torchvision, which checks its files and downloads those that are missing."""
    from torchvision import datasets  # takes long to import, and only archives need it

    try:
        with _socket_timeout(DOWNLOAD_SECONDS):
            return getattr(datasets, archive.cls)(str(data), train=train, download=True)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())[:160]
        raise MissingData(
            f"{info.name} needs its images, but there are none in {data.resolve() / info.name}/{{train,test}}/<class>/, "
            f"torchvision's archive is not in {data.resolve() / archive.folder}, and its download failed ({reason}); put "
            f"either of them there, set BENCH_DATA to a folder that has one, or run again with a network"
        ) from None


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Sets a timeout: torchvision sets none, and behind a firewall a download would wait for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)

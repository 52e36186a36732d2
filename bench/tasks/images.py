"""Image folders: which files belong to which class."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError, MissingData

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")


@dataclass(frozen=True)
class Listing:
    """The images below a folder with one sub-folder per class.

    ``digest`` hashes relative names and sizes; ``stamp`` also modification times, so it notices an edited file.
    """

    classes: tuple[str, ...]
    paths: list[str]
    labels: list[int]
    digest: str
    stamp: str


def class_names(folder: Path) -> tuple[str, ...]:
    """The names of the class folders in label order: sorted as text, but numbers by their value."""
    try:
        found = [e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        raise MissingData(f"no folder {folder.resolve()}; it should hold one sub-folder of images per class") from None
    if not found:
        raise MissingData(f"{folder.resolve()} has no sub-folders; it should hold one of images per class")
    return tuple(sorted(found, key=lambda name: (name.zfill(12) if name.isdecimal() else name, name)))


def scan(folder: Path, classes: Sequence[str] | None = None) -> Listing:
    """List the images of each class, at any depth, sorted by name.

    Args:
        folder: holds one sub-folder per class.
        classes: the label order, where another split has fixed it; this folder may then lack some of them.

    Raises:
        MissingData: where there is no folder, or a class without images.
        BenchError: for a class folder that is not among ``classes``.
    """
    own = class_names(folder)
    names = tuple(classes or own)
    if extra := sorted(set(own) - set(names)):
        raise BenchError(f"{folder.resolve()} has a class {extra[0]!r} that the training images do not have; remove it")
    paths: list[str] = []
    labels: list[int] = []
    digest, stamp = hashlib.sha256(), hashlib.sha256()
    for name in own:
        files = sorted(_files(os.path.join(folder, name)))
        if not files:
            raise MissingData(
                f"no images in {(folder / name).resolve()}; add some ({', '.join(EXTENSIONS)}) or remove it"
            )
        for path, status in files:
            line = f"{path[len(str(folder)) :]} {status.st_size}\n"
            digest.update(line.encode())
            stamp.update(f"{status.st_mtime_ns} {line}".encode())
        paths += [path for path, _ in files]
        labels += [names.index(name)] * len(files)
    return Listing(names, paths, labels, digest.hexdigest(), stamp.hexdigest())


def _files(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _files(entry.path)
        elif entry.name.lower().endswith(EXTENSIONS) and not entry.name.startswith("."):
            yield entry.path, entry.stat()

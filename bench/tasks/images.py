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
    """The images below a folder that has one sub-folder per class; ``labels`` has the class of each of ``paths``.

    ``digest`` is a hash of relative names and sizes; ``stamp`` of modification times too, so it changes with an edited file.
    """

    classes: tuple[str, ...]
    paths: list[str]
    labels: list[int]
    digest: str
    stamp: str


def class_names(folder: Path) -> tuple[str, ...]:
    """The names of the class folders in label order: sorted as text, but numbers by value.

    Raises:
        MissingData: there is no such folder, or it has no class folders.
    """
    try:
        found = [e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        raise MissingData(f"no folder {folder.resolve()}; it must have one sub-folder of images per class") from None
    if not found:
        raise MissingData(f"{folder.resolve()} has no sub-folders; it must have one sub-folder of images per class")
    return tuple(sorted(found, key=_label_order))


def _label_order(name: str) -> tuple[str, str]:
    if name.isdecimal():
        return name.zfill(12), name
    return name, name


def scan(folder: Path, classes: Sequence[str] | None = None) -> Listing:
    """Lists the images of each class, at any depth, sorted by name.

    Args:
        folder: has one sub-folder per class.
        classes: the label order, where another split has fixed it; this folder may then lack some classes.

    Raises:
        MissingData: there is no folder, or a class without images.
        BenchError: a class folder is not among ``classes``.
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

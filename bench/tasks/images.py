"""Image folders: which files belong to which class, and decoding them."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from bench.errors import BenchError, Corrupt, MissingData
from bench.tasks.base import Progress

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")
CHUNK = 256  # images per job of the thread pool


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


def read_image(path: str, mode: str) -> Image.Image:
    """One image as Pillow's ``mode`` ("L" or "RGB").

    Raises:
        Corrupt: names the file.
    """
    try:
        image = Image.open(io.BytesIO(Path(path).read_bytes()))  # from memory: a third less work than from the file
        image.load()
        return image if image.mode == mode else image.convert(mode)
    except Exception as error:  # Pillow's decoders raise almost anything on arbitrary bytes
        unknown = isinstance(error, UnidentifiedImageError)
        reason = (
            "no image format that Pillow knows" if unknown else " ".join(str(error).split()) or type(error).__name__
        )
        raise Corrupt(f"image {path} cannot be decoded ({reason}); restore it from its source, or delete it") from None


def decode(paths: Sequence[str], mode: str, size: int, progress: Progress) -> np.ndarray:
    """Decode images of ``size`` by ``size`` pixels by a pool of threads (Pillow's decoders release the GIL).

    Returns:
        uint8 (N, size, size, C) with C = 1 for mode "L" and 3 for "RGB", in the order of ``paths``.
    """
    images = np.empty((len(paths), size, size, 1 if mode == "L" else 3), np.uint8)

    def job(start: int) -> int:
        chunk = paths[start : start + CHUNK]
        for position, path in enumerate(chunk, start):
            image = read_image(path, mode)
            if image.size != (size, size):
                got = f"{image.width}x{image.height}"
                raise BenchError(
                    f"image {path} must be {size}x{size} pixels, but is {got}; use folder:PATH for any size"
                )
            images[position] = np.asarray(image).reshape(size, size, -1)
        return len(chunk)

    with ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool:
        jobs = [pool.submit(job, start) for start in range(0, len(paths), CHUNK)]
        try:
            done = 0
            for finished in as_completed(jobs):
                done += finished.result()
                progress(done, len(paths))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return images

"""Decoding image files: one by one, or very many by several processes.

Pillow holds the interpreter's lock for most of a small image, so threads gain nothing. This module imports no torch: a
process that only decodes is there in a third of a second.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import connection
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from bench.errors import BenchError, Corrupt

CHUNK = 512  # images to one job
FEW = 4096  # up to so many are decoded before a second process would have started


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


def decode(paths: Sequence[str], mode: str, size: int, progress: Callable[[int, int], None]) -> np.ndarray:
    """Decode images of ``size`` by ``size`` pixels, on all cores where there are many.

    Returns:
        uint8 (N, size, size, C) with C = 1 for mode "L" and 3 for "RGB", in the order of ``paths``.

    Raises:
        Corrupt: names the file that cannot be decoded.
        BenchError: names the file of another size.
    """
    images = np.empty((len(paths), size, size, 1 if mode == "L" else 3), np.uint8)
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    done = 0
    with _mapper(len(paths)) as over:
        for pixels in over(partial(_decode_chunk, mode=mode, size=size), chunks):
            images[done : done + len(pixels)] = pixels
            done += len(pixels)
            progress(done, len(paths))
    return images


@contextmanager
def _mapper(count: int) -> Iterator[Callable[..., Iterator[np.ndarray]]]:
    """``map`` for a few images; for many, one over a pool of processes, ended at the first error."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count <= FEW or cores == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(16, cores), mp_context=context, initializer=_end_with_parent)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Leave no process behind when the one that wants the images is killed."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _decode_chunk(paths: Sequence[str], mode: str, size: int) -> np.ndarray:
    return np.stack([_decode_one(path, mode, size) for path in paths])


def _decode_one(path: str, mode: str, size: int) -> np.ndarray:
    image = read_image(path, mode)
    if image.size != (size, size):
        raise BenchError(
            f"image {path} must be {size}x{size} pixels, but is {image.width}x{image.height}; use folder:PATH for any size"
        )
    return np.asarray(image).reshape(size, size, -1)

"""Decoding of image files: plain PNGs by torchvision's decoder in threads, all other files by Pillow.

Pillow takes 135 microseconds for a small PNG, most of them under the interpreter's lock; torchvision's decoder takes half of
that and releases the lock, so that threads run in parallel. Both decode the PNGs that torchvision is given here to the same
pixels. The decoder's Python function is deprecated since torchvision 0.29, so its operator is called; where that is missing,
Pillow decodes all files.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchvision.io  # noqa: F401 - registers torch.ops.image
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from bench.errors import BenchError, Corrupt
from bench.tasks.pixels import eight_bits

CHUNK = 256  # images per call of a thread
_PNG = b"\x89PNG\r\n\x1a\n"
_PLAIN = {"L": b"\x08\x00\x00\x00\x00", "RGB": b"\x08\x02\x00\x00\x00"}  # IHDR: 8 bits, grey or colour, not interlaced


warnings.filterwarnings("error", category=Image.DecompressionBombWarning)  # such an image is refused, in one line


def read_image(path: str, mode: str) -> Image.Image:
    """One image upright and as Pillow's ``mode`` ("L" or "RGB"), see `bench.tasks.pixels`.

    Raises:
        Corrupt: the file cannot be decoded, or not without clipping, or is very large; the message names it.
    """
    try:
        image = Image.open(io.BytesIO(Path(path).read_bytes()))  # from memory: a third less work than from the file
        image.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Corrupt(
            f"image {path} must have at most {Image.MAX_IMAGE_PIXELS or 0:,} pixels, but has more; scale it down, as training "
            "does anyway"
        ) from None
    except Exception as error:  # Pillow's decoders raise almost anything on arbitrary bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "no image format that Pillow knows"
        raise Corrupt(f"image {path} cannot be decoded ({reason}); restore it from its source, or delete it") from None
    try:
        return eight_bits(image, mode)
    except ValueError as error:
        raise Corrupt(f"image {path} must be one whose pixels become 8 bits, but {error}") from None


def decode(paths: Sequence[str], mode: str, size: int, progress: Callable[[int, int], None]) -> Tensor:
    """Decodes images of ``size`` by ``size`` pixels, on all cores.

    Returns:
        uint8 (N, size, size, C) with C = 1 for mode "L" and 3 for "RGB", in the order of ``paths``.

    Raises:
        Corrupt: a file cannot be decoded; the message names it.
        BenchError: an image has another size; the message names it.
    """
    images = torch.empty(len(paths), size, size, 1 if mode == "L" else 3, dtype=torch.uint8)
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    done = 0
    with ThreadPoolExecutor(min(32, 1 + (os.cpu_count() or 1))) as pool:
        try:
            for pixels in pool.map(partial(_chunk, mode=mode, size=size), chunks):
                images[done : done + len(pixels)] = pixels
                done += len(pixels)
                progress(done, len(paths))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return images


def _chunk(paths: Sequence[str], mode: str, size: int) -> Tensor:
    return torch.stack([_one(path, mode, size) for path in paths]).permute(0, 2, 3, 1).contiguous()


def _one(path: str, mode: str, size: int) -> Tensor:
    """Pixels of one file, uint8 (C, size, size)."""
    pixels = _plain_png(path, mode)
    if pixels is None:
        image = np.asarray(read_image(path, mode))
        pixels = torch.from_numpy(image.reshape(*image.shape[:2], -1).copy()).permute(2, 0, 1)
    if pixels.shape[1:] != (size, size):
        got = f"{pixels.shape[2]}x{pixels.shape[1]}"
        raise BenchError(f"image {path} must be {size}x{size} pixels, but is {got}; use folder:PATH for any size")
    return pixels


def _plain_png(path: str, mode: str) -> Tensor | None:
    """The pixels of a PNG of 8 bits in ``mode``'s channels, not interlaced; None for any
    other file, for one with an orientation, and for a corrupt one."""
    try:
        with open(path, "rb") as file:
            data = bytearray(file.read())
        if data[:8] != _PNG or data[24:29] != _PLAIN[mode] or b"tRNS" in data or b"eXIf" in data:
            return None
        pixels: Tensor = torch.ops.image.decode_png(torch.frombuffer(data, dtype=torch.uint8), 0, False)
        return pixels
    except (OSError, RuntimeError, ValueError, AttributeError):
        return None

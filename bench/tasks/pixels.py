"""Pixels of 8 bits from images of every mode of Pillow: the whole range of a mode becomes 0 to 255, and nothing is clipped."""

from __future__ import annotations

import contextlib

import numpy as np
from PIL import Image, ImageOps

SIXTEEN = 65535
_WIDE = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_SCALED = ("PPM", "PNG", "JPEG2000")  # formats whose values of mode "I" Pillow scales to 16 bits
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_WHITE_IS_ZERO, _UNSIGNED = 0, 1
_THROUGH = {"La": "LA", "RGBa": "RGBA", "HSV": "RGB"}  # modes that Pillow converts to others in two steps


def eight_bits(image: Image.Image, mode: str) -> Image.Image:
    """An image upright (as its EXIF orientation says), in ``mode`` "L" or "RGB".

    Grey values of more than 8 bits are scaled by their full range and rounded. Transparency is dropped.

    Raises:
        ValueError: the mode has no range that is known (32-bit integers, floats, signed values), or no conversion.
    """
    _upright_(image)
    if image.mode == "F":
        raise ValueError("it has floating-point values, whose range is not known; convert it to 8 or 16 bits")
    if image.mode == "LAB":
        raise ValueError("it has colours of mode LAB, which are not converted; convert it to RGB")
    if image.mode in _WIDE:
        image = _scaled(image)
    if image.mode == mode:
        return image
    image.info.pop("transparency", None)  # dropped, which Pillow would warn of
    through = _THROUGH.get(image.mode)
    return (image.convert(through) if through else image).convert(mode)


def _upright_(image: Image.Image) -> None:
    """Turn an image in place; a copy would lose the tags of its file."""
    with contextlib.suppress(Exception):  # EXIF that cannot be read says nothing of the orientation
        ImageOps.exif_transpose(image, in_place=True)


def _scaled(image: Image.Image) -> Image.Image:
    full = _full_scale(image)
    values = np.asarray(image).astype(np.int64)
    if values.size and (values.min() < 0 or values.max() > full):
        raise ValueError(f"it has values from {values.min()} to {values.max()}, not 0 to {full}; convert it to 8 bits")
    if _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = full - values
    return Image.fromarray(((2 * 255 * values + full) // (2 * full)).astype(np.uint8))


def _full_scale(image: Image.Image) -> int:
    """The largest value that the file's grey values can have."""
    bits = _tag(image, _BITS)
    if _tag(image, _SAMPLE_FORMAT) not in (None, _UNSIGNED):
        raise ValueError("it has signed values, whose range is not known; convert it to 8 or 16 unsigned bits")
    if bits is not None and bits <= 16:
        return int(2**bits - 1)
    if image.mode == "I" and (image.format not in _SCALED):
        raise ValueError("it has 32-bit integers, whose range is not known; convert it to 8 or 16 bits")
    return SIXTEEN


def _tag(image: Image.Image, number: int) -> int | None:
    """The first value of a tag of a TIFF; None where there is none, and for other formats."""
    value = getattr(image, "tag_v2", {}).get(number)
    if isinstance(value, tuple):
        value = value[0]
    return value

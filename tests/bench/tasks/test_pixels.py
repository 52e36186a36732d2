"""Every mode and depth keeps its range when it becomes 8 bits, or is refused by name; images are upright."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin

from bench.errors import Corrupt
from bench.tasks.decode import decode, read_image
from bench.tasks.pixels import eight_bits

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def written(path: Path, image: Image.Image, **settings: object) -> str:
    image.save(path, **settings)
    return str(path)


def pgm(path: Path, values: np.ndarray, most: int) -> str:
    kind = ">u2" if most > 255 else "u1"
    path.write_bytes(f"P5 {values.shape[1]} {values.shape[0]} {most}\n".encode() + values.astype(kind).tobytes())
    return str(path)


def tiff(path: Path, values: np.ndarray, **tags: int) -> str:
    numbers = {"photometric": 262, "sample_format": 339, "bits": 258}
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in tags.items():
        info[numbers[name]] = value
    Image.fromarray(values).save(path, tiffinfo=info)
    return str(path)


def grey(path: str) -> np.ndarray:
    return np.asarray(read_image(path, "L"))


@pytest.mark.parametrize("suffix", ["png", "tif", "jp2"])
def test_sixteen_bits_keep_their_range(tmp_path: Path, suffix: str) -> None:
    values = RAMP.astype(np.uint16) * 257  # each 8-bit value, repeated: the 16-bit value of the same grey
    path = written(tmp_path / f"a.{suffix}", Image.fromarray(values))
    assert np.array_equal(grey(path), RAMP)
    assert np.array_equal(np.asarray(read_image(path, "RGB")), np.repeat(RAMP[..., None], 3, 2))
    assert np.array_equal(decode([path], "L", 16, lambda *_: None)[0, ..., 0].numpy(), RAMP)


def test_sixteen_bits_are_rounded(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 385, 386, 32767, 65406, 65407, 65535]], np.uint16)
    assert grey(written(tmp_path / "a.png", Image.fromarray(values))).tolist() == [[0, 0, 1, 1, 2, 127, 254, 255, 255]]


@pytest.mark.parametrize("most", [1, 3, 15, 100, 255, 1023, 4095, 65535])
def test_a_pgm_is_scaled_by_its_own_maximum(tmp_path: Path, most: int) -> None:
    values = np.linspace(0, most, 256).round().reshape(16, 16)
    found = grey(pgm(tmp_path / "a.pgm", values, most)).astype(int)
    assert np.abs(found - 255 * values / most).max() <= 1
    assert (found.min(), found.max()) == (0, 255)


def test_a_big_endian_and_an_inverted_tiff(tmp_path: Path) -> None:
    values = RAMP.astype(np.uint16) * 257
    assert np.array_equal(grey(tiff(tmp_path / "b.tif", values.astype(">u2"))), RAMP)
    assert np.array_equal(grey(tiff(tmp_path / "w.tif", values, photometric=0)), 255 - RAMP)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LA", "PA", "La", "RGBa", "RGBX"]
)
@pytest.mark.parametrize("wanted", ["L", "RGB"])
def test_every_mode_of_8_bits_reaches_black_and_white(mode: str, wanted: str) -> None:
    source = Image.fromarray(np.repeat(np.where(RAMP < 128, 0, 255).astype(np.uint8)[..., None], 3, 2))
    through = {"La": "LA", "RGBa": "RGBA", "PA": "LA", "HSV": "RGB"}.get(mode, "RGB")
    image = source.convert(through).convert(mode) if mode != "PA" else source.convert("P").convert("PA")
    assert image.mode == mode
    found = np.asarray(eight_bits(image, wanted))
    assert np.array_equal(found, np.asarray(source.convert(wanted)))


def test_sixteen_bit_colour_keeps_its_range(tmp_path: Path) -> None:
    """Pillow takes the high byte of each of 16 bits; it cannot write such a file."""
    import struct
    import zlib

    values = np.stack([RAMP, 255 - RAMP, RAMP.T], 2).astype(np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">2I5B", 16, 16, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    assert np.array_equal(np.asarray(read_image(str(tmp_path / "a.png"), "RGB")), values // 257)


@pytest.mark.parametrize(
    ("values", "tags", "told"),
    [
        (np.full((4, 4), 0.5, np.float32), {}, "floating-point values"),
        (np.full((4, 4), 70000, np.int32), {}, "32-bit integers|signed values"),
        (np.full((4, 4), -3, np.int32), {}, "32-bit integers|signed values"),
        (np.full((4, 4), 9, np.uint16), {"sample_format": 2}, "signed values"),
    ],
)
def test_a_range_that_is_not_known_is_refused_by_name(
    tmp_path: Path, values: np.ndarray, tags: dict[str, int], told: str
) -> None:
    path = tiff(tmp_path / "a.tif", values, **tags)
    with pytest.raises(Corrupt, match=rf"image {path} must be .* 8 bits, but it has ({told}).*convert it") as caught:
        read_image(path, "RGB")
    assert "\n" not in str(caught.value)


def test_colours_of_mode_lab_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="mode LAB"):
        eight_bits(Image.new("LAB", (2, 2)), "RGB")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_images_are_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    corner = np.zeros((16, 16), np.uint8)
    corner[:8, :8] = 255  # top left
    moved = {1: corner, 2: corner[:, ::-1], 3: corner[::-1, ::-1], 4: corner[::-1], 5: corner.T, 6: np.rot90(corner)}
    moved |= {7: np.rot90(corner.T, 2), 8: np.rot90(corner, -1)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(moved[orientation]))
    path = written(tmp_path / f"a.{suffix}", stored, exif=exif)
    for found in (grey(path), decode([path], "L", 16, lambda *_: None)[0, ..., 0].numpy()):
        assert (found[:8, :8] > 200).all()
        assert (found[8:] < 50).all()


def test_exif_that_is_broken_does_not_matter(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jpg", Image.fromarray(RAMP), exif=b"Exif\0\0nonsense")
    assert grey(path).shape == (16, 16)


def test_a_very_large_image_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for side in (12, 16):  # over the limit (a warning of Pillow's), and twice over it (an error)
        path = written(tmp_path / f"{side}.png", Image.new("RGB", (side, side)))
        with pytest.raises(Corrupt, match=rf"image {path} must have at most 100 pixels, but has more; scale it down"):
            read_image(path, "RGB")


def test_transparency_is_dropped_without_a_warning() -> None:
    image = Image.fromarray(RAMP).convert("P")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=bytes(range(256)))
    found = eight_bits(Image.open(buffer), "RGB")
    assert torch.from_numpy(np.asarray(found).copy())[..., 0].equal(torch.from_numpy(RAMP))

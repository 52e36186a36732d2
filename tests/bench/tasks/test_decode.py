"""Decoded pixels are Pillow's, whatever the kind of file; a file that cannot be decoded is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.errors import BenchError, Corrupt
from bench.tasks.decode import decode
from bench.tasks.images import scan


def quiet(done: int, total: int) -> None:
    pass


def test_decoding_keeps_order_and_reports(tmp_path: Path, paint) -> None:
    paint(tmp_path, ["a"], 300)
    paths = scan(tmp_path).paths
    seen: list[tuple[int, int]] = []
    images = decode(paths, "RGB", 32, lambda done, total: seen.append((done, total)))
    assert images.shape == (300, 32, 32, 3)
    for path, image in list(zip(paths, images, strict=True))[::50]:
        assert np.array_equal(np.asarray(Image.open(path)), image)
    assert seen == [(256, 300), (300, 300)]


def test_grey_decoding_of_colour_images(tmp_path: Path, paint) -> None:
    paint(tmp_path, ["a"], 1)
    (path,) = scan(tmp_path).paths
    assert np.array_equal(decode([path], "L", 32, quiet)[0, ..., 0], np.asarray(Image.open(path).convert("L")))


@pytest.mark.parametrize(("content", "reason"), [(b"not an image", "no image format"), (None, "truncated")])
def test_a_corrupt_image_is_named_with_the_remedy(tmp_path: Path, paint, content: bytes | None, reason: str) -> None:
    paint(tmp_path, ["a"], 3)
    path = tmp_path / "a/1.png"
    path.write_bytes(path.read_bytes()[:1000] if content is None else content)
    with pytest.raises(Corrupt) as caught:
        decode(scan(tmp_path).paths, "RGB", 32, quiet)
    message = str(caught.value)
    assert str(path) in message
    assert reason in message
    assert "restore it" in message
    assert "\n" not in message


def test_an_image_of_another_size_is_named(tmp_path: Path, paint) -> None:
    paint(tmp_path, ["a"], 1, size=28)
    with pytest.raises(BenchError, match=r"a/0\.png must be 32x32 pixels, but is 28x28"):
        decode(scan(tmp_path).paths, "RGB", 32, quiet)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", ["L", "RGB", "RGBA", "P", "1", "LA"])
def test_every_kind_of_png_gives_pillows_pixels(tmp_path: Path, kind: str, mode: str) -> None:
    source = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    image = Image.fromarray(source).convert(kind)
    image.save(tmp_path / "a.png")
    Image.fromarray(source).save(tmp_path / "b.png", transparency=(1, 2, 3))
    Image.fromarray(source).save(tmp_path / "c.jpg")
    paths = [str(p) for p in sorted(tmp_path.iterdir())]
    wanted = [np.asarray(Image.open(p).convert(mode)).reshape(9, 9, -1) for p in paths]
    assert np.array_equal(decode(paths, mode, 9, quiet), np.stack(wanted))


def test_a_png_cut_short_is_named_and_does_not_pass(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Corrupt, match=r"a\.png"):
        decode([str(tmp_path / "a.png")], "RGB", 32, quiet)

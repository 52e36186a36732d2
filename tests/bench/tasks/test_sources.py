"""Where images come from: image folders, torchvision's archives, and what is said where there are none."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.errors import BenchError, MissingData
from bench.tasks.base import Info
from bench.tasks.sources import Bundled, Torchvision, digits


def test_a_missing_set_says_where_it_was_looked_for_and_both_ways_to_get_it(load, tmp_path: Path) -> None:
    (tmp_path / "data").touch()  # a file where the folder should be: the download fails, with or without a network
    for name, archive in (("cifar10", "cifar-10-batches-py"), ("mnist", "MNIST/raw")):
        with pytest.raises(MissingData) as caught:
            load(name)
        message = str(caught.value)
        assert str(tmp_path / "data" / name / "{train,test}/<class>/") in message
        assert str(tmp_path / "data" / archive) in message
        assert "BENCH_DATA" in message
        assert "network" in message
        assert "\n" not in message


def test_a_folder_with_too_few_classes_is_told(load, tmp_path: Path, paint) -> None:
    paint(tmp_path / "data/cifar10/train", ["a", "b"], 1)
    with pytest.raises(BenchError, match=r"cifar10 has 10 classes, but .*data/cifar10/train has 2 class folders"):
        load("cifar10")
    paint(tmp_path / "data/mnist/train", list("0123456789"), 2, 28, 1)
    with pytest.raises(MissingData, match=r"no folder .*data/mnist/test"):
        load("mnist")


def test_torchvisions_files_and_an_image_folder_give_one_and_the_same_task(load, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    raw = tmp_path / "archive/MNIST/raw"
    raw.mkdir(parents=True)
    for part, prefix, count in (("train", "train", 40), ("test", "t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = np.arange(count, dtype=np.uint8)[::-1] % 10
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, count, 28, 28) + images.tobytes())
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels.tobytes())
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = tmp_path / f"data/mnist/{part}/{label}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    archive, folder = load("mnist", data=tmp_path / "archive"), load("mnist")
    assert archive.counts == {"train": 30, "validation": 10, "test": 20}
    assert archive.digest == folder.digest
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_bundled_set_needs_no_folder(tmp_path: Path) -> None:
    sizes = []
    source = Bundled("library", "2", lambda size: sizes.append(size) or digits(size)).find(
        Info("other", 10, 1, 16, ""), tmp_path / "nowhere"
    )
    assert (source.place, source.stamp) == ("library", "2")
    assert source.read(lambda done, total: None)["all"].images.shape == (1797, 16, 16, 1)
    assert sizes == [16]


def test_an_archive_is_never_digits(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(MissingData, match="digits needs its images, but there are none in"):
        Torchvision("MNIST", "raw").find(Info("digits", 10, 1, 28, ""), tmp_path / "data")

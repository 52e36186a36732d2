import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bench import tasks
from bench.errors import BenchError, MissingData


def pixels(task: tasks.Task, split: str) -> tuple[Tensor, Tensor]:
    batches = task.evaluation(split, batch=64, image_size=task.info.image_size, channels_last=False)
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def training(task: tasks.Task) -> tuple[Tensor, Tensor]:
    everything = task.train(seed=0, batch=10**6, augment=False, image_size=task.info.image_size, channels_last=False)
    return next(everything.epoch(0))


def test_names_and_facts(tmp_path: Path, paint) -> None:
    assert tasks.names() == ["cifar10", "cifar100", "digits", "fashion_mnist", "mnist"]
    assert [(i.classes, i.channels, i.image_size) for i in (tasks.info(n, tmp_path) for n in tasks.names())] == [
        *((10, 3, 32), (100, 3, 32), (10, 1, 32), (10, 1, 28), (10, 1, 28)),
    ]
    paint(tmp_path / "train", ["cat", "dog"], 1)
    info = tasks.info(f"folder:{tmp_path}", tmp_path)
    assert (info.name, info.classes, info.channels, info.image_size) == (f"folder:{tmp_path}", 2, 3, 224)


def test_a_wrong_name_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no task 'cifar'; did you mean 'cifar10'"):
        tasks.info("cifar", tmp_path)
    with pytest.raises(MissingData, match=r"no folder .*nowhere/train"):
        tasks.info("folder:nowhere", tmp_path)


def test_digits_in_three_stratified_splits(load) -> None:
    task = load("digits")
    assert task.counts == {"train": 1079, "validation": 359, "test": 359}
    images, labels = zip(*(pixels(task, "validation"), pixels(task, "test"), training(task)), strict=True)
    whole = torch.cat(labels).bincount()
    for part, share in zip(labels, (0.2, 0.2, 0.6), strict=True):
        assert ((part.bincount() - share * whole).abs() <= 1).all()
    assert images[0].shape == (359, 1, 32, 32)
    original = torch.cat(images) * 0.324 + 0.306
    assert original.min() == pytest.approx(0, abs=1e-6)
    assert original.max() == pytest.approx(1, abs=1e-6)
    assert images[2].mean() == pytest.approx(0, abs=0.01)
    assert images[2].std() == pytest.approx(1, abs=0.01)


def test_splits_of_a_folder_are_disjoint_and_belong_to_the_task(load, cifar: Path, tmp_path: Path) -> None:
    task, again = load("cifar10"), load("cifar10", cache=tmp_path / "other")
    assert task.counts == {"train": 90, "validation": 10, "test": 20}
    assert task.digest == again.digest
    (held, labels), (held_again, _), (rest, rest_labels) = (
        pixels(task, "validation"),
        pixels(again, "validation"),
        training(task),
    )
    assert held.equal(held_again)
    assert labels.tolist() == list(range(10))
    assert rest_labels.bincount().tolist() == [9] * 10
    everything = torch.cat([held, rest, pixels(task, "test")[0]])
    assert len({image.numpy().tobytes() for image in everything}) == 120


def test_a_changed_source_is_decoded_again(load, cifar: Path) -> None:
    before = load("cifar10")
    calls: list[tuple[int, int]] = []
    assert load("cifar10", progress=lambda *done: calls.append(done)).digest == before.digest
    assert calls == []
    (cifar / "cifar10/train/class3/0.png").unlink()
    after = load("cifar10", progress=lambda *done: calls.append(done))
    assert calls[-1] == (119, 119)
    assert after.counts["train"] == 89
    assert after.digest != before.digest


def test_a_truncated_cache_is_rebuilt(load, cifar: Path, tmp_path: Path) -> None:
    before = pixels(load("cifar10"), "test")
    for path in (tmp_path / "cache").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    assert pixels(load("cifar10"), "test")[0].equal(before[0])


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

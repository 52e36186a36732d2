"""Named tasks: stratified splits that belong to the task, decoded once."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench import tasks


def pixels(task: tasks.Task, split: str) -> tuple[Tensor, Tensor]:
    batches = task.evaluation(split, batch=64, image_size=task.info.image_size, channels_last=False)
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def training(task: tasks.Task) -> tuple[Tensor, Tensor]:
    everything = task.train(seed=0, batch=10**6, augment=False, image_size=task.info.image_size, channels_last=False)
    return next(everything.epoch(0))


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

"""Tasks by name, and a task that is added by one entry."""

from pathlib import Path

import pytest
import torch

from bench import tasks
from bench.errors import BenchError, MissingData
from bench.tasks import sets
from bench.tasks.arrays import Look
from bench.tasks.base import Info
from bench.tasks.cache import Split
from bench.tasks.image_set import ImageSet
from bench.tasks.sources import Bundled


def test_names_and_facts(tmp_path: Path, paint) -> None:
    assert tasks.names() == ["cifar10", "cifar100", "digits", "fashion_mnist", "mnist"]
    assert [(i.classes, i.channels, i.image_size) for i in (tasks.info(n, tmp_path) for n in tasks.names())] == [
        *((10, 3, 32), (100, 3, 32), (10, 1, 32), (10, 1, 28), (10, 1, 28)),
    ]
    paint(tmp_path / "train", ["cat", "dog"], 1)
    paint(tmp_path / "test", ["cat", "dog"], 1)
    info = tasks.info(f"folder:{tmp_path}", tmp_path)
    assert (info.name, info.classes, info.channels, info.image_size) == (f"folder:{tmp_path}", 2, 3, 224)


def test_a_wrong_name_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no task 'cifar'; did you mean 'cifar10'"):
        tasks.info("cifar", tmp_path)
    with pytest.raises(MissingData, match=r"no folder .*nowhere/train"):
        tasks.info("folder:nowhere", tmp_path)


def stripes(size: int) -> Split:
    """Two classes of 20 grey images: black and white."""
    labels = torch.arange(40) % 2
    return Split((255 * labels).to(torch.uint8)[:, None, None, None].expand(40, size, size, 1).contiguous(), labels)


TOY = ImageSet(
    Info("toy", 2, 1, 8, "black and white images"),
    Look((0.5,), (0.5,), padding=0, reflect=False, mirror=False),
    Bundled("toys", "1", stripes),
)


def test_a_task_is_added_by_one_entry(load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "SETS", (*sets.SETS, TOY))
    assert "toy" in tasks.names()
    assert tasks.info("toy", tmp_path) is TOY.info
    task = load("toy")
    assert task.counts == {"train": 24, "validation": 8, "test": 8}
    for images, labels in task.evaluation("validation", batch=4, image_size=8, channels_last=False):
        assert images.amin((1, 2, 3)).tolist() == images.amax((1, 2, 3)).tolist() == (2.0 * labels - 1).tolist()


def test_every_entry_is_complete_and_has_a_name_of_its_own() -> None:
    assert len(tasks.names()) == len(set(tasks.names())) == len(sets.SETS)
    for entry in sets.SETS:
        assert len(entry.look.mean) == len(entry.look.std) == entry.info.channels
        assert entry.info.about

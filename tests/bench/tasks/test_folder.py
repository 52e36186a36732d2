import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor

from bench import tasks
from bench.errors import Corrupt, MissingData

SIZE = 16

# Python 3.12 and later say so of every loader's workers where threads run beside
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture
def folder(tmp_path: Path, paint) -> Path:
    """Two classes of ten training images and three test images each."""
    paint(tmp_path / "set/train", ["cat", "dog"], 10, size=24)
    paint(tmp_path / "set/test", ["cat", "dog"], 3, size=24)
    return tmp_path / "set"


def epoch(task: tasks.Task, index: int = 0, skip: int = 0, **values: object) -> list[tuple[Tensor, Tensor]]:
    settings = {"seed": 1, "batch": 4, "augment": True, "image_size": SIZE, "channels_last": True}
    return list(task.train(**(settings | values)).epoch(index, skip))


def same(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    return len(one) == len(other) and all(a.equal(b) and x.equal(y) for (a, x), (b, y) in zip(one, other, strict=True))


def test_splits(load, folder: Path) -> None:
    task = load(f"folder:{folder}")
    assert task.counts == {"train": 18, "validation": 2, "test": 6}
    (batch,) = task.evaluation("validation", batch=10, image_size=SIZE, channels_last=True)
    assert batch[1].tolist() == [0, 1]
    assert task.openings == 0
    assert [len(labels) for _, labels in task.evaluation("test", batch=4, image_size=SIZE, channels_last=True)] == [
        4,
        2,
    ]
    assert task.openings == 1
    assert load(f"folder:{folder}").digest == task.digest


def test_batches_do_not_depend_on_the_number_of_workers(load, folder: Path) -> None:
    alone, helped = load(f"folder:{folder}"), load(f"folder:{folder}", workers=2)
    settings = {"seed": 1, "batch": 4, "augment": True, "image_size": SIZE, "channels_last": True}
    batches = helped.train(**settings)
    assert batches.steps == 4
    first = list(batches.epoch(0))
    assert same(first, epoch(alone, 0))
    next(iter(batches.epoch(1)))  # left in the middle
    assert same(list(batches.epoch(2, skip=1)), epoch(alone, 2)[1:])
    assert not same(first, epoch(alone, 1))
    assert not same(first, epoch(alone, 0, seed=2))


def test_a_batch_has_the_suites_layout(load, folder: Path) -> None:
    for channels_last, form in ((True, torch.channels_last), (False, torch.contiguous_format)):
        images, labels = epoch(load(f"folder:{folder}"), channels_last=channels_last)[0]
        assert (images.dtype, labels.dtype, images.shape) == (torch.float32, torch.int64, (4, 3, SIZE, SIZE))
        assert images.is_contiguous(memory_format=form)


def test_evaluation_images_are_those_of_timm(load, folder: Path) -> None:
    transform = create_transform(SIZE, interpolation="bicubic", crop_pct=0.875)
    expected = [transform(Image.open(path)) for path in sorted(folder.glob("test/*/*.png"))]
    task = load(f"folder:{folder}")
    ((images, labels),) = task.evaluation("test", batch=10, image_size=SIZE, channels_last=False)
    torch.testing.assert_close(images, torch.stack(expected), atol=1e-5, rtol=0)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_without_augmentation_only_the_order_changes(load, folder: Path) -> None:
    task = load(f"folder:{folder}")
    one, other = (torch.cat([x for x, _ in epoch(task, i, augment=False, batch=18)]) for i in (0, 1))
    assert not one.equal(other)
    assert {x.numpy().tobytes() for x in one} == {x.numpy().tobytes() for x in other}


def test_global_generators_are_neither_used_nor_moved(load, folder: Path) -> None:
    task = load(f"folder:{folder}")

    def states() -> tuple[object, ...]:
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002

    before, one = states(), epoch(task)
    assert states() == before
    torch.rand(1)
    random.random()
    assert same(one, epoch(task))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_image_is_named_in_one_line(load, folder: Path, workers: int) -> None:
    path = folder / "train/dog/4.png"
    path.write_bytes(path.read_bytes()[:300])
    task = load(f"folder:{folder}", workers=workers)
    validation = task.evaluation("validation", batch=10, image_size=SIZE, channels_last=True)
    with pytest.raises(Corrupt) as caught:
        list(validation), epoch(task, batch=18)
    assert str(caught.value).startswith(f"image {path} cannot be decoded")
    assert "\n" not in str(caught.value)


def test_a_folder_without_held_out_images_is_told(load, tmp_path: Path, paint) -> None:
    paint(tmp_path / "set/train", ["cat", "dog"], 3)
    with pytest.raises(MissingData, match="neither test nor val beside train"):
        load(f"folder:{tmp_path / 'set'}")

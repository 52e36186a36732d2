from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.seeds import generator
from bench.tasks import Info
from bench.tasks.arrays import IMAGENET_MEAN, IMAGENET_STD, ArrayTask, Look
from bench.tasks.cache import Split, Store

COLOUR = Look(IMAGENET_MEAN, IMAGENET_STD, padding=4, reflect=True, mirror=True)
GREY = Look((0.25,), (0.5,), padding=2, reflect=False, mirror=False)
SIDE = 12


def splits(channels: int) -> dict[str, Split]:
    made = {}
    for name, count in {"train": 50, "validation": 10, "test": 7}.items():
        draw = generator("test", name)
        images = torch.randint(256, (count, SIDE, SIDE, channels), generator=draw, dtype=torch.uint8)
        made[name] = Split(images, torch.arange(count))
    return made


def task(tmp_path: Path, look: Look = COLOUR) -> ArrayTask:
    channels = len(look.mean)
    info = Info("noise", 50, channels, SIDE, "")
    return ArrayTask(info, look, Store(tmp_path / str(channels), "v", lambda: splits(channels)), torch.device("cpu"))


def epoch(found: ArrayTask, index: int = 0, skip: int = 0, **values: object) -> list[tuple[Tensor, Tensor]]:
    settings = {"seed": 1, "batch": 16, "augment": True, "image_size": SIDE, "channels_last": True}
    return list(found.train(**(settings | values)).epoch(index, skip))


def same(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    return len(one) == len(other) and all(a.equal(b) and x.equal(y) for (a, x), (b, y) in zip(one, other, strict=True))


def by_hand(look: Look, index: int) -> tuple[np.ndarray, list[int]]:
    """The first three batches of an epoch, one image at a time, as float64 (48, C, S, S)."""
    images = splits(len(look.mean))["train"].images.numpy()
    order = torch.randperm(50, generator=generator(1, "order", index)).tolist()
    draw = generator(1, "augment", index)
    top, left = torch.randint(2 * look.padding + 1, (2, 50), generator=draw).tolist()
    mirrored = torch.randint(2, (50,), generator=draw).tolist()
    p, made = look.padding, []
    for position, i in enumerate(order[:48]):
        image = np.pad(images[i], ((p, p), (p, p), (0, 0)), mode="reflect" if look.reflect else "constant")
        image = image[top[position] : top[position] + SIDE, left[position] : left[position] + SIDE]
        if look.mirror and mirrored[position]:
            image = image[:, ::-1]
        made.append(((image / 255 - look.mean) / look.std).transpose(2, 0, 1))
    return np.stack(made), order[:48]


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("look", [COLOUR, GREY])
def test_a_batch_is_what_cropping_and_mirroring_by_hand_gives(tmp_path: Path, look: Look, channels_last: bool) -> None:
    found = epoch(task(tmp_path, look), 2, channels_last=channels_last)
    images, labels = by_hand(look, 2)
    assert torch.cat([x for _, x in found]).tolist() == labels
    np.testing.assert_allclose(torch.cat([x for x, _ in found]).numpy(), images, atol=2e-6)


@pytest.mark.parametrize("size", [SIDE, 20, 6])
def test_layout_and_types_of_a_batch(tmp_path: Path, size: int) -> None:
    for channels_last, form in ((True, torch.channels_last), (False, torch.contiguous_format)):
        images, labels = epoch(task(tmp_path), channels_last=channels_last, image_size=size)[0]
        assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert images.shape == (16, 3, size, size)
        assert images.is_contiguous(memory_format=form)


def test_without_augmentation_images_are_only_normalised(tmp_path: Path) -> None:
    original = splits(1)["train"].images
    for images, labels in epoch(task(tmp_path, GREY), augment=False):
        expected = (original[labels].permute(0, 3, 1, 2) / 255 - 0.25) / 0.5
        torch.testing.assert_close(images, expected)


def test_an_epoch_depends_on_seed_and_index_alone(tmp_path: Path) -> None:
    found = task(tmp_path)
    torch.manual_seed(7)
    one = epoch(found, 3)
    torch.manual_seed(8)
    assert same(one, epoch(found, 3))
    assert not same(one, epoch(found, 4))
    assert not same(one, epoch(found, 3, seed=2))
    assert len({int(label) for _, labels in one for label in labels}) == 48  # 3 batches of 16 out of 50, none twice


@pytest.mark.parametrize("skip", [0, 1, 2, 3])
def test_skipping_gives_exactly_the_rest(tmp_path: Path, skip: int) -> None:
    found = task(tmp_path)
    assert same(epoch(found, 1)[skip:], epoch(found, 1, skip))


@pytest.mark.parametrize(("batch", "steps", "size"), [(16, 3, 16), (25, 2, 25), (50, 1, 50), (1000, 1, 50)])
def test_steps_of_an_epoch(tmp_path: Path, batch: int, steps: int, size: int) -> None:
    batches = task(tmp_path).train(seed=0, batch=batch, augment=True, image_size=SIDE, channels_last=True)
    assert batches.steps == steps
    assert [len(labels) for _, labels in batches.epoch(0)] == [size] * steps


def test_evaluation_sees_every_image_once_in_a_fixed_order(tmp_path: Path) -> None:
    batches = task(tmp_path).evaluation("validation", batch=4, image_size=SIDE, channels_last=True)
    for _ in range(2):
        assert [labels.tolist() for _, labels in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    images = torch.cat([images for images, _ in batches])
    expected = splits(3)["validation"].images.permute(0, 3, 1, 2) / 255
    expected = (expected - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    torch.testing.assert_close(images, expected)


def test_resizing_keeps_a_flat_image_flat_and_a_ramp_straight(tmp_path: Path) -> None:
    ramp = (torch.arange(SIDE, dtype=torch.uint8) * 20).expand(SIDE, SIDE)[..., None]
    flat = torch.full((SIDE, SIDE, 1), 51, dtype=torch.uint8)
    split = Split(torch.stack([ramp, flat]), torch.arange(2))
    store = Store(tmp_path, "v", lambda: dict.fromkeys(("train", "validation", "test"), split))
    found = ArrayTask(Info("two", 2, 1, SIDE, ""), GREY, store, torch.device("cpu"))
    ((images, _),) = found.evaluation("validation", batch=2, image_size=2 * SIDE, channels_last=True)
    torch.testing.assert_close(images[1], torch.full_like(images[1], (0.2 - 0.25) / 0.5))
    slopes = images[0, 0, 0, 1:-1].diff()
    torch.testing.assert_close(slopes, torch.full_like(slopes, 10 / 255 / 0.5))


def test_the_gate_of_the_test_split_counts_openings(tmp_path: Path) -> None:
    found = task(tmp_path)
    found.evaluation("validation", batch=4, image_size=SIDE, channels_last=True)
    assert found.openings == 0
    test = found.evaluation("test", batch=4, image_size=SIDE, channels_last=True)
    assert [len(labels) for _, labels in test] == [len(labels) for _, labels in test] == [4, 3]
    assert found.openings == 1
    found.evaluation("test", batch=4, image_size=SIDE, channels_last=True)
    assert found.openings == 2
    with pytest.raises(BenchError, match="no split to evaluate on 'train'"):
        found.evaluation("train", batch=4, image_size=SIDE, channels_last=True)


def test_the_test_split_is_not_read_before_its_gate_opens(tmp_path: Path) -> None:
    task(tmp_path)
    path = tmp_path / "3/test.safetensors"
    whole = path.read_bytes()
    damaged = whole[:-1] + bytes([whole[-1] ^ 1])
    path.write_bytes(damaged)
    found = task(tmp_path)  # a wrong last byte of the test pixels goes unnoticed
    assert path.read_bytes() == damaged
    ((_, labels),) = found.evaluation("test", batch=7, image_size=SIDE, channels_last=True)  # until they are read
    assert labels.tolist() == list(range(7))
    assert path.read_bytes() != damaged

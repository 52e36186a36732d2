"""Small image folders for the tests of tasks."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench import tasks

Paint = Callable[..., None]
Load = Callable[..., tasks.Task]

CIFAR = [f"class{digit}" for digit in range(10)]


def picture(name: str, size: int, channels: int) -> np.ndarray:
    """Noise of its own for each name, uint8 (size, size, channels)."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).integers(0, 256, (size, size, channels), np.uint8)


@pytest.fixture
def paint() -> Paint:
    """Writes PNGs to ``folder/<class>/<number>.png``."""

    def write(folder: Path, classes: Sequence[str], count: int, size: int = 32, channels: int = 3) -> None:
        for name in classes:
            (folder / name).mkdir(parents=True)
            for number in range(count):
                pixels = picture(f"{folder.name}/{name}/{number}", size, channels).squeeze()
                Image.fromarray(pixels).save(folder / name / f"{number}.png")

    return write


@pytest.fixture
def cifar(tmp_path: Path, paint: Paint) -> Path:
    """A data folder with a CIFAR-10 of ten training and two test images of each class."""
    paint(tmp_path / "data/cifar10/train", CIFAR, 10)
    paint(tmp_path / "data/cifar10/test", CIFAR, 2)
    return tmp_path / "data"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a task from the test's own data folder through its own cache."""

    def load(name: str, **values: object) -> tasks.Task:
        places = {"data": tmp_path / "data", "cache": tmp_path / "cache", "device": torch.device("cpu")}
        return tasks.load(name, **(places | values))

    return load

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.errors import BenchError
from bench.tasks.cache import SPLITS, Split, Store


class Source:
    """Three splits of different sizes, and how often they were decoded."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> dict[str, Split]:
        self.made += 1
        sizes = zip(SPLITS, (6, 3, 2), strict=True)
        return {name: Split(torch.full((n, 4, 4, 3), n, dtype=torch.uint8), torch.arange(n)) for name, n in sizes}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-60] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def test_decoded_once_and_read_back(tmp_path: Path) -> None:
    source = Source()
    first, second = Store(tmp_path, "v", source), Store(tmp_path, "v", source)
    assert source.made == 1
    assert second.counts == {"train": 6, "validation": 3, "test": 2}
    assert first.digest == second.digest
    read = second.read("validation")
    assert read.images.unique().tolist() == [3]
    assert read.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("damage", [truncate, flip, empty, Path.unlink])
@pytest.mark.parametrize("split", SPLITS)
def test_a_damaged_file_is_made_again(tmp_path: Path, split: str, damage: Callable[[Path], None]) -> None:
    source = Source()
    digest = Store(tmp_path, "v", source).digest
    damage(tmp_path / f"{split}.safetensors")
    store = Store(tmp_path, "v", source)
    assert len(store.read(split).labels) == store.counts[split]
    assert store.digest == digest
    assert source.made == 2


def test_another_source_is_decoded(tmp_path: Path) -> None:
    source = Source()
    Store(tmp_path, "v", source)
    Store(tmp_path, "w", source)
    assert source.made == 2


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match=r"cannot be written to .*file/cache"):
        Store(tmp_path / "file/cache", "v", Source())

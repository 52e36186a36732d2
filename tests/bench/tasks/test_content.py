"""The digest of a folder is of its images: whatever changes a number changes it, and nothing else does."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from bench import tasks


@pytest.fixture
def folder(tmp_path: Path, paint) -> Path:
    paint(tmp_path / "set/train", ["cat", "dog"], 4, size=8)
    paint(tmp_path / "set/test", ["cat", "dog"], 2, size=8)
    return tmp_path / "set"


def digest(folder: Path, cache: Path) -> str:
    return tasks.folder_images(f"folder:{folder}", cache).digest


def keep_times(path: Path, change: Callable[[], None]) -> None:
    """A change that keeps size and modification time, as a careless copy does."""
    status = path.stat()
    change()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def other_bytes(folder: Path) -> None:
    path = folder / "train/cat/1.png"
    whole = bytearray(path.read_bytes())
    whole[-20] ^= 1
    keep_times(path, lambda: path.write_bytes(whole) and None)


def swapped(folder: Path) -> None:
    one, other = folder / "train/cat/1.png", folder / "train/dog/1.png"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "other bytes": (other_bytes, "train/cat has other images"),
    "swapped": (swapped, "train/cat has other images, train/dog has other images"),
    "added": (
        lambda f: shutil.copy(f / "train/cat/0.png", f / "train/cat/9.png"),
        "train/cat has 5 images instead of 4",
    ),
    "removed": (lambda f: (f / "test/dog/1.png").unlink(), "test/dog has 1 images instead of 2"),
    "renamed": (lambda f: (f / "train/cat/3.png").rename(f / "train/cat/z.png"), "train/cat has other images"),
    "a class more": (lambda f: shutil.copytree(f / "train/cat", f / "train/eel"), "train/eel is new"),
    "a class renamed": (
        lambda f: [(f / part / "dog").rename(f / part / "ant") for part in ("train", "test")],
        "train/dog is gone, test/dog is gone, train/ant is new and 1 more",
    ),
    "a validation split": (
        lambda f: shutil.copytree(f / "test", f / "val"),
        "validation/cat is new, validation/dog is new",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_and_named(folder: Path, tmp_path: Path, change: str) -> None:
    cache, (apply, told) = tmp_path / "cache", CHANGES[change]
    before = digest(folder, cache)
    apply(folder)
    now = tasks.folder_images(f"folder:{folder}", cache)
    assert now.digest != before
    assert f"({told}): runs begin anew" in now.note
    assert tasks.folder_images(f"folder:{folder}", cache).note == ""
    assert tasks.what_changed(f"folder:{folder}", cache, before) == told
    assert digest(folder, tmp_path / "empty") == now.digest  # what is remembered changes no digest


@pytest.mark.parametrize("change", ["touched", "copied", "other files", "no cache"])
def test_what_changes_no_number_changes_no_digest(folder: Path, tmp_path: Path, change: str) -> None:
    cache, where = tmp_path / "cache", folder
    before = digest(folder, cache)
    if change == "touched":
        (folder / "train/cat/0.png").touch()
    elif change == "copied":
        where = Path(shutil.copytree(folder, tmp_path / "elsewhere/other"))
    elif change == "other files":
        (folder / "train/cat/notes.txt").write_text("no image")
    else:
        shutil.rmtree(cache)
    now = tasks.folder_images(f"folder:{where}", cache)
    assert (now.digest, now.note) == (before, "")


def test_only_what_changed_is_read_again(folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        tasks.folder_images(f"folder:{folder}", tmp_path / "cache", lambda *done: seen.append(done))
    assert seen == [(4, 12), (8, 12), (10, 12), (12, 12)]
    Image.new("RGB", (8, 8)).save(folder / "test/dog/0.png")
    tasks.folder_images(f"folder:{folder}", tmp_path / "cache", lambda *done: seen.append(done))
    assert seen[4:] == [(2, 2)]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"format": 0}'])
def test_a_damaged_memory_is_made_again(folder: Path, tmp_path: Path, damage: str) -> None:
    cache = tmp_path / "cache"
    before = digest(folder, cache)
    (file,) = cache.glob("content-*.json")
    file.write_text(damage)
    assert digest(folder, cache) == before
    cache_that_is_a_file = tmp_path / "file"
    cache_that_is_a_file.touch()
    assert digest(folder, cache_that_is_a_file / "cache") == before


def test_named_sets_are_their_name(tmp_path: Path) -> None:
    assert tasks.folder_images("digits", tmp_path) == tasks.FolderImages("", "")

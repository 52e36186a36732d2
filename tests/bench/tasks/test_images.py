"""Image folders: classes in label order, and listings that notice changes."""

from pathlib import Path

import pytest

from bench.errors import BenchError, MissingData
from bench.tasks.images import class_names, scan


def test_classes_sort_as_text_but_numbers_by_value(tmp_path: Path) -> None:
    for name in ("10", "9", "bird", ".hidden"):
        (tmp_path / name).mkdir()
    assert class_names(tmp_path) == ("9", "10", "bird")


def test_a_listing_is_sorted_and_sees_images_only(tmp_path: Path, paint) -> None:
    paint(tmp_path, ["b", "a/deep"], 2)
    (tmp_path / "a/notes.txt").write_text("no image")
    found = scan(tmp_path)
    assert [Path(p).relative_to(tmp_path).as_posix() for p in found.paths] == [
        *("a/deep/0.png", "a/deep/1.png"),
        *("b/0.png", "b/1.png"),
    ]
    assert found.labels == [0, 0, 1, 1]


def test_what_changes_a_stamp_and_a_digest(tmp_path: Path, paint) -> None:
    paint(tmp_path / "one", ["a", "b"], 2)
    paint(tmp_path / "two/one", ["a", "b"], 2)
    one, copy = scan(tmp_path / "one"), scan(tmp_path / "two/one")
    assert one.digest == copy.digest  # same names and sizes elsewhere
    (tmp_path / "one/a/0.png").touch()
    touched = scan(tmp_path / "one")
    assert (touched.digest, touched.stamp != one.stamp) == (one.digest, True)
    (tmp_path / "one/a/0.png").rename(tmp_path / "one/b/9.png")
    assert scan(tmp_path / "one").digest != one.digest


def test_a_folder_that_is_not_as_it_should_be_is_told(tmp_path: Path, paint) -> None:
    with pytest.raises(MissingData, match=r"no folder .*nothing"):
        scan(tmp_path / "nothing")
    paint(tmp_path / "train", ["a"], 1)
    (tmp_path / "train/b").mkdir()
    with pytest.raises(MissingData, match=r"no images in .*train/b"):
        scan(tmp_path / "train")
    with pytest.raises(BenchError, match="class 'a' that the training images do not have"):
        scan(tmp_path / "train", ["b"])

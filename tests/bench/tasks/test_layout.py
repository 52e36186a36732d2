"""Which folder is which split, and folders that are refused, each with its likely cause."""

import os
from pathlib import Path

import pytest

from bench.errors import BenchError, MissingData
from bench.tasks.layout import layout

TWO = ["cat", "dog"]


def counts(load, folder: Path, more: str = "") -> dict[str, int]:
    return load(f"folder:{folder}{more}").counts


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_val_is_the_validation_split(load, tmp_path: Path, paint, name: str) -> None:
    for part, count in (("train", 10), (name, 4), ("test", 3)):
        paint(tmp_path / part, TWO, count, 16)
    task = load(f"folder:{tmp_path}")
    assert task.counts == {"train": 20, "validation": 8, "test": 6}
    batches = task.evaluation("validation", batch=9, image_size=16, channels_last=False)
    assert [labels.tolist() for _, labels in batches] == [[0] * 4 + [1] * 4]


def test_val_is_the_test_split_where_the_user_says_so(load, tmp_path: Path, paint) -> None:
    paint(tmp_path / "train", TWO, 10, 16)
    paint(tmp_path / "val", TWO, 3, 16)
    with pytest.raises(
        MissingData, match=r"has train and val, .* but no test; .* use val as the test split .*,val=test$"
    ):
        layout(f"folder:{tmp_path}")
    assert counts(load, tmp_path, ",val=test") == {"train": 18, "validation": 2, "test": 6}
    paint(tmp_path / "test", TWO, 3, 16)
    with pytest.raises(BenchError, match="leave out val=test"):
        layout(f"folder:{tmp_path},val=test")


def test_val_that_is_not_there(tmp_path: Path, paint) -> None:
    paint(tmp_path / "train", TWO, 2)
    with pytest.raises(MissingData, match="neither test nor val"):
        layout(f"folder:{tmp_path}")
    paint(tmp_path / "test", TWO, 2)
    with pytest.raises(MissingData, match=r"val=test uses the folder val .* has none; leave it out"):
        layout(f"folder:{tmp_path},val=test")


@pytest.mark.parametrize("inner", ["", "test"])
def test_a_test_folder_without_classes_beside_a_val_with_classes(load, tmp_path: Path, paint, inner: str) -> None:
    """Kaggle's ImageNet, and Kaggle's habit of test/test."""
    paint(tmp_path / "train", TWO, 10, 16)
    paint(tmp_path / "val", TWO, 3, 16)
    paint(tmp_path / "flat", ["x"], 5, 16)
    (tmp_path / "test").mkdir()
    (tmp_path / "flat/x").rename(tmp_path / "test" / (inner or "x"))
    if not inner:
        for path in (tmp_path / "test/x").iterdir():
            path.rename(tmp_path / "test" / path.name)
        (tmp_path / "test/x").rmdir()
    with pytest.raises(MissingData, match=r"has 5 images without classes; as in Kaggle's ImageNet .*,val=test$"):
        layout(f"folder:{tmp_path}")
    task = load(f"folder:{tmp_path},val=test")
    assert task.counts == {"train": 18, "validation": 2, "test": 6}
    assert "val is the test split, and the images without classes in test are not used" in task.found


def test_a_val_folder_without_classes(tmp_path: Path, paint) -> None:
    paint(tmp_path / "train", TWO, 2)
    paint(tmp_path, ["val", "other"], 4)
    with pytest.raises(
        MissingData, match=r"images of val lie in .*, but .*/val has 4 images without classes; sort them"
    ):
        layout(f"folder:{tmp_path},val=test")


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (["cat"], "has one, 'cat'; add the others"),
        (
            ["images/cat", "images/dog"],
            r"has one, 'images', with 2 sub-folders: .* one level too deep; move them up to train",
        ),
        (["train/cat", "train/dog", "train/cow"], r"has one, 'train', with 3 sub-folders: .* one level too deep"),
        (["cat", "__MACOSX", ".cache"], "has one, 'cat'"),
    ],
)
def test_one_class_is_refused_with_the_likely_cause(tmp_path: Path, paint, classes: list[str], told: str) -> None:
    paint(tmp_path / "train", classes, 2)
    paint(tmp_path / "test", classes, 2)
    with pytest.raises(BenchError, match=rf"needs two classes at least, but .*/train {told}") as caught:
        layout(f"folder:{tmp_path}")
    assert "\n" not in str(caught.value)


def test_images_without_classes_are_told(tmp_path: Path, paint) -> None:
    paint(tmp_path, ["train", "test"], 3)
    with pytest.raises(MissingData, match=r"/train has 3 images and no sub-folders; sort them into classes"):
        layout(f"folder:{tmp_path}")


def test_the_wrong_folder_is_told_with_the_right_one(tmp_path: Path, paint) -> None:
    paint(tmp_path / "set/train", TWO, 2)
    paint(tmp_path / "set/test", TWO, 2)
    with pytest.raises(MissingData, match=rf"the task is the folder above it: folder:{tmp_path}/set$"):
        layout(f"folder:{tmp_path}/set/train")
    with pytest.raises(MissingData, match=rf"one level deeper: write folder:{tmp_path}/set$"):
        layout(f"folder:{tmp_path}")
    paint(tmp_path / "plain", TWO, 2)
    with pytest.raises(MissingData, match=r"are the classes, move them into train and test"):
        layout(f"folder:{tmp_path}/plain")
    with pytest.raises(MissingData, match=r"no folder .*nowhere/train; it must have"):
        layout(f"folder:{tmp_path}/nowhere")


def test_two_validation_folders_and_links_to_the_training_images_are_refused(tmp_path: Path, paint) -> None:
    paint(tmp_path / "train", TWO, 2)
    os.symlink("train", tmp_path / "test")
    with pytest.raises(BenchError, match=r"test is a link to .*train; remove it"):
        layout(f"folder:{tmp_path}")
    (tmp_path / "test").unlink()
    for part in ("test", "val", "valid"):
        paint(tmp_path / part, TWO, 1)
    with pytest.raises(BenchError, match="has val and valid; merge or remove one"):
        layout(f"folder:{tmp_path}")


def test_one_training_image_to_a_class_is_refused_unless_there_is_val(load, tmp_path: Path, paint) -> None:
    paint(tmp_path / "train", ["cat"], 3)
    paint(tmp_path / "train", ["dog"], 1)
    paint(tmp_path / "test", TWO, 1)
    with pytest.raises(BenchError, match=r"two training images, one of them to validate on, but 'dog' in .* has one"):
        load(f"folder:{tmp_path}")
    paint(tmp_path / "val", TWO, 1)
    assert load(f"folder:{tmp_path}").counts == {"train": 4, "validation": 2, "test": 2}


def test_what_was_found_is_one_line(load, tmp_path: Path, paint) -> None:
    paint(tmp_path / "train", [*TWO, "eel"], 10)
    paint(tmp_path / "test", TWO, 2)
    (tmp_path / "train/cat/notes.txt").touch()
    (tmp_path / "test/dog/.x.png").touch()
    task = load(f"folder:{tmp_path}")
    assert task.info.names == ("cat", "dog", "eel")
    assert task.found == (
        f"folder:{tmp_path}: train 27 images of 3 classes, validation 3 images of 3 classes, test 4 images of 2 classes; "
        "not read: 1 .txt, 1 hidden files"
    )
    assert load("digits").found == (
        "digits: train 1,079 images of 10 classes, validation 359 images of 10 classes, test 359 images of 10 classes"
    )

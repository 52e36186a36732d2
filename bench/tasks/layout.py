"""Which folder below ``folder:PATH`` is which split. What is not as it should be is refused, with its likely cause."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError, MissingData
from bench.tasks.images import Listing, class_folders, class_names, loose_images

PREFIX = "folder:"
VAL_IS_TEST = ",val=test"
VALIDATION = ("val", "valid", "validation")
"""The names that the folder of the validation images may have."""


@dataclass(frozen=True)
class Layout:
    """The folders of the splits; without one of validation images, these are cut from the training images."""

    train: Path
    validation: Path | None
    test: Path


def folder_of(name: str) -> Path:
    """The folder of a task named ``folder:PATH`` or ``folder:PATH,val=test``."""
    return Path(name.removeprefix(PREFIX).removesuffix(VAL_IS_TEST)).expanduser()


def layout(name: str) -> Layout:
    """The splits of a task by its name: ``folder:PATH``, or ``folder:PATH,val=test`` to use ``val`` as the test split.

    Raises:
        MissingData: a split is not there.
        BenchError: the folders are not those of a classification.
    """
    folder = folder_of(name)
    train = _train(folder)
    _require_classes(train)
    val = _validation(folder)
    test = folder / "test"
    if name.endswith(VAL_IS_TEST):
        found = _val_as_test(folder, train, val)
    elif not test.is_dir():
        raise MissingData(_no_test(folder, val))
    else:
        found = Layout(train, val, test)
    for held_out in (found.validation, found.test):
        _require_held_out(held_out, train, name, val)
    return found


def _train(folder: Path) -> Path:
    train = folder / "train"
    if train.is_dir():
        return train
    got = f"no folder {train.resolve()}; it must have one sub-folder of images per class"
    if (folder.parent / "train").is_dir() and folder.resolve() == (folder.parent / "train").resolve():
        raise MissingData(f"{got}; the task is the folder above it: {PREFIX}{folder.parent}")
    inner = [path for path in _folders(folder) if (path / "train").is_dir()]
    if inner:
        raise MissingData(f"{got}; it is one level deeper: write {PREFIX}{inner[0]}")
    if _folders(folder):
        raise MissingData(f"{got}; if those of {folder.resolve()} are the classes, move them into train and test")
    raise MissingData(got)


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []


def _require_classes(train: Path) -> None:
    """Refuse training images without classes, or of one class only."""
    loose = loose_images(train)
    if loose and not any(path.is_dir() for path in train.iterdir()):
        raise MissingData(
            f"training images lie in one sub-folder per class, but {train.resolve()} has {loose:,} images and no sub-folders; "
            "sort them into classes"
        )
    names = class_names(train)
    if len(names) > 1:
        return
    (only,) = names
    inner = len(_folders(train / class_folders(train)[only]))
    got = f"a classification needs two classes at least, but {train.resolve()} has one, {only!r}"
    if inner > 1:
        raise BenchError(
            f"{got}, with {inner} sub-folders: these seem to be the classes, one level too deep; move them up to {train.name}"
        )
    raise BenchError(f"{got}; add the others")


def _validation(folder: Path) -> Path | None:
    found = [folder / part for part in VALIDATION if (folder / part).is_dir()]
    if len(found) > 1:
        raise BenchError(
            f"validation images lie in one folder, but {folder.resolve()} has {' and '.join(path.name for path in found)}; "
            "merge or remove one"
        )
    return found[0] if found else None


def _val_as_test(folder: Path, train: Path, val: Path | None) -> Layout:
    if val is None:
        raise MissingData(
            f"val=test uses the folder val as the test split, but {folder.resolve()} has none; leave it out"
        )
    test = folder / "test"
    if test.is_dir() and not _is_flat(test):
        raise BenchError(
            f"there is one test split, but {folder.resolve()} has a test folder with classes, and {val.name} was named as the "
            "test split too; leave out val=test, and it is the validation split"
        )
    return Layout(train, None, val)


def _no_test(folder: Path, val: Path | None) -> str:
    if val is None:
        return f"{folder.resolve()} has neither test nor val beside train; add one of them"
    return (
        f"{folder.resolve()} has train and {val.name}, which is the validation split, but no test; add test, or use "
        f"{val.name} as the test split (as is usual with ImageNet): {PREFIX}{folder}{VAL_IS_TEST}"
    )


def _is_flat(folder: Path) -> bool:
    """Whether there are no class folders, or only one that is none of a class: Kaggle's "test/test"."""
    folders = _folders(folder)
    return not folders or (len(folders) == 1 and folders[0].name == folder.name)


def _require_held_out(folder: Path | None, train: Path, name: str, val: Path | None) -> None:
    """Refuse held-out images without classes, and those that are the training images."""
    if folder is None:
        return
    if folder.resolve() == train.resolve():
        raise BenchError(f"held-out images are none of the training's, but {folder} is a link to {train}; remove it")
    if not _is_flat(folder):
        return
    images = loose_images(folder) or sum(map(loose_images, _folders(folder)))
    where = f"{folder.resolve()} has {images:,} images without classes"
    got = f"images of {folder.name} lie in one sub-folder per class, but {where}"
    if folder.name == "test" and val is not None:
        raise MissingData(
            f"{got}; as in Kaggle's ImageNet their classes are not known, so use {val.name} as the test split: "
            f"{name}{VAL_IS_TEST}"
        )
    raise MissingData(f"{got}; sort them into the classes of the training images, or use others")


def require_two(train: Listing, folder: Path) -> None:
    """Refuse a class with one training image, of which none would be left to validate on."""
    for label, count in sorted(Counter(train.labels).items()):
        if count == 1:
            raise BenchError(
                f"each class needs two training images, one of them to validate on, but {train.classes[label]!r} in "
                f"{folder.resolve()} has one; add some, or add validation images in {folder.resolve().parent / 'val'}"
            )

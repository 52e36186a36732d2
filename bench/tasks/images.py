"""Image folders: which files belong to which class, in which order the classes are, and what is not read."""

from __future__ import annotations

import difflib
import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError, MissingData

EXTENSIONS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".webp", ".avif", ".bmp", ".dib", ".gif", ".tga"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff", ".jp2", ".j2k", ".jpx"),
)
"""Files that are read; Pillow recognises their format by their content."""

SYSTEM = ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__", "#recycle")
"""Folders that operating systems, file servers and archivers leave behind, in lower case."""


@dataclass(frozen=True)
class Listing:
    """The images below a folder that has one sub-folder per class; ``labels`` has the class of each of ``paths``.

    ``stamps`` has a hash of the names, sizes and times of each class's files, which changes with an edited file.
    ``skipped`` counts what was not read, by kind: a file's extension, or "hidden files", "hidden folders", "system folders".
    """

    classes: tuple[str, ...]
    paths: list[str]
    labels: list[int]
    stamps: Mapping[str, str]
    folder: str
    skipped: Mapping[str, int] = field(default_factory=Counter)

    @property
    def stamp(self) -> str:
        """All stamps as one."""
        return hashlib.sha256(repr(sorted(self.stamps.items())).encode()).hexdigest()

    def by_class(self) -> dict[str, list[tuple[str, str]]]:
        """The files of each class that has some, in label order: path, and name below the class's folder."""
        found: dict[str, list[tuple[str, str]]] = {}
        for path, label in zip(self.paths, self.labels, strict=True):
            inner = path[len(self.folder) :].lstrip(os.sep).partition(os.sep)[2]
            found.setdefault(self.classes[label], []).append((path, inner))
        return found

    @property
    def present(self) -> int:
        """The number of classes that have images here."""
        return len(set(self.labels))


def class_folders(folder: Path, skipped: Counter[str] | None = None) -> dict[str, str]:
    """The class folders in label order, by the class's name: its normal form (NFC), as file systems write it in several.

    The order is that of torchvision's `ImageFolder`: sorted by characters, so that "10" comes before "9".

    Raises:
        MissingData: there is no such folder, or it has no class folders.
        BenchError: a name is not UTF-8, or two names differ in their normal form only.
    """
    found: dict[str, str] = {}
    for entry in sorted(_entries(folder), key=lambda entry: entry.name):
        if not entry.is_dir() or _ignored(entry, Counter() if skipped is None else skipped):
            continue
        name = unicodedata.normalize("NFC", entry.name)
        if name in found:
            raise BenchError(
                f"names of classes must differ, but {folder.resolve()} has two folders {name!r} that differ only in Unicode's "
                f"normal form; merge them"
            )
        found[name] = entry.name
    if not found:
        raise MissingData(f"{folder.resolve()} has no sub-folders; it must have one sub-folder of images per class")
    return found


def class_names(folder: Path) -> tuple[str, ...]:
    """The names of `class_folders`."""
    return tuple(class_folders(folder))


def earlier_order(names: Iterable[str]) -> tuple[str, ...]:
    """The label order of the first versions of the suite: sorted as text, but numbers by value."""
    return tuple(sorted(names, key=lambda name: (name.zfill(12) if name.isdecimal() else name, name)))


def loose_images(folder: Path) -> int:
    """How many images lie in the folder itself, in no class; 0 where there is no folder."""
    try:
        return sum(_is_image(entry.name) and entry.is_file() for entry in os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return 0


def scan(folder: Path, classes: Sequence[str] | None = None) -> Listing:
    """Lists the images of each class, at any depth, sorted by name.

    Args:
        folder: has one sub-folder per class.
        classes: the label order, where another split has fixed it; this folder may then lack some classes.

    Raises:
        MissingData: there is no folder, or a class without images.
        BenchError: a class folder is not among ``classes``, a name is not UTF-8, or a link leads to a folder above it.
    """
    skipped = Counter[str]()
    own = class_folders(folder, skipped)
    names = tuple(classes or own)
    if extra := sorted(set(own) - set(names)):
        raise BenchError(
            f"{folder.resolve()} has a class {extra[0]!r} that the training images do not have; remove it"
            f"{_nearest(extra[0], names)}"
        )
    paths: list[str] = []
    labels: list[int] = []
    stamps = dict[str, str]()
    for name, directory in own.items():
        files = sorted(_files(os.path.join(folder, directory), [os.path.realpath(folder)], skipped))
        if not files:
            raise MissingData(_no_images(folder / directory, skipped))
        stamp = hashlib.sha256()
        for path, status in files:
            line = f"{path[len(str(folder)) :]} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n"
            stamp.update(line.encode())
        stamps[name] = stamp.hexdigest()
        paths += [path for path, _ in files]
        labels += [names.index(name)] * len(files)
    loose = loose_images(folder)
    if loose:
        skipped["images in no class"] += loose
    return Listing(names, paths, labels, stamps, str(folder), skipped)


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.casefold(), [one.casefold() for one in names], n=1, cutoff=0.8)
    return next((f", or rename it to {one!r}" for one in names if near and one.casefold() == near[0]), "")


def _no_images(folder: Path, skipped: Counter[str]) -> str:
    text = f"no images in {folder.resolve()}; add some ({', '.join(EXTENSIONS)}) or remove it"
    return f"{text} (not read so far: {told(skipped)})" if skipped else text


def not_read(listings: Iterable[Listing]) -> tuple[str, ...]:
    """One note with all that was not read below several folders; none where everything was."""
    skipped = sum((Counter(listing.skipped) for listing in listings), Counter[str]())
    return (f"not read: {told(skipped)}",) if skipped else ()


def told(skipped: Mapping[str, int]) -> str:
    """What was not read, with its counts, the most frequent kinds first."""
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(skipped.items(), key=lambda one: (-one[1], one[0])))


def _entries(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """What is in a folder; every name is UTF-8."""
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        where = Path(folder).resolve()
        raise MissingData(f"no folder {where}; it must have one sub-folder of images per class") from None
    with entries:
        for entry in entries:
            if not entry.name.isascii():
                _require_utf8(entry)
            yield entry


def _require_utf8(entry: os.DirEntry[str]) -> None:
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        path = os.fsencode(entry.path).decode(errors="backslashreplace")
        raise BenchError(
            f"names must be UTF-8, but that of {path} is not; rename it (convmv does it for all)"
        ) from None


def _ignored(entry: os.DirEntry[str], skipped: Counter[str]) -> bool:
    """Whether a folder is hidden or one of a system; it is then counted."""
    if entry.name.startswith("."):
        skipped["hidden folders"] += 1
        return True
    if entry.name.lower() in SYSTEM:
        skipped["system folders"] += 1
        return True
    return False


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def _files(folder: str, above: Sequence[str], skipped: Counter[str]) -> Iterator[tuple[str, os.stat_result]]:
    """The images in a folder and below; ``above`` are the real paths of the folders that it was reached through."""
    real = os.path.realpath(folder)
    if any(_within(one, real) for one in above):
        raise BenchError(
            f"a folder of images must not lead back to one above it, but {folder} is a link to {real}; remove it"
        )
    for entry in _entries(folder):
        if entry.is_dir():
            if not _ignored(entry, skipped):
                yield from _files(entry.path, [*above, real], skipped)
        elif _is_image(entry.name) and entry.is_file():
            yield entry.path, entry.stat()
        else:
            skipped[_kind(entry)] += 1


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep)


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.name.startswith("."):
        return "hidden files"
    if not entry.is_file():
        return "broken links" if entry.is_symlink() else "special files"
    return os.path.splitext(entry.name)[1].lower() or "files without an extension"

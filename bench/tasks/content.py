"""What is in the files of an image folder: a digest of all its images by class, and what changed since another one.

Names, sizes and times are compared first; the files of a class are read again only where one of these differs. What was found
is kept in the cache, by digest, so that a change can be named later.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import MissingData
from bench.records.files import write_json
from bench.tasks.base import Progress
from bench.tasks.images import Listing

FORMAT = 1
REMEMBERED = 8  # contents of a folder
SHORT = 16  # hex digits that enter a run's id


@dataclass(frozen=True)
class Content:
    """The digest of a folder's images, and of each class: its number of images and their digest, by "split/class"."""

    digest: str
    classes: Mapping[str, tuple[int, str]]


def content(folder: Path, parts: Mapping[str, Listing], cache: Path, progress: Progress | None = None) -> Content:
    """The content of the splits of a folder; ``progress`` is called with (images read, images to read).

    Raises:
        MissingData: a file cannot be read.
    """
    known = _known(folder, cache)
    stamps: dict[str, list[Any]] = known["stamps"]
    fresh = {
        f"{part}/{name}": files
        for part, listing in parts.items()
        for name, files in listing.by_class().items()
        if stamps.get(f"{part}/{name}", [""])[0] != listing.stamps[name]
    }
    total, done = sum(map(len, fresh.values())), 0
    found: dict[str, tuple[int, str]] = {}
    with ThreadPoolExecutor(min(8, 1 + (os.cpu_count() or 1))) as pool:
        for part, listing in parts.items():
            for name, files in listing.by_class().items():
                key = f"{part}/{name}"
                if key not in fresh:
                    found[key] = (len(files), stamps[key][1])
                    continue
                found[key] = (len(files), _digest(list(pool.map(_line, files))))
                done += len(files)
                if progress is not None:
                    progress(done, total)
    made = Content(_digest([f"{key} {count} {digest}" for key, (count, digest) in found.items()]), found)
    if fresh or made.digest not in known["contents"]:
        now = {f"{part}/{name}": listing.stamps[name] for part, listing in parts.items() for name in listing.stamps}
        _remember(folder, cache, known, made, now)
    return made


def changed(folder: Path, cache: Path, before: str, now: Content) -> str:
    """What differs from the content whose digest begins with ``before``, in words."""
    contents: dict[str, dict[str, list[Any]]] = _known(folder, cache)["contents"]
    old = next((classes for digest, classes in contents.items() if digest.startswith(before)), None)
    if old is None:
        return "their digest is another"
    lines = [f"{key} is gone" for key in old if key not in now.classes]
    lines += [f"{key} is new" for key in now.classes if key not in old]
    for key, (count, digest) in now.classes.items():
        if key in old and old[key][0] != count:
            lines.append(f"{key} has {count:,} images instead of {old[key][0]:,}")
        elif key in old and old[key][1] != digest:
            lines.append(f"{key} has other images")
    if not lines:
        return "the order of the classes is another"
    return ", ".join(lines[:3]) + (f" and {len(lines) - 3} more" if len(lines) > 3 else "")


def latest(folder: Path, cache: Path) -> str:
    """The digest of the content that was seen last; "" where none was."""
    contents: dict[str, Any] = _known(folder, cache)["contents"]
    return list(contents)[-1] if contents else ""


def _line(place: tuple[str, str]) -> str:
    """One file: its name below its class, in normal form, and the digest of its bytes."""
    path, inner = place
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MissingData(
            f"image {path} cannot be read ({error.strerror}); restore it from its source, or delete it"
        ) from None
    return f"{unicodedata.normalize('NFC', inner)} {digest}"


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _file(folder: Path, cache: Path) -> Path:
    return cache / f"content-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]}.json"


def _known(folder: Path, cache: Path) -> dict[str, Any]:
    """What was found before: the stamp and the digest of each class as they were last, and the last contents by digest."""
    with contextlib.suppress(OSError, ValueError):
        values = json.loads(_file(folder, cache).read_text())
        if isinstance(values, dict) and values.get("format") == FORMAT:
            return values
    return {"stamps": {}, "contents": {}}


def _remember(folder: Path, cache: Path, known: dict[str, Any], made: Content, stamps: Mapping[str, str]) -> None:
    contents = {digest: classes for digest, classes in known["contents"].items() if digest != made.digest}
    contents[made.digest] = {key: list(value) for key, value in made.classes.items()}
    last = dict(list(contents.items())[-REMEMBERED:])
    kept = {key: [stamp, made.classes[key][1]] for key, stamp in stamps.items()}
    with contextlib.suppress(OSError):  # only the time to read the images again is lost
        values = {"format": FORMAT, "folder": str(folder.resolve()), "stamps": kept, "contents": last}
        write_json(_file(folder, cache), values)

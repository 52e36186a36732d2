"""Tasks by name: the image sets of `bench.tasks.sets`, and ``folder:PATH``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from bench.errors import one_of
from bench.tasks import content as contents
from bench.tasks import sets
from bench.tasks.base import Info, Progress, Task
from bench.tasks.folder import FolderTask, folder_info, listings
from bench.tasks.image_set import ImageSet
from bench.tasks.layout import PREFIX, folder_of


def names() -> list[str]:
    """The names of the image sets, sorted; ``folder:PATH`` is a task too."""
    return sorted(entry.info.name for entry in sets.SETS)


def _find(name: str) -> ImageSet:
    for entry in sets.SETS:
        if entry.info.name == name:
            return entry
    raise one_of("task", name, [*names(), f"{PREFIX}PATH"], see="`bench list tasks`")


def info(name: str, data: Path) -> Info:
    """The facts about a task; decodes no image.

    Raises:
        BenchError: for an unknown name, with the nearest valid one.
        MissingData: there is no folder for ``folder:PATH``. Image sets are looked for below ``data`` only when loaded.
    """
    if name.startswith(PREFIX):
        return folder_info(name)
    return _find(name).info


def load(
    name: str, *, data: Path, cache: Path, device: torch.device, workers: int = 0, progress: Progress | None = None
) -> Task:
    """A task whose training and validation images are ready.

    Args:
        name: one of `names`, or ``folder:PATH``.
        data: the folder of downloaded sets and image folders (``$BENCH_DATA``).
        cache: the folder of decoded images.
        device: the device on which batches are made.
        workers: the number of processes that decode the images of ``folder:PATH``.
        progress: called with (images done, images in all) while an image set is decoded, or a folder's images are read for
            their digest, for the first time.

    Raises:
        BenchError: for an unknown name, or an image that cannot be used.
        MissingData: the images are not there; the message says how to get them.
    """
    if name.startswith(PREFIX):
        return FolderTask(name, device, workers, cache, progress)
    return _find(name).load(data=data, cache=cache, device=device, progress=progress)


@dataclass(frozen=True)
class FolderImages:
    """The images of ``folder:PATH``: the digits of their digest that enter a run's id, and a note where they changed since
    they were last seen."""

    digest: str
    note: str


def folder_images(name: str, cache: Path, progress: Progress | None = None) -> FolderImages:
    """What is in the folder of a task now; nothing for a named set, whose name is its identity.

    Raises:
        BenchError: a folder that is not as it should be.
    """
    if not name.startswith(PREFIX):
        return FolderImages("", "")
    folder, before = folder_of(name), contents.latest(folder_of(name), cache)
    now = contents.content(folder, listings(name), cache, progress)
    note = ""
    if before and before != now.digest:
        note = (
            f"the images of {name} changed since they were last used here ({contents.changed(folder, cache, before, now)}): "
            "runs begin anew with these images, and earlier records stay"
        )
    return FolderImages(now.digest[: contents.SHORT], note)


def what_changed(name: str, cache: Path, before: str) -> str:
    """What differs between the images of a task now and those whose digest begins with ``before``, in words."""
    if not name.startswith(PREFIX):
        return "their digest is another"
    folder = folder_of(name)
    return contents.changed(folder, cache, before, contents.content(folder, listings(name), cache))

"""Tasks: image classification data sets with three fixed splits."""

from bench.tasks.base import Batches, Info, Progress, Task
from bench.tasks.catalog import FolderImages, folder_images, info, load, names, what_changed
from bench.tasks.images import earlier_order
from bench.tasks.layout import PREFIX

__all__ = [
    "PREFIX",
    "Batches",
    "FolderImages",
    "Info",
    "Progress",
    "Task",
    "earlier_order",
    "folder_images",
    "info",
    "load",
    "names",
    "what_changed",
]

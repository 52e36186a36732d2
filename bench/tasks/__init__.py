"""Tasks: image classification data sets with three fixed splits."""

from bench.tasks.base import Batches, Info, Progress, Task
from bench.tasks.catalog import info, load, names

__all__ = ["Batches", "Info", "Progress", "Task", "info", "load", "names"]

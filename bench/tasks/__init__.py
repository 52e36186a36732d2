"""Tasks: image classification data sets with three fixed splits."""

from bench.tasks.base import Batches, Info, Progress, Task
from bench.tasks.catalog import info, load, names
from bench.tasks.images import earlier_order
from bench.tasks.layout import PREFIX

__all__ = ["PREFIX", "Batches", "Info", "Progress", "Task", "earlier_order", "info", "load", "names"]

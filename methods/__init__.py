"""Pruning methods, one file each; the folder is the registry.

The file of a method defines `METHOD` (the frozen dataclass of its hyper-parameters), `SPACE` (Optuna distributions over
fields of it) and `CLAIMS` (the results that its paper reports, as data). Files whose name begins with an underscore hold code
that methods share. Other packages add methods by the entry-point group `bench.methods`.
"""

from __future__ import annotations

from types import ModuleType

from bench import registry


def names() -> list[str]:
    """The names of all methods, sorted."""
    return registry.names(registry.METHODS)


def load(name: str) -> ModuleType:
    """The module of one method, with `METHOD`, `SPACE` and `CLAIMS`. Raises `BenchError` for an unknown name."""
    return registry.load(registry.METHODS, name)

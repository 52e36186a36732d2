"""Pruning methods, one file each; the folder is the registry.

A method's file defines `METHOD` (the frozen dataclass of its hyper-parameters), `SPACE` (Optuna distributions over
fields of it) and `CLAIMS` (what its paper reports, as data). Packages outside add theirs by the entry-point group
`bench.methods`.
"""

from __future__ import annotations

from types import ModuleType

from bench import registry


def names() -> list[str]:
    """The names of all methods, sorted."""
    return registry.names(registry.METHODS)


def load(name: str) -> ModuleType:
    """The module of one method, giving `METHOD`, `SPACE` and `CLAIMS`; an unknown name is a `BenchError`."""
    return registry.load(registry.METHODS, name)

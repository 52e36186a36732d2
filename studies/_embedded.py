"""What studies share: the embedded first look, and how the command line's changes are merged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.errors import BenchError
from bench.study.study import Study

MODELS = ("test_efficientnet", "test_resnet")
RECIPE = ("epochs=15", "batch=64", "lr=0.05")
"""Two small timm architectures for the embedded digits, and a recipe that suits both."""

ONE_SEED = (1000,)
"""The final seed of small sizes: enough to see that everything works."""


def merged(declared: dict[str, Any], changes: dict[str, Any]) -> Study:
    """The study with the command line's changes; its settings come after the study's own, and win."""
    settings = (*declared.get("settings", ()), *changes.get("settings", ()))
    return Study(**{**declared, **changes, "settings": settings})


def named(methods: tuple[str, ...], study: str) -> tuple[str, ...]:
    """The methods, of which a study without its own needs one."""
    if not methods:
        raise BenchError(
            f"{study} is a study of any method, but none was named; `bench study sap --study {study}`, or take a study that "
            "brings its own: `bench list studies`"
        )
    return methods


def only(methods: tuple[str, ...], own: Iterable[str], study: str) -> tuple[str, ...]:
    """The study's own methods, where no other was named."""
    own = tuple(own)
    if set(methods) - set(own):
        raise BenchError(f"{study} is a study of {', '.join(own)}, but got {', '.join(methods)}; leave the method out")
    return own


def among(methods: tuple[str, ...], own: Iterable[str], study: str) -> tuple[str, ...]:
    """The study's own methods, or those of them that were named."""
    own = tuple(own)
    if set(methods) - set(own):
        raise BenchError(f"{study} is a study of {', '.join(own)}, but got {', '.join(methods)}; name some of those")
    return tuple(m for m in own if not methods or m in methods)

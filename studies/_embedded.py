"""What studies share: the models and the recipe for the embedded digits, and how the command line changes a declaration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.errors import BenchError
from bench.study.study import Study

DIGITS = "digits"
"""The embedded data set, which is the default."""

MODELS = ("test_efficientnet", "test_resnet")
RECIPE = ("epochs=15", "batch=64", "lr=0.05")
"""Two small timm architectures for the embedded digits, and a recipe that suits both."""

ONE_SEED = (1000,)
"""The final seed of small sizes: enough to see that everything works."""


def merged(declared: dict[str, Any], changes: dict[str, Any]) -> Study:
    """Returns the study with the command line's changes; settings of the command line come last, and so win."""
    settings = (*declared.get("settings", ()), *changes.get("settings", ()))
    return Study(**{**declared, **changes, "settings": settings})


def on_digits(changes: Mapping[str, Any], settings: tuple[str, ...]) -> tuple[str, ...]:
    """Returns settings that suit the embedded digits; none where the command line names another task."""
    return settings if changes.get("task", DIGITS) == DIGITS else ()


def named(methods: tuple[str, ...], study: str) -> tuple[str, ...]:
    """Returns the methods that were named, for a study without methods of its own.

    Raises:
        BenchError: none was named.
    """
    if not methods:
        raise BenchError(
            f"{study} is a study of any method, but none was named; `bench study sap --study {study}`, or take a study that "
            "brings its own: `bench list studies`"
        )
    return methods


def only(methods: tuple[str, ...], own: Iterable[str], study: str) -> tuple[str, ...]:
    """Returns the study's own methods, for a study that cannot leave one out.

    Raises:
        BenchError: another method was named.
    """
    own = tuple(own)
    if set(methods) - set(own):
        raise BenchError(f"{study} is a study of {', '.join(own)}, but got {', '.join(methods)}; leave the method out")
    return own


def among(methods: tuple[str, ...], own: Iterable[str], study: str) -> tuple[str, ...]:
    """Returns those of the study's own methods that were named; all, where none was.

    Raises:
        BenchError: another method was named.
    """
    own = tuple(own)
    if set(methods) - set(own):
        raise BenchError(f"{study} is a study of {', '.join(own)}, but got {', '.join(methods)}; name some of those")
    return tuple(m for m in own if not methods or m in methods)

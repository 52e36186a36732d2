"""Points of a study that are spelled out, as data: the variants of a grid, and the baselines of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.errors import BenchError


def key_of(setting: str) -> str:
    """The field that a setting such as ``method.p=0.5`` sets."""
    return setting.partition("=")[0].removeprefix("method.").removeprefix("recipe.")


@dataclass(frozen=True)
class Variant:
    """One point of a grid: a method with key=value settings, which win over the study's.

    ``label`` tells the variants of a method apart (it may be empty where there is one), ``group`` says what is compared
    with what, and ``facts`` are numbers that belong beside the result, such as a predicted one. Without ``model`` it runs on
    all of the study's.
    """

    label: str
    method: str
    settings: tuple[str, ...] = ()
    group: str = ""
    facts: Mapping[str, float] = field(default_factory=dict, hash=False)
    model: str = ""

    def __post_init__(self) -> None:
        """A label is part of names of files and of cells."""
        if set(self.label) & set("/:\\\n"):
            raise BenchError(f"labels hold no slash, colon or line break, but got {self.label!r}; write it in words")

    @property
    def keys(self) -> set[str]:
        """The names of the fields that it sets."""
        return set(map(key_of, self.settings))


@dataclass(frozen=True)
class Baseline:
    """What a comparison needs beside its methods, under a name of its own (``label``): a method with key=value settings,
    which win over the study's. Nothing of it is tuned. A method with a target runs at each of the study's."""

    label: str
    method: str
    settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """A label is part of names of files and of cells, where a method's name would stand."""
        if not self.label or set(self.label) & set("/:@\\\n"):
            raise BenchError(
                f"a baseline has a name without slash, colon, at sign or line break, but got {self.label!r}; give it one"
            )

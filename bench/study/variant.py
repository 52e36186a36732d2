"""Points of a study that are written out as data: the variants of a grid, and the baselines of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bench.errors import BenchError


def key_of(setting: str) -> str:
    """Returns the field that a setting such as ``method.p=0.5`` sets."""
    return setting.partition("=")[0].removeprefix("method.").removeprefix("recipe.")


@dataclass(frozen=True)
class Variant:
    """One point of a grid: a method with key=value settings, which win over the study's.

    Attributes:
        label: tells the variants of a method apart; it may be empty where there is one.
        method: the method's name.
        settings: key=value settings.
        group: what is compared with what.
        facts: numbers that are shown beside the result, such as a predicted one.
        model: the only model that it runs on; empty: all of the study's.
    """

    label: str
    method: str
    settings: tuple[str, ...] = ()
    group: str = ""
    facts: Mapping[str, float] = field(default_factory=dict, hash=False)
    model: str = ""

    def __post_init__(self) -> None:
        """A label is part of the names of files and of cells."""
        if set(self.label) & set("/:\\\n"):
            raise BenchError(f"labels hold no slash, colon or line break, but got {self.label!r}; write it in words")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the variant of `dataclasses.asdict`, read back from JSON."""
        return cls(**{**values, "settings": tuple(values["settings"])})

    @property
    def keys(self) -> set[str]:
        """The names of the fields that it sets."""
        return set(map(key_of, self.settings))

    @property
    def named_by(self) -> tuple[Any, ...]:
        """What of it enters the name of its study."""
        values = (self.method, self.label, self.settings)
        return (*values, self.model) if self.model else values


@dataclass(frozen=True)
class Baseline:
    """What a comparison runs besides its methods, under a name of its own: a method with key=value settings, which win over the
    study's. What they leave free is tuned as a method's fields are. One with a target runs at each of the study's targets."""

    label: str
    method: str
    settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """A label is part of the names of files and of cells, where a method's name stands otherwise."""
        if not self.label or set(self.label) & set("/:@\\\n"):
            raise BenchError(
                f"a baseline has a name without slash, colon, at sign or line break, but got {self.label!r}; give it one"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the baseline of `dataclasses.asdict`, read back from JSON."""
        return cls(**{**values, "settings": tuple(values["settings"])})

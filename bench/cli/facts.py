"""What plug-ins, tasks and models say about themselves, as plain values that commands print without importing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from bench.claims import Claim


@dataclass(frozen=True)
class FieldFacts:
    """A field of a configuration. ``tuned`` is the range that SPACE gives it, or ""."""

    name: str
    default: str
    range: str
    help: str
    tuned: str = ""


@dataclass(frozen=True)
class MethodFacts:
    """A method.

    ``document`` is the module's docstring; ``standing`` is "faithful", "reconstruction", or "no paper" where the docstring
    names none; ``reconstruction`` says what in it is not the paper's; ``target`` names the field with the wanted sparsity;
    ``error`` says why the module cannot be used here, and ``problem`` what is wrong with its SPACE. All may be "".
    """

    name: str
    document: str = ""
    standing: str = ""
    reconstruction: str = ""
    target: str = ""
    fields: tuple[FieldFacts, ...] = ()
    claims: tuple[Claim, ...] = ()
    error: str = ""
    problem: str = ""

    @property
    def about(self) -> str:
        """One line."""
        return _about(self.document, self.error)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The facts of `dataclasses.asdict`."""
        fields = tuple(FieldFacts(**field) for field in values["fields"])
        claims = tuple(Claim(**claim) for claim in values["claims"])
        return cls(**{**values, "fields": fields, "claims": claims})


@dataclass(frozen=True)
class StudyFacts:
    """A study: its module's docstring, and why the module cannot be used here, or ""."""

    name: str
    document: str = ""
    error: str = ""

    @property
    def about(self) -> str:
        """One line."""
        return _about(self.document, self.error)


@dataclass(frozen=True)
class Catalogue:
    """Everything that `bench list` and `bench show` print about what is installed.

    ``tasks`` are names with a line about each; ``models`` are names in timm's order, ``families`` those that are not timm's.
    """

    methods: tuple[MethodFacts, ...]
    studies: tuple[StudyFacts, ...]
    tasks: tuple[tuple[str, str], ...]
    models: tuple[str, ...]
    families: tuple[str, ...]
    run: tuple[FieldFacts, ...]
    recipe: tuple[FieldFacts, ...]

    def method(self, name: str) -> MethodFacts | None:
        """The facts about a method; None if there is none of this name."""
        return next((method for method in self.methods if method.name == name), None)

    def setting_keys(self, method: MethodFacts) -> dict[str, str]:
        """Every key that can be set for a run of a method, with its part: "run", "recipe" or "method"."""
        parts = {"run": self.run, "recipe": self.recipe, "method": method.fields}
        return {field.name: part for part, found in parts.items() for field in found}

    def to_dict(self) -> dict[str, Any]:
        """All facts as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The catalogue of `to_dict`."""
        return cls(
            methods=tuple(MethodFacts.from_dict(method) for method in values["methods"]),
            studies=tuple(StudyFacts(**study) for study in values["studies"]),
            tasks=tuple((name, about) for name, about in values["tasks"]),
            models=tuple(values["models"]),
            families=tuple(values["families"]),
            run=tuple(FieldFacts(**field) for field in values["run"]),
            recipe=tuple(FieldFacts(**field) for field in values["recipe"]),
        )


def _about(document: str, error: str) -> str:
    if error:
        return f"not usable here: {error}"
    return document.strip().partition("\n")[0]

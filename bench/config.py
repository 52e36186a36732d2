"""Frozen, checked configuration: typed fields with ranges, a JSON form, and the part of it that makes a run's identity.

A configuration is a frozen dataclass that derives from `Config` and declares its fields with `hp`:

    @dataclass(frozen=True)
    class Gradual(Config):
        final: float = hp(0.8, low=0.0, high=1.0, help="sparsity at the end")

A value outside the declared type, range or choices raises `BenchError` when the object is made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from bench.errors import BenchError, one_of


def hp(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[Any, ...] | None = None,
    help: str = "",
    identity: bool = True,
) -> Any:
    """Returns a field with its default, its closed (``low``, ``high``) or open (``above``, ``below``) range, and its help.

    ``identity=False`` marks a field that cannot change a result (device, worker processes): it stays out of the run's id.
    """
    meta = {"low": low, "high": high, "above": above, "below": below, "choices": choices, "help": help}
    return dataclasses.field(default=default, metadata={**meta, "identity": identity})


def hints(cls: type) -> dict[str, Any]:
    """Returns the resolved type of each field of a configuration class."""
    return typing.get_type_hints(cls)


WORDS = {
    **{"true": True, "yes": True, "on": True, "1": True},
    **{"false": False, "no": False, "off": False, "0": False},
}
"""The words that stand for a truth value."""


def cast(hint: Any, value: Any, name: str) -> Any:
    """Returns ``value`` as the type that the field ``name`` declares.

    Args:
        hint: the declared type: a truth value, a number, text, a tuple of these, or one of these or None.
        value: a value of this type, text, or a value from JSON.
        name: of the field, for the message.

    Raises:
        BenchError: the value cannot be of this type.
    """
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(None) in options:
        if value is None or (isinstance(value, str) and value.lower() in ("none", "")):
            return None
        (hint,) = (option for option in options if option is not type(None))
    if typing.get_origin(hint) is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if isinstance(parts, (list, tuple)):
            return tuple(cast(typing.get_args(hint)[0], part, name) for part in parts if part != "")
        found = None
    else:
        found = _scalar(hint, value)
    if found is None:
        raise BenchError(f"`{name}` must be {_type_name(hint)}, but got {value!r}")
    return found


def _scalar(hint: Any, value: Any) -> Any:
    """A truth value, text or a finite number; None where the value is of another type."""
    if hint is bool:
        return WORDS.get(value.lower()) if isinstance(value, str) else _only(bool, value)
    if hint is str:
        return _only(str, value)
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    if hint is not int:
        return number
    return int(number) if number == int(number) else None


def _only(kind: type, value: Any) -> Any:
    return value if isinstance(value, kind) else None


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"{_type_name(typing.get_args(hint)[0])}s separated by commas"
    return {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}.get(hint, str(hint))


def rule(field: dataclasses.Field[Any]) -> str:
    """Returns the range of a field as text, such as ``0 <= final < 1``; empty where every value of its type is allowed."""
    meta = field.metadata
    if meta.get("choices"):
        return f"{field.name} in {', '.join(map(str, meta['choices']))}"
    left = right = ""
    if meta.get("above") is not None:
        left = f"{meta['above']:g} < "
    elif meta.get("low") is not None:
        left = f"{meta['low']:g} <= "
    if meta.get("below") is not None:
        right = f" < {meta['below']:g}"
    elif meta.get("high") is not None:
        right = f" <= {meta['high']:g}"
    return f"{left}{field.name}{right}" if left or right else ""


def inside(meta: Mapping[str, Any], value: Any) -> bool:
    """Whether a value, or each part of a tuple, lies in the range or among the choices of a field's metadata; None does."""
    if value is None:
        return True
    if meta.get("choices"):
        return value in meta["choices"]
    parts = value if isinstance(value, tuple) else (value,)
    return all(_within(meta, part) for part in parts)


def _within(meta: Mapping[str, Any], number: Any) -> bool:
    low, high, above, below = (meta.get(bound) for bound in ("low", "high", "above", "below"))
    return (
        (low is None or number >= low)
        and (high is None or number <= high)
        and (above is None or number > above)
        and (below is None or number < below)
    )


@dataclass(frozen=True)
class Config:
    """Base class of configurations: checks its fields when it is made, compares and hashes by value, has a JSON form."""

    def __post_init__(self) -> None:
        """Casts and checks each field, then checks the rules between fields."""
        kinds = hints(type(self))  # once, as this takes longer than all the rest
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Config):
                continue
            value = cast(kinds[field.name], value, field.name)
            object.__setattr__(self, field.name, value)
            if not inside(field.metadata, value):
                raise BenchError(f"`{rule(field)}` must hold, but got {field.name}={value!r}")
        self.check()

    def check(self) -> None:
        """Checks the rules between fields. An override raises `BenchError` with the rule, the values and the remedy."""

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as JSON values."""
        return {f.name: _json(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the configuration of `to_dict`.

        Raises:
            BenchError: a name is no field; the message has the nearest valid one.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise one_of(f"field of {cls.__name__}", name, known)
        kinds = hints(cls)
        return cls(**{name: _nested(kinds[name], value) for name, value in values.items()})

    def identity(self) -> dict[str, Any]:
        """Returns the fields that can change a result and differ from their default, sorted by name. The id is their digest.

        So a new field whose default means "no effect" changes no id.
        """
        kept = {}
        for field in sorted(dataclasses.fields(self), key=lambda f: f.name):
            value = getattr(self, field.name)
            if isinstance(value, Config):
                kept[field.name] = value.identity()
            elif field.metadata.get("identity", True) and value != field.default:
                kept[field.name] = _json(value)
        return {"class": type(self).__name__, **kept}


def _nested(hint: Any, value: Any) -> Any:
    """A configuration inside another one, from what `to_dict` made of it."""
    if isinstance(hint, type) and issubclass(hint, Config) and isinstance(value, Mapping):
        return hint.from_dict(value)
    return value


def _json(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


def digest(identity: Mapping[str, Any]) -> str:
    """Returns 12 hex digits of the SHA-256 of the canonical JSON; among 10,000 runs two collide with probability 2e-7."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def owner(key: str, known: Mapping[str, str]) -> tuple[str, str]:
    """The part ("run", "recipe" or "method") and the field that the key of a setting names.

    ``known`` has the part of each field. A key may begin with the name of its part: ``recipe.lr`` is ``lr``.

    Raises:
        BenchError: there is no such field, or not in this part.
    """
    name = key.removeprefix("recipe.").removeprefix("method.")
    if name not in known or (name != key and known[name] != key.partition(".")[0]):
        raise one_of("setting", key, known, see="`bench show run` and `bench show METHOD`")
    return known[name], name

"""Frozen, checked configuration: typed fields with ranges, JSON round trips, and what of it makes a run's identity.

A configuration is a frozen dataclass that derives from `Config` and declares its fields with `hp`:

    @dataclass(frozen=True)
    class Gradual(Config):
        final: float = hp(0.8, low=0.0, high=1.0, help="sparsity at the end")

Values outside the declared type, range or choices are refused when the object is made.
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
    """A field with its default, its closed (``low``, ``high``) or open (``above``, ``below``) range, and one line of help.

    ``identity=False`` marks what cannot change a result (device, worker processes), so it stays out of the run's id.
    """
    meta = {"low": low, "high": high, "above": above, "below": below, "choices": choices, "help": help}
    return dataclasses.field(default=default, metadata={**meta, "identity": identity})


def hints(cls: type) -> dict[str, Any]:
    """The resolved type of each field of a configuration class."""
    return typing.get_type_hints(cls)


def cast(hint: Any, value: Any, name: str) -> Any:
    """``value`` (possibly text, or what JSON made of it) as the type that a field declares; raises `BenchError`."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(None) in options:
        if value is None or (isinstance(value, str) and value.lower() in ("none", "")):
            return None
        (hint,) = (o for o in options if o is not type(None))
    wrong = BenchError(f"`{name}` must be {_type_name(hint)}, but got {value!r}")
    if typing.get_origin(hint) is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)):
            raise wrong
        return tuple(cast(typing.get_args(hint)[0], part, name) for part in parts if part != "")
    if hint is bool:
        words = {
            "true": True,
            "yes": True,
            "on": True,
            "1": True,
            "false": False,
            "no": False,
            "off": False,
            "0": False,
        }
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in words:
            return words[value.lower()]
        raise wrong
    if hint is str:
        if isinstance(value, str):
            return value
        raise wrong
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        raise wrong from None
    if math.isnan(number) or math.isinf(number) or (hint is int and number != int(number)):
        raise wrong
    return int(number) if hint is int else number


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"{_type_name(typing.get_args(hint)[0])}s separated by commas"
    return {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}.get(hint, str(hint))


def rule(field: dataclasses.Field[Any]) -> str:
    """The range of a field as text, such as ``0 <= final < 1``; empty where anything of its type goes."""
    meta = field.metadata
    if meta.get("choices"):
        return f"{field.name} in {', '.join(map(str, meta['choices']))}"
    left = f"{meta['low']:g} <= " if meta.get("low") is not None else ""
    left = f"{meta['above']:g} < " if meta.get("above") is not None else left
    right = f" <= {meta['high']:g}" if meta.get("high") is not None else ""
    right = f" < {meta['below']:g}" if meta.get("below") is not None else right
    return f"{left}{field.name}{right}" if left or right else ""


def inside(meta: Mapping[str, Any], value: Any) -> bool:
    """Whether a value lies in the range or among the choices that a field's metadata declares; None always does."""
    if value is None:
        return True
    if meta.get("choices"):
        return value in meta["choices"]
    for part in value if isinstance(value, tuple) else (value,):
        if (meta.get("low") is not None and part < meta["low"]) or (
            meta.get("high") is not None and part > meta["high"]
        ):
            return False
        if (meta.get("above") is not None and part <= meta["above"]) or (
            meta.get("below") is not None and part >= meta["below"]
        ):
            return False
    return True


@dataclass(frozen=True)
class Config:
    """Base of every configuration: checks its fields when made, compares and hashes by value, goes to JSON and back."""

    def __post_init__(self) -> None:
        """Cast and check each field, then the rules between fields."""
        kinds = hints(type(self))  # once: resolving them takes longer than all the rest
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
        """Rules between fields; raise `BenchError` with the rule, the values and the remedy."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {f.name: _json(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The configuration that `to_dict` described; unknown names are refused with the nearest valid one."""
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise one_of(f"field of {cls.__name__}", name, known)
        kinds = hints(cls)
        return cls(**{name: _nested(kinds[name], value) for name, value in values.items()})

    def identity(self) -> dict[str, Any]:
        """The fields that can change a result and differ from their default, sorted by name: what the id is made of.

        A new field whose default means "no effect" therefore leaves every old id as it was.
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
    inside = isinstance(hint, type) and issubclass(hint, Config) and isinstance(value, Mapping)
    return hint.from_dict(value) if inside else value


def _json(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


def digest(identity: Mapping[str, Any]) -> str:
    """12 hex digits of the SHA-256 of the canonical JSON (two in ten million collide among 10,000 runs)."""
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

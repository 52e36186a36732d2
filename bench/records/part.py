"""Typed records: frozen dataclasses whose fields are checked, and their one way to JSON and back.

@dataclass(frozen=True)
class Sample(Part):
    count: int
    val_top1: float = part("val/top1")      # its key in JSON; NaN means "not measured", and is not written
    reason: str | None = None               # written as null
    commit: str | None = part(default=None)  # not written where it is None
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from bench.errors import Corrupt

REST = "more"  # the field that takes all other keys


def part(key: str = "", *, default: Any = math.nan, omit: bool = True) -> Any:
    """A field with its ``key`` in JSON (by default its name); it is not written while it has its ``default``, unless
    ``omit`` is false."""
    if callable(default):
        return dataclasses.field(default_factory=default, metadata={"key": key, "omit": omit})
    return dataclasses.field(default=default, metadata={"key": key, "omit": omit})


@dataclass(frozen=True)
class Part:
    """Base of all typed records: checks the type of each field when it is made.

    A field named ``more`` of type ``Mapping[str, float]`` takes the keys that no other field has; without one, unknown keys
    are ignored, so that records of a newer version can be read.

    Raises:
        Corrupt: a field has a value of another type, or JSON lacks a field that has no default.
    """

    def __post_init__(self) -> None:
        """Check the type of each field."""
        for field in _fields(type(self)):
            value = self.__dict__[field.name]
            if not field.kind.accepts(value):
                raise Corrupt(
                    f"`{field.key}` of a {type(self).__name__} must be {field.kind.name}, but got {value!r:.80}; "
                    "correct it, or have it written again"
                )

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values, by key."""
        found: dict[str, Any] = {}
        for field in _fields(type(self)):
            value = self.__dict__[field.name]
            if field.name == REST:
                found |= value
            elif not (field.omit and field.is_default(value)):
                found[field.key] = _to_json(value)
        return found

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The record that `to_json` described."""
        if not isinstance(value, Mapping):
            raise Corrupt(f"a {cls.__name__} must be an object in JSON, but got {value!r:.80}; have it written again")
        made: dict[str, Any] = {}
        for field in _fields(cls):
            if field.name == REST:
                known = {other.key for other in _fields(cls)}
                made[REST] = {key: one for key, one in value.items() if key not in known}
            elif field.key in value:
                made[field.name] = field.kind.read(value[field.key])
            elif field.default is dataclasses.MISSING:
                raise Corrupt(
                    f"a {cls.__name__} must have the key {field.key!r}, but has {sorted(value)}; have it written again"
                )
        return cls(**made)


@dataclass(frozen=True)
class _Field:
    """A field of a record class, with what is needed to check, read and write it; compiled once per class."""

    name: str
    key: str
    default: Any
    omit: bool
    kind: _Kind

    def is_default(self, value: Any) -> bool:
        """Whether a value is the field's default; NaN is, where NaN is the default."""
        return bool(value == self.default or (value != value and self.default != self.default))


_COMPILED: dict[type, tuple[_Field, ...]] = {}


def _fields(cls: type[Part]) -> tuple[_Field, ...]:
    found = _COMPILED.get(cls)
    if found is None:
        hints = typing.get_type_hints(cls)
        found = _COMPILED[cls] = tuple(_compiled(field, hints[field.name]) for field in dataclasses.fields(cls))
    return found


def _compiled(field: dataclasses.Field[Any], hint: Any) -> _Field:
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    key = field.metadata.get("key") or field.name
    return _Field(field.name, key, default, field.metadata.get("omit", False), _kind(hint))


class _Kind(NamedTuple):
    """A type that fields may have: its name in words, how values are checked, and how they are read from JSON."""

    name: str
    accepts: Callable[[Any], bool]
    read: Callable[[Any], Any]


def _kind(hint: Any) -> _Kind:
    """The kind of a type hint: str, int, float, bool, Any, a record class, an optional one, a tuple or a mapping of one."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return _optional(_kind(next(argument for argument in arguments if argument is not types.NoneType)))
    if origin is tuple:
        return _tuple(_kind(arguments[0]))
    if origin is Mapping:
        return _mapping(_kind(arguments[1]))
    if hint in _PLAIN:
        return _PLAIN[hint]
    return _Kind(f"a {hint.__name__}", lambda value: isinstance(value, hint), hint.from_json)


def _optional(inner: _Kind) -> _Kind:
    def accepts(value: Any) -> bool:
        return value is None or inner.accepts(value)

    def read(value: Any) -> Any:
        return None if value is None else inner.read(value)

    return _Kind(f"{inner.name} or null", accepts, read)


def _tuple(inner: _Kind) -> _Kind:
    def accepts(value: Any) -> bool:
        return isinstance(value, tuple) and all(map(inner.accepts, value))

    def read(value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise Corrupt(f"a list of a record must be a list in JSON, but got {value!r:.80}; have it written again")
        return tuple(map(inner.read, value))

    return _Kind(f"a list, each {inner.name}", accepts, read)


def _mapping(inner: _Kind) -> _Kind:
    def accepts(value: Any) -> bool:
        return isinstance(value, Mapping) and all(map(inner.accepts, value.values()))

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Corrupt(
                f"a mapping of a record must be an object in JSON, but got {value!r:.80}; have it written again"
            )
        return {key: inner.read(one) for key, one in value.items()}

    return _Kind(f"an object, each value {inner.name}", accepts, read)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_float(value: Any) -> bool:
    return isinstance(value, float) or _is_int(value)


def _same(value: Any) -> Any:
    return value


_PLAIN: Mapping[Any, _Kind] = {
    Any: _Kind("any value", lambda value: True, _same),
    str: _Kind("text", lambda value: isinstance(value, str), _same),
    bool: _Kind("true or false", lambda value: isinstance(value, bool), _same),
    int: _Kind("a whole number", _is_int, _same),
    float: _Kind("a number", _is_float, _same),
}


def _to_json(value: Any) -> Any:
    to_json = getattr(value, "to_json", None)
    if to_json is not None:
        return to_json()
    if isinstance(value, tuple):
        return [_to_json(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _to_json(one) for key, one in value.items()}
    return value

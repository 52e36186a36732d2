"""The digest in a study's name: 6 hex digits of all that its numbers depend on.

The first version of the suite hashed the text of a Python tuple. The sampler of a cell takes its seed from the study's name, so
another digest would give other trials. That text is therefore written here as it was, value by value: no name of a class
or of a field enters it by itself. Whatever was added to a study later is hashed as JSON beside the text, and only where
it differs from its default: a new field with a default changes no name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from typing import Any

from bench.config import digest
from bench.study.variant import Baseline, Variant

STUDY = (
    *("kind", "question", "methods", "models", "task", "targets", "variants", "settings", "trials", "finals"),
    *("final_seeds", "controls", "cost", "sampler", "generation", "seed", "topic", "figures", "derived", "scratch"),
    *("lenient", "speed", "own", "dense", "dense_seeds", "baselines", "baseline", "recoveries", "frozen"),
)
VARIANT = ("label", "method", "settings", "group", "facts", "model")
BASELINE = ("label", "method", "settings")
"""The fields of the first version; `first_text` says which of them count, and how."""


def name_digest(first: Sequence[Any], study: Any, variants: Sequence[Variant], baselines: Sequence[Baseline]) -> str:
    """Returns 6 hex digits; ``first`` are the values of the first version's fields that count."""
    later = later_fields(study, STUDY)
    own = {f"{v.method}:{v.label}": later_fields(v, VARIANT) for v in variants}
    own |= {b.label: later_fields(b, BASELINE) for b in baselines}
    parts = {label: found for label, found in own.items() if found}
    if parts:
        later["parts"] = parts
    return digest({"": first_text(tuple(first)), **later})[:6]


def later_fields(value: Any, first: Collection[str]) -> dict[str, Any]:
    """Returns the fields of a dataclass that are not among the ``first`` and differ from their defaults, as JSON values.

    A field with the metadata ``identity=False`` cannot change a number, and is left out.
    """
    added = [f for f in fields(value) if f.name not in first and f.metadata.get("identity", True)]
    return {f.name: _json(getattr(value, f.name)) for f in added if getattr(value, f.name) != _default(f)}


def first_text(value: Any) -> str:
    """Returns a value as the first version wrote it: in the notation of Python's literals.

    Raises:
        TypeError: the first version had no value of this type.
    """
    if isinstance(value, Baseline):
        named = {name: first_text(getattr(value, name)) for name in BASELINE}
        return f"Baseline({', '.join(f'{name}={text}' for name, text in named.items())})"
    if isinstance(value, list):
        return f"[{', '.join(map(first_text, value))}]"
    if isinstance(value, tuple):
        inner = ", ".join(map(first_text, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    raise TypeError(f"a study's name is made of plain values, but got {value!r}")


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def _json(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (list, tuple)):
        return [_json(inner) for inner in value]
    if isinstance(value, Mapping):
        return {str(key): _json(inner) for key, inner in value.items()}
    return value

"""An architecture as text: a name in timm's registry, and arguments after a colon.

    cifar_resnet20
    cifar_resnet20:width=0.5
    test_resnet:channels=(16,24,24,48),drop_path_rate=0.1

Values are Python literals (numbers, True or False, quoted text, tuples of those); JSON's words and lists are accepted too.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from bench.errors import BenchError

OURS = {
    **dict.fromkeys(("num_classes", "in_chans", "img_size"), "the task and `image_size` decide it"),
    **dict.fromkeys(("pretrained", "pretrained_cfg", "pretrained_cfg_overlay"), "`start` decides it"),
    **dict.fromkeys(("checkpoint_path", "cache_dir"), "`start` takes files of weights"),
    **dict.fromkeys(("features_only", "out_indices", "scriptable", "exportable", "no_jit"), "a classifier is trained"),
}
"""Arguments of `timm.create_model` that are not part of an architecture, and what sets them instead."""

WORDS = {"true": True, "false": False, "null": None, "none": None}


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of an architecture; lists become tuples.

    Raises:
        BenchError: an argument is not written name=value with a literal, or is one that the suite sets.
    """
    name, colon, rest = text.partition(":")
    if not colon:
        return name, {}
    try:
        call = ast.parse(f"f({rest})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args or not call.keywords:
            raise ValueError
        arguments = {str(k.arg): _value(k.value) for k in call.keywords if k.arg}
        if len(arguments) < len(call.keywords):
            raise ValueError
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise BenchError(
            f"a model is written name or name:argument=value,argument=value, but got {text!r}; "
            "write it as in cifar_resnet20:width=0.5"
        ) from None
    if own := sorted(OURS.keys() & arguments.keys()):
        raise BenchError(
            f"a model is given arguments of its architecture, but got {own[0]} in {text!r}; {OURS[own[0]]}"
        )
    return name, arguments


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in WORDS:
        return WORDS[node.id]
    value = frozen(ast.literal_eval(node))
    if not all(v is None or isinstance(v, (bool, int, float, str)) for v in _flat(value)):
        raise ValueError
    return value


def _flat(value: Any) -> list[Any]:
    if isinstance(value, tuple):
        return [v for part in value for v in _flat(part)]
    return [value]


def frozen(value: Any) -> Any:
    """The value with tuples in place of lists; JSON has no tuples."""
    if isinstance(value, (list, tuple)):
        return tuple(frozen(part) for part in value)
    return value


def spell(name: str, arguments: Mapping[str, Any]) -> str:
    """The text of an architecture: the inverse of `parse`."""
    if not arguments:
        return name
    parts = (f"{key}={value!r}".replace(", ", ",") for key, value in arguments.items())
    return f"{name}:{','.join(parts)}"

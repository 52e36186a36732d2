"""The templates of the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def templates(**functions: Any) -> Environment:
    """Returns the environment of the templates in this folder, which can call these functions.

    Text is escaped, and a name that is not defined raises.
    """
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= functions
    return environment

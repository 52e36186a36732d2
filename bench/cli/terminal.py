"""The consoles that commands print on, and text of others made safe to print."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from bench.environment import mask_secrets

console = Console(highlight=False, emoji=False)
errors = Console(stderr=True, highlight=False, emoji=False)


def plain(text: str) -> str:
    """``text`` without secrets, escaped so that Rich prints it as it is."""
    return escape(mask_secrets(text))

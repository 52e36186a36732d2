"""The consoles that commands print on, and text of others made safe to print."""

from __future__ import annotations

import io
import sys

from rich.console import Console
from rich.markup import escape

from bench.environment import mask_secrets

for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a character must not end a computation
        stream.reconfigure(errors="backslashreplace")

console = Console(highlight=False, emoji=False)
errors = Console(stderr=True, highlight=False, emoji=False)


def plain(text: str) -> str:
    """``text`` without secrets, escaped so that Rich prints it as it is."""
    return escape(mask_secrets(text))

"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

import os
import re
from typing import Any

from bench.errors import BenchError


def split_models(text: str) -> tuple[str, ...]:
    """Architectures separated by commas; those between the arguments of one, or inside an argument, separate nothing."""
    return tuple(re.split(r",(?!\w+=)(?![^(\[]*[)\]])", text))


def default_jobs(gpus: tuple[str, ...]) -> int:
    """One run per GPU given, else one per core, four at most."""
    return len(gpus) or max(1, min(4, len(os.sched_getaffinity(0))))


def numbers(text: str, kind: type[int] | type[float], name: str) -> tuple[Any, ...]:
    """Numbers separated by commas, as given to the option ``name``."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise BenchError(f"--{name} must be numbers separated by commas, but got {text!r}") from None

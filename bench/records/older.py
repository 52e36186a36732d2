"""Reads what earlier versions wrote: fills in the keys that schema 1 has gained since, so that one reader is enough.

The records of the tests (``tests/reports/golden``) and of the gallery (``reports/gallery``) are of such versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def run_record(value: Mapping[str, Any]) -> dict[str, Any]:
    """A run's record in the form of today. Before methods could train smaller models, a record had no `architecture`."""
    model = value.get("run", {}).get("model", "")
    return {"architecture": model, **value}


def study_record(value: Mapping[str, Any]) -> dict[str, Any]:
    """A declaration in the form of today.

    Earlier ones have no `topic`, and no `reconstruction` in their cells: there a method was a reconstruction as a whole.
    """
    reconstructed = value.get("reconstructions", {})
    cells = {
        name: {"reconstruction": cell.get("method") in reconstructed, **cell}
        for name, cell in value.get("cells", {}).items()
    }
    return {"topic": "", **value, "cells": cells}


def speed_record(value: Mapping[str, Any]) -> dict[str, Any]:
    """A record of speed in the form of today; the first ones do not name the dense model."""
    return {"dense": "", "image_size": 0, **value}

"""Frames of runs to compare, with numbers that one can follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

NAMES = ("gradual", "sap", "drop†", "adaptive", "lottery", "oneshot", "rigl", "small_dense", "depgraph", "otov2")
NAMES += ("gate_decorator", "decay resrep", "decay depgraph", "decay magnitude†")


def frame(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> pd.DataFrame:
    """A frame from scores by cell and method, of seeds 0, 1, 2, ..."""
    rows = [
        {"cell": cell, "method": method, "seed": seed, "score": score}
        for cell, own in scores.items()
        for method, values in own.items()
        for seed, score in enumerate(values)
    ]
    return pd.DataFrame(rows)


def simulated(methods: int, cells: int = 6, seeds: int = 3, *, spread: float = 0.4, gap: float = 0.5) -> pd.DataFrame:
    """Methods that fall by ``gap`` from one to the next in every cell, with noise; runs of one seed share half of it."""
    source = np.random.default_rng(0)
    rows = []
    for cell in range(cells):
        for seed in range(seeds):
            shared = source.normal(0, spread)
            for place, method in enumerate(NAMES[:methods]):
                score = 95 - 2 * cell - gap * place + shared + source.normal(0, spread)
                rows.append({"cell": f"net@0.{cell}", "method": method, "seed": seed, "score": score})
    return pd.DataFrame(rows)

"""The form of the statistics' frame, and how runs become strata, pairs and matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.errors import BenchError, one_of

COLUMNS = ["cell", "method", "seed", "score"]
Floats = NDArray[np.float64]


def checked(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame's own columns, sorted by cell, method and seed, so that the order of rows never matters.

    Raises:
        BenchError: a column is not there, a run is there twice, or a score is infinite.
    """
    lacking = [name for name in COLUMNS if name not in frame]
    if lacking:
        raise BenchError(f"a comparison needs the columns {', '.join(COLUMNS)}, but got no {lacking[0]!r}; add it")
    found = frame[COLUMNS].sort_values(COLUMNS[:3], ignore_index=True).astype({"score": float})
    if len(twice := found[found.duplicated(COLUMNS[:3])]):
        which = "/".join(map(str, twice.iloc[0][COLUMNS[:3]]))
        raise BenchError(f"a method has one run per cell and seed, but got {which} more than once; keep one of them")
    if np.isinf(found["score"]).any():
        raise BenchError("a score is finite, or NaN where the run failed, but got an infinite one; make it NaN")
    return found


def named(frame: pd.DataFrame, method: str) -> str:
    """The method, if it is in the frame; else an error with those that are."""
    known = sorted(frame["method"].unique())
    if method not in known:
        raise one_of("method", method, known)
    return method


def strata(frame: pd.DataFrame, method: str, *, failed: float = -np.inf) -> dict[str, Floats]:
    """The scores of a method by cell, by rising seed; a failed run has the score ``failed``."""
    own = checked(frame)
    own = own[own["method"] == named(own, method)]
    return {str(cell): rows["score"].fillna(failed).to_numpy() for cell, rows in own.groupby("cell", sort=True)}


def differences(frame: pd.DataFrame, method: str, baseline: str) -> tuple[pd.Series, int]:
    """Score of the method minus the baseline's, by (cell, seed), and how many scores of either have no partner there.

    A partner that failed is none: its score is not there.
    """
    own = checked(frame).dropna(subset="score").set_index(["cell", "seed"])
    ours, theirs = (own.loc[own["method"] == named(checked(frame), name), "score"] for name in (method, baseline))
    both = ours.index.intersection(theirs.index).sort_values()
    return ours.loc[both] - theirs.loc[both], len(ours) + len(theirs) - 2 * len(both)


def means(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean score over seeds, a row per cell and a column per method.

    A method that only failed in a cell has -inf there; one that has no run there has NaN.
    """
    groups = checked(frame).groupby(["cell", "method"], sort=True)["score"]
    return groups.mean().fillna(-np.inf).unstack("method")

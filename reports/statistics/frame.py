"""Checks the frame of the statistics, and converts it to strata, paired differences and matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.errors import BenchError, one_of

COLUMNS = ["cell", "method", "seed", "score"]
Floats = NDArray[np.float64]


def checked(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the required columns, sorted by cell, method and seed, so that results do not depend on the order of rows.

    Raises:
        BenchError: a column is missing, a run occurs twice, or a score is infinite.
    """
    lacking = [name for name in COLUMNS if name not in frame]
    if lacking:
        raise BenchError(f"a comparison needs the columns {', '.join(COLUMNS)}, but got no {lacking[0]!r}; add it")
    found = frame[COLUMNS].sort_values(COLUMNS[:3], ignore_index=True).astype({"score": float})
    twice = found[found.duplicated(COLUMNS[:3])]
    if len(twice):
        which = "/".join(map(str, twice.iloc[0][COLUMNS[:3]]))
        raise BenchError(f"a method has one run per cell and seed, but got {which} more than once; keep one of them")
    if np.isinf(found["score"]).any():
        raise BenchError("a score is finite, or NaN where the run failed, but got an infinite one; make it NaN")
    return found


def named(frame: pd.DataFrame, method: str) -> str:
    """Returns the method if it is in the frame.

    Raises:
        BenchError: the method is not in the frame; the message names the methods that are.
    """
    known = sorted(frame["method"].unique())
    if method not in known:
        raise one_of("method", method, known)
    return method


def strata(frame: pd.DataFrame, method: str, *, failed: float = -np.inf) -> dict[str, Floats]:
    """Returns the scores of a method by cell, ordered by seed; a failed run has the score ``failed``."""
    own = checked(frame)
    own = own[own["method"] == named(own, method)]
    return {str(cell): rows["score"].fillna(failed).to_numpy() for cell, rows in own.groupby("cell", sort=True)}


def differences(frame: pd.DataFrame, method: str, baseline: str) -> tuple[pd.Series, int]:
    """Returns the score of the method minus that of the baseline, by (cell, seed), and the number of scores without a partner.

    A failed run has no score, and is no partner.
    """
    own = checked(frame).dropna(subset="score").set_index(["cell", "seed"])
    ours, theirs = (own.loc[own["method"] == named(checked(frame), name), "score"] for name in (method, baseline))
    both = ours.index.intersection(theirs.index).sort_values()
    return ours.loc[both] - theirs.loc[both], len(ours) + len(theirs) - 2 * len(both)


def means(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the mean score over seeds, with a row per cell and a column per method.

    It is -inf where all runs of a method failed, and NaN where a method has no run.
    """
    groups = checked(frame).groupby(["cell", "method"], sort=True)["score"]
    return groups.mean().fillna(-np.inf).unstack("method")

"""Checks the frame of the statistics, and converts it to strata, paired differences and matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.errors import BenchError, one_of

COLUMNS = ["cell", "method", "seed", "score"]
OPTIONAL = ["pair", "control", "missed", "dense"]
LEAST = 5
"""The smallest number of dense models for a verdict, bold or letters; and of pairs for a claim beyond these cells."""

DIGITS = 9
"""Decimals of scores in points: accuracies of the same number of images differ by rounding errors only, and are ties."""

Floats = NDArray[np.float64]
Place = tuple[str, str]
"""A cell and a method."""


def checked(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns all columns, sorted by cell, method and seed, so that results do not depend on the order of rows; scores are
    rounded, so that equal ones are equal. Where the frame has no column ``pair``, each cell is one.

    Raises:
        BenchError: a column is missing, a run occurs twice, or a score is infinite.
    """
    lacking = [name for name in COLUMNS if name not in frame]
    if lacking:
        raise BenchError(f"a comparison needs the columns {', '.join(COLUMNS)}, but got no {lacking[0]!r}; add it")
    found = frame[[*COLUMNS, *(name for name in OPTIONAL if name in frame)]].copy()
    defaults: dict[str, Any] = {"pair": found["cell"], "control": False, "missed": False, "dense": np.nan}
    for name in OPTIONAL:
        if name not in found:
            found[name] = defaults[name]
    found = found.sort_values(COLUMNS[:3], ignore_index=True)
    found = found.astype({"score": float, "dense": float, "control": bool, "missed": bool})
    twice = found[found.duplicated(COLUMNS[:3])]
    if len(twice):
        which = "/".join(map(str, twice.iloc[0][COLUMNS[:3]]))
        raise BenchError(f"a method has one run per cell and seed, but got {which} more than once; keep one of them")
    if np.isinf(found["score"]).any():
        raise BenchError("a score is finite, or NaN where the run failed, but got an infinite one; make it NaN")
    return found.assign(score=found["score"].round(DIGITS), dense=found["dense"].round(DIGITS))


def named(frame: pd.DataFrame, method: str) -> str:
    """Returns the method if it is in the frame.

    Raises:
        BenchError: the method is not in the frame; the message names the methods that are.
    """
    known = sorted(frame["method"].unique())
    if method not in known:
        raise one_of("method", method, known)
    return method


def forfeits(known: pd.DataFrame) -> set[Place]:
    """Returns the cells and methods of a checked frame with a failed run, or one that missed its budget."""
    lost = known[known["score"].isna() | known["missed"]]
    return set(zip(lost["cell"].astype(str), lost["method"].astype(str), strict=True))


def controls(known: pd.DataFrame) -> set[str]:
    """Returns the methods of a checked frame that are controls."""
    return set(known.loc[known["control"], "method"])


def strata(frame: pd.DataFrame, method: str, *, failed: float = -np.inf) -> dict[str, Floats]:
    """Returns the scores of a method by cell, ordered by seed; a run that failed or missed its budget has the score
    ``failed``."""
    own = checked(frame)
    own = own[own["method"] == named(own, method)]
    own = own.assign(score=own["score"].where(~own["missed"]))
    return {str(cell): rows["score"].fillna(failed).to_numpy() for cell, rows in own.groupby("cell", sort=True)}


def units(frame: pd.DataFrame, method: str) -> dict[str, int]:
    """Returns the number of dense models of a method by pair: the independent values behind its scores."""
    own = checked(frame)
    own = own[own["method"] == named(own, method)]
    return {str(pair): int(rows["seed"].nunique()) for pair, rows in own.groupby("pair", sort=True)}


def differences(frame: pd.DataFrame, method: str, baseline: str) -> tuple[pd.Series, int]:
    """Returns the score of the method minus that of the baseline, by (cell, seed), and the number of scores without a partner.

    A failed run has no score, and is no partner.
    """
    own = checked(frame).dropna(subset="score").set_index(["cell", "seed"])
    ours, theirs = (own.loc[own["method"] == named(checked(frame), name), "score"] for name in (method, baseline))
    both = ours.index.intersection(theirs.index).sort_values()
    return (ours.loc[both] - theirs.loc[both]).round(DIGITS), len(ours) + len(theirs) - 2 * len(both)


def means(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the mean score over dense models, with a row per cell and a column per method.

    It is -inf where a method forfeits the cell, and NaN where it has no run.
    """
    known = checked(frame)
    groups = known.assign(lost=known["score"].isna() | known["missed"]).groupby(["cell", "method"], sort=True)
    found = groups.agg({"score": "mean", "lost": "any"})
    scores = found["score"].round(DIGITS).mask(found["lost"], -np.inf)
    return pd.DataFrame(scores.unstack("method"))

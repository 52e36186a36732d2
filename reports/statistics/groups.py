"""The set of the best of a cell, and letters: methods that share a letter do not differ significantly.

The set of the best has at least 95 % confidence to contain the best method: a method leaves it when some other beats it, by a
one-sided Welch test with its p times (k - 1), Bonferroni's correction over the others of k methods (after Hsu 1981, "multiple
comparisons with the best", without its assumption of equal variances). Letters are from the test of Games and Howell (1976)
over all pairs, which allows unequal variances. Controls, methods that forfeit the cell, and methods below `LEAST` dense models
are never among the best; the last two have no letters either.
"""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from reports.statistics.frame import LEAST, Floats, checked, controls, forfeits
from reports.statistics.paired import ALPHA
from reports.statistics.samples import Welch
from reports.statistics.summary import accuracy

COLUMNS = ["cell", "method", "n", "failed", "missed", "mean", "std", "half", "low", "high", "letters", "top"]
Pair = tuple[str, str]


def top_groups(frame: pd.DataFrame, alpha: float = ALPHA) -> pd.DataFrame:
    """Returns one row per cell and method, by cell and decreasing mean, those that forfeit the cell last: ``n`` scores,
    ``failed`` and ``missed`` runs, ``mean``, ``std`` (ddof 1), ``half``, ``low`` and ``high`` of the 95 % interval, ``letters``
    ("" for none), and ``top``: whether it is in the set of the best."""
    known, rows = checked(frame), []
    lost, kept_apart = forfeits(known), controls(known)
    for cell, own in known.groupby("cell", sort=True):
        found = [_row(str(cell), str(method), runs) for method, runs in own.groupby("method", sort=True)]
        found.sort(key=lambda row: ((row["cell"], row["method"]) in lost, *_best_first(row)))
        scores = {str(m): runs["score"].dropna().to_numpy() for m, runs in own.groupby("method", sort=True)}
        valid = {
            row["method"]: scores[row["method"]]
            for row in found
            if row["n"] >= LEAST and (row["cell"], row["method"]) not in lost
        }
        shown, top = lettered(valid, alpha), best(valid, kept_apart, alpha)
        rows += [{**row, "letters": shown.get(row["method"], ""), "top": row["method"] in top} for row in found]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(cell: str, method: str, runs: pd.DataFrame) -> dict[str, Any]:
    over = accuracy(runs["score"])
    counts = {"n": over.n, "failed": int(runs["score"].isna().sum()), "missed": int(runs["missed"].sum())}
    numbers = {"mean": over.mean, "std": over.std, "half": over.half, "low": over.low, "high": over.high}
    return {"cell": cell, "method": method, **counts, **numbers}


def _best_first(row: Mapping[str, Any]) -> tuple[float, str]:
    """Sort key: decreasing mean, then name; methods without a score are last."""
    if not row["n"]:
        return (math.inf, row["method"])
    return (-row["mean"], row["method"])


def best(scores: Mapping[str, Floats], controls: Collection[str] = (), alpha: float = ALPHA) -> set[str]:
    """Returns the methods that no other beats: the 95 % set of the best of a cell, without controls. Empty for one method."""
    if len(scores) < 2:
        return set()
    return {m for m in scores if m not in controls and not _beaten(m, scores, alpha)}


def _beaten(method: str, scores: Mapping[str, Floats], alpha: float) -> bool:
    others = [values for name, values in scores.items() if name != method]
    return any(Welch.of(values, scores[method]).greater * len(others) < alpha for values in others)


def lettered(scores: Mapping[str, Floats], alpha: float = ALPHA) -> dict[str, str]:
    """Returns the letters of the methods of a cell, in their order, by the test of Games and Howell; none for one method."""
    if len(scores) < 2:
        return {}
    order = list(scores)
    pairs = itertools.combinations(order, 2)
    return letters(order, {(a, b) for a, b in pairs if Welch.of(scores[a], scores[b]).apart(len(order), alpha)})


def letters(order: Sequence[str], different: Collection[Pair]) -> dict[str, str]:
    """Returns a compact letter display: two methods share a letter if and only if they are not different (Piepho 2004).

    Each letter denotes a maximal set of methods of which no two differ; "a" denotes a set with the first of ``order``. Sets
    whose pairs are all in other sets are left out.
    """
    apart = {frozenset(pair) for pair in different}
    sets = _cliques(list(order), apart)
    for tried in sorted(sets, key=lambda s: (len(s), [-order.index(m) for m in s])):
        others = [s for s in sets if s != tried]
        if all(any(a in s and b in s for s in others) for a in tried for b in tried):
            sets = others
    found = dict.fromkeys(order, "")
    for i, members in enumerate(sorted(sets, key=lambda s: [order.index(m) for m in s])):
        for method in members:
            found[method] += _letter(i)
    return found


def _cliques(order: list[str], apart: set[frozenset[str]]) -> list[list[str]]:
    """All maximal sets of which no two are apart, by insertion: each new member splits the sets with members that it differs
    from; then subsets of other sets are removed."""
    sets: list[list[str]] = [[]]
    for new in order:
        joined = [[*(m for m in s if frozenset((m, new)) not in apart), new] for s in sets]
        kept = [s for s in sets if any(frozenset((m, new)) in apart for m in s)]
        unique = [list(s) for s in dict.fromkeys(map(tuple, [*kept, *joined]))]
        sets = [s for s in unique if not any(set(s) < set(t) for t in unique)]
    return sets


def _letter(index: int) -> str:
    """The letters a to z and A to Z, then numbers with a comma."""
    if index < len(string.ascii_letters):
        return string.ascii_letters[index]
    return f"{index},"

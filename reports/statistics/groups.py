"""Letters: within a cell, methods that share a letter do not differ significantly, and the top group is not significantly worse
than the best.

Each pair of methods of a cell is compared by the paired t test on the differences of runs with the same seed, with Holm's
correction over all pairs of the cell. Wilcoxon's test cannot reach 0.05 with fewer than six seeds; the t test can, but it
assumes normal differences, which few seeds cannot verify. With few seeds and many methods its power is low, and the top group
is large.
"""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from reports.statistics.frame import checked
from reports.statistics.paired import ALPHA, holm, t_test
from reports.statistics.summary import mean

COLUMNS = ["cell", "method", "n", "failed", "mean", "std", "half", "letters", "top"]
Pair = tuple[str, str]


def top_groups(frame: pd.DataFrame, alpha: float = ALPHA) -> pd.DataFrame:
    """Returns one row per cell and method, by cell and decreasing mean: ``n`` scores and ``failed`` runs, ``mean``, ``std``
    (ddof 1) and ``half`` (of the 95 % t interval), ``letters``, and ``top``: not significantly worse than the best.

    A method has no letters with fewer than two scores, or where no other method can be compared with it.
    """
    rows = []
    for cell, own in checked(frame).groupby("cell", sort=True):
        found = list[dict[str, Any]]()
        for method, runs in own.groupby("method", sort=True):
            over = mean(runs["score"])
            row = {"cell": cell, "method": str(method), "n": over.n, "failed": int(runs["score"].isna().sum())}
            found.append({**row, "mean": over.mean, "std": over.std, "half": over.half})
        found.sort(key=_best_first)
        shown, top = _told_apart(own, [row["method"] for row in found if row["n"] > 1], alpha)
        rows += [{**row, "letters": shown.get(row["method"], ""), "top": row["method"] in top} for row in found]
    return pd.DataFrame(rows, columns=COLUMNS)


def _best_first(row: Mapping[str, Any]) -> tuple[float, str]:
    """Sort key: decreasing mean, then name; methods without a score are last."""
    if not row["n"]:
        return (math.inf, row["method"])
    return (-row["mean"], row["method"])


def _told_apart(own: pd.DataFrame, order: Sequence[str], alpha: float) -> tuple[dict[str, str], set[str]]:
    """The letters of the methods of one cell, and the methods that are not significantly worse than the best."""
    values = {pair: p for pair, p in pairwise(own, order).items() if not math.isnan(p)}
    compared = [method for method in order if any(method in pair for pair in values)]
    different = {pair for pair, p in values.items() if p < alpha}
    return letters(compared, different), {m for m in compared if (compared[0], m) not in different}


def pairwise(own: pd.DataFrame, methods: Sequence[str]) -> dict[Pair, float]:
    """Returns for each pair of methods of one cell the p of the paired t test, corrected by Holm; NaN with fewer than two pairs
    of runs."""
    table = own.pivot(index="seed", columns="method", values="score")
    pairs = list(itertools.combinations(methods, 2))
    found = [t_test((table[one] - table[other]).dropna().to_numpy()) for one, other in pairs]
    return dict(zip(pairs, holm(found), strict=True))


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

"""Letters: within a cell, methods that share one cannot be told apart, and all that cannot be told from the best are bold.

Each two methods of a cell are compared by the paired t test on their differences seed by seed, and Holm's correction is over
all pairs of the cell. The t test it is because Wilcoxon's cannot reach 0.05 with fewer than six seeds; the price is that it
takes differences as normal, which few seeds cannot show. With few seeds and many methods it tells little apart: a wide top
group is then what is known.
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
    """One row per cell and method, by cell and falling mean: ``n`` scores and ``failed`` runs, ``mean``, ``std`` (ddof 1)
    and ``half`` (of the 95 % t interval), ``letters``, and ``top``: not significantly worse than the best.

    A method with one score or none has no letters, and neither has one that nothing can be compared with.
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
    return (-row["mean"] if row["n"] else math.inf, row["method"])


def _told_apart(own: pd.DataFrame, order: Sequence[str], alpha: float) -> tuple[dict[str, str], set[str]]:
    """The letters of the methods of one cell, and those that are not worse than the best."""
    values = {pair: p for pair, p in pairwise(own, order).items() if not math.isnan(p)}
    compared = [method for method in order if any(method in pair for pair in values)]
    different = {pair for pair, p in values.items() if p < alpha}
    return letters(compared, different), {m for m in compared if (compared[0], m) not in different}


def pairwise(own: pd.DataFrame, methods: Sequence[str]) -> dict[Pair, float]:
    """For each two methods of one cell, the p of the paired t test, corrected by Holm; NaN where fewer than two seeds pair."""
    table = own.pivot(index="seed", columns="method", values="score")
    pairs = list(itertools.combinations(methods, 2))
    found = [t_test((table[one] - table[other]).dropna().to_numpy()) for one, other in pairs]
    return dict(zip(pairs, holm(found), strict=True))


def letters(order: Sequence[str], different: Collection[Pair]) -> dict[str, str]:
    """A compact letter display: two share a letter if, and only if, they are not different (Piepho 2004).

    Each letter stands for a largest set of which no two differ, "a" for one with the first of ``order``; sets whose pairs are
    all in others are left out.
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
    """All largest sets of which no two are apart, by insertion: each new member splits the sets that hold what it differs
    from, and sets within others go."""
    sets: list[list[str]] = [[]]
    for new in order:
        joined = [[*(m for m in s if frozenset((m, new)) not in apart), new] for s in sets]
        kept = [s for s in sets if any(frozenset((m, new)) in apart for m in s)]
        unique = [list(s) for s in dict.fromkeys(map(tuple, [*kept, *joined]))]
        sets = [s for s in unique if not any(set(s) < set(t) for t in unique)]
    return sets


def _letter(index: int) -> str:
    """From a to z and A to Z, and then numbers, each with a comma."""
    known = string.ascii_lowercase + string.ascii_uppercase
    return known[index] if index < len(known) else f"{index},"

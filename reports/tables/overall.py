"""The table of all methods over all cells: differences to dense and to the baselines, ranks, and counted verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from reports.load.records import dicts
from reports.statistics import ranks
from reports.statistics.frame import LEAST, checked, forfeits
from reports.statistics.overall import over_pairs, to_baseline, to_dense
from reports.statistics.shares import improvement
from reports.statistics.verdicts import BETTER, EQUIVALENT, UNRESOLVED, WORSE, verdicts
from reports.tables.columns import Column, Row, Table, counted, fixed, text, there
from reports.tables.comparison import FAILED, identities, signed
from reports.tables.tidy import told

MEANS = ("to_dense", "odds", "to_baseline")
COLUMNS = ["method", "cells", "total", "failed"]
COLUMNS += [f"{name}{end}" for name in MEANS for end in ("", "_half", "_n")]
COLUMNS += ["rank", "top", "better", "better_low", "better_high", "verdicts"]


def overall(frame: pd.DataFrame, chosen: Mapping[str, str], score: str = "test top-1") -> Table:
    """Every method over all cells; ``chosen`` is the baseline of each cell."""
    known = checked(frame)
    ranked, said = ranks.ranks(frame), verdicts(frame, chosen)
    rows = [
        {
            **_counts(known, method),
            **_means(frame, method, chosen),
            **{"rank": ranked.mean.get(method, math.nan), "top": method in ranked.top},
            **_improvement(frame, method, chosen),
            "verdicts": _verdicts(said[said["method"] == method]),
        }
        for method in sorted(identities(frame))
    ]
    shown = pd.DataFrame(rows, columns=COLUMNS)
    by = ["to_dense", "rank", "method"]
    shown = shown.sort_values(by, ascending=[False, True, True], na_position="last", ignore_index=True)
    pairs, cells = known["pair"].nunique(), known["cell"].nunique()
    columns = _columns(told(chosen), dense=bool(shown["to_dense"].notna().any()))
    return Table("overall", "Overall", _caption(ranked, cells, pairs, told(chosen), score), shown, columns)


def _counts(known: pd.DataFrame, method: str) -> dict[str, Any]:
    own = known[known["method"] == method]
    lost = sum(name == method for _, name in forfeits(known))
    return {"method": method, "cells": own["cell"].nunique(), "total": len(own), "failed": lost}


def _means(frame: pd.DataFrame, method: str, chosen: Mapping[str, str]) -> dict[str, float]:
    values = {"to_dense": to_dense(frame, method), "odds": to_dense(frame, method, odds=True), "to_baseline": {}}
    if method not in chosen.values() or len(set(chosen.values())) > 1:
        values["to_baseline"] = to_baseline(frame, method, chosen)
    found: dict[str, float] = {}
    for name, own in values.items():
        over = over_pairs(own)
        found |= {name: over.mean, f"{name}_half": over.half, f"{name}_n": sum(map(len, own.values()))}
    return found


def _improvement(frame: pd.DataFrame, method: str, chosen: Mapping[str, str]) -> dict[str, float]:
    others = {cell: name for cell, name in chosen.items() if name != method}
    found = improvement(frame, method, others)
    return {"better": found.value, "better_low": found.low, "better_high": found.high}


def _verdicts(rows: pd.DataFrame) -> str:
    """The verdicts of a method in words, such as "1 better, 2 unresolved"."""
    counts = [(sum(row["verdict"] == word for row in dicts(rows)), word) for word in WORDS]
    return ", ".join(f"{count} {word}" for count, word in counts if count)


WORDS = (BETTER, EQUIVALENT, WORSE, UNRESOLVED)


def _caption(ranked: ranks.Ranks, cells: int, pairs: int, other: str, score: str) -> str:
    if pairs >= LEAST:
        scope = f"the intervals are over the means of the {counted(pairs, 'pair')}, and hold for similar pairs"
    else:
        scope = (
            f"there are fewer than {LEAST} pairs of data set and architecture ({pairs}), so the intervals are those of the "
            "dense models within these cells, and claim nothing about other models or data"
        )
    return (
        f"Over {counted(cells, 'cell')}: differences of {score} in points, mean over the budgets of each dense model, then "
        f"over the dense models of a pair, then over pairs, ± half the width of the 95 % interval; {scope}. To dense: to "
        "the dense model that a run started from; log odds: the same on the logit scale, on which accuracies near 100 % "
        "are compared. None where a method forfeits or lacks a cell; forfeited: the number of such cells. Mean rank over "
        f"{counted(ranked.pairs, 'pair')}, 1 is best; {_ranks_told(ranked)} P: probability that a run has a higher score than "
        f"a run of {other} in the same cell, with Newcombe's 95 % interval (none below {LEAST} dense models). Verdicts: their "
        f"numbers over cells, from the table of comparison. {FAILED}"
    )


def _ranks_told(found: ranks.Ranks) -> str:
    if not found.enough:
        few = f"{counted(found.pairs, 'pair')} and {counted(len(found.mean), 'method')}"
        return f"{few} are too few for a critical difference, so no rank is bold."
    return (
        f"ranks that do not differ significantly from the best by Nemenyi's test (critical difference {found.critical:.2f}) "
        f"are bold; Friedman's test: p = {found.friedman:.2g}."
    )


def _columns(other: str, *, dense: bool) -> tuple[Column, ...]:
    to_dense = (
        Column("vs. dense", "to_dense", signed("to_dense", "to_dense_half"), number=True),
        Column("log odds vs. dense", "odds", signed("odds", "odds_half"), number=True),
    )
    return (
        Column("method", "method", text("method")),
        Column("runs", "total", fixed("total", 0), number=True),
        Column("forfeited", "failed", fixed("failed", 0), number=True),
        *(to_dense if dense else ()),
        Column("mean rank", "rank", fixed("rank", 2), number=True, bold="top"),
        Column(f"P(beats {other})", "better", _between, number=True),
        Column(f"vs. {other}", "to_baseline", signed("to_baseline", "to_baseline_half"), number=True),
        Column("verdicts", "verdicts", text("verdicts")),
    )


def _between(row: Row) -> str:
    """Shows a probability with the ends of its interval, where it has one."""
    value, low, high = (fixed(f"better{end}", 2)(row) for end in ("", "_low", "_high"))
    if not there(row["better_low"]):
        return value
    return f"{value} [{low}, {high}]"

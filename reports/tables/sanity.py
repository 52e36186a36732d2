"""Sanity checks: each method against the controls derived from its own runs (random masks, fresh weights, rewound weights)."""

from __future__ import annotations

import math

import pandas as pd

from reports.load.records import DENSE, Study, called, dicts
from reports.statistics.summary import Mean, mean
from reports.tables.columns import Column, Table, fixed, text
from reports.tables.comparison import signed
from reports.tables.tidy import cell

COLUMNS = ["cell", "method", "control", "n", "ours", "theirs", "difference", "half", "verdict", "flag"]
RANDOM = "random_ratios"
BETTER, SAME, WORSE = "better", "not significant", "worse"


def sanity(study: Study) -> pd.DataFrame:
    """Returns one row per method, cell and derived control (`bench.study.controls`): mean test top-1 of both in per cent, and
    the paired difference over dense models with the half width of its 95 % t interval. ``flag``: not better than random
    masks."""
    rows = study.done("final", "baseline")
    finals = {e["run"]: e for e in dicts(rows[rows["kind"] == "final"])}
    found: dict[tuple[str, str, str], dict[int, list[tuple[float, float]]]] = {}
    for entry in dicts(rows[rows["kind"] == "baseline"]):
        own = finals.get(entry["params"].get("of", ""))
        if own is not None and not math.isnan(own["test_top1"]) and not math.isnan(entry["test_top1"]):
            place = (cell(own), called(own), entry["method"])
            both = (own["test_top1"], entry["test_top1"])
            found.setdefault(place, {}).setdefault(own[DENSE], []).append(both)
    made = [_row(*place, [_averaged(own) for own in pairs.values()]) for place, pairs in sorted(found.items())]
    return pd.DataFrame(made, columns=COLUMNS)


def _averaged(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """The mean over the prunings of one dense model."""
    ours, theirs = zip(*pairs, strict=True)
    return math.fsum(ours) / len(pairs), math.fsum(theirs) / len(pairs)


def _row(where: str, method: str, control: str, pairs: list[tuple[float, float]]) -> dict[str, object]:
    ours, theirs, over = (mean(values) for values in (*zip(*pairs, strict=True), (a - b for a, b in pairs)))
    verdict = _verdict(over)
    numbers = {"n": over.n, "ours": ours.mean, "theirs": theirs.mean, "difference": over.mean, "half": over.half}
    no_better = verdict in (SAME, WORSE) or (not verdict and over.mean <= 0)
    named = {"cell": where, "method": method, "control": control}
    return {**named, **numbers, "verdict": verdict, "flag": control == RANDOM and no_better}


def _verdict(difference: Mean) -> str:
    """Whether the method is better than the control by the interval of their difference; "" without an interval."""
    if math.isnan(difference.half):
        return ""
    if difference.low > 0:
        return BETTER
    if difference.high < 0:
        return WORSE
    return SAME


def table(study: Study) -> Table:
    """The table of derived controls."""
    frame = sanity(study)
    columns = (
        Column("cell", "cell", text("cell")),
        Column("method", "method", text("method")),
        Column("control", "control", text("control")),
        Column("n", "n", fixed("n", 0), number=True),
        Column("test top-1", "ours", fixed("ours", 2), number=True),
        Column("control's", "theirs", fixed("theirs", 2), number=True),
        Column("difference", "difference", signed("difference", "half"), number=True),
        Column("verdict", "verdict", lambda row: row["verdict"] or f"n = {row['n']:.0f}", bold="flag"),
    )
    random = frame[frame["control"] == RANDOM]
    caption = (
        "Each method compared with the controls derived from its own finished runs: random_ratios has the same number of zeros "
        "in each layer, at random positions, from the same start; reinit and scratch train the same shape from fresh weights; "
        "rewound trains it from the weights of its start. Mean over n dense models, each with both; difference ± half the "
        "width of its 95 % t interval, uncorrected. Bold: not significantly better than random masks with the method's own "
        f"ratios ({int(random['flag'].sum())} of {len(random)} cells)."
    )
    return Table("sanity", "Sanity checks", caption, frame, columns)

"""Was it the method, or only the shape that it found? Each method beside the controls that follow from its own runs."""

from __future__ import annotations

import math

import pandas as pd

from reports.load.records import Study, called, dicts
from reports.statistics.summary import mean
from reports.tables.columns import Column, Table, fixed, text
from reports.tables.comparison import signed
from reports.tables.tidy import cell

COLUMNS = ["cell", "method", "control", "n", "ours", "theirs", "difference", "half", "verdict", "flag"]
RANDOM = "random_ratios"
BETTER, SAME, WORSE = "better", "not told apart", "worse"


def sanity(study: Study) -> pd.DataFrame:
    """One row per method, cell and derived control (`bench.study.controls`): mean test top-1 of both in per cent,
    and the difference
    of the runs of one repetition, with the half width of its 95 % t interval. ``flag``: not better than random zeros."""
    rows = study.done("final", "baseline")
    finals = {e["run"]: e for e in dicts(rows[rows["kind"] == "final"])}
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for entry in dicts(rows[rows["kind"] == "baseline"]):
        own = finals.get(entry["params"].get("of", ""))
        if own is not None and not math.isnan(own["test_top1"]) and not math.isnan(entry["test_top1"]):
            place = (cell(own), called(own), entry["method"])
            found.setdefault(place, []).append((own["test_top1"], entry["test_top1"]))
    return pd.DataFrame([_row(*place, pairs) for place, pairs in sorted(found.items())], columns=COLUMNS)


def _row(where: str, method: str, control: str, pairs: list[tuple[float, float]]) -> dict[str, object]:
    ours, theirs, over = (mean(values) for values in (*zip(*pairs, strict=True), (a - b for a, b in pairs)))
    verdict = "" if math.isnan(over.half) else BETTER if over.low > 0 else WORSE if over.high < 0 else SAME
    numbers = {"n": over.n, "ours": ours.mean, "theirs": theirs.mean, "difference": over.mean, "half": over.half}
    flag = control == RANDOM and (verdict in (SAME, WORSE) or (not verdict and over.mean <= 0))
    return {"cell": where, "method": method, "control": control, **numbers, "verdict": verdict, "flag": flag}


def table(study: Study) -> Table:
    """The controls as a table."""
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
        "Each method beside the controls that follow from its own finished runs: random_ratios has as many zeros in each "
        "layer, in random places, from the same start; reinit and scratch have the shape with fresh weights; rewound has it "
        "with the weights of its start. Mean over n pairs of one repetition, difference ± half the width of its 95 % t "
        "interval, uncorrected. In bold: not better than random zeros at its own ratios "
        f"({int(random['flag'].sum())} of {len(random)} cells)."
    )
    return Table("sanity", "Method or shape", caption, frame, columns)

"""The table of a comparison: each cell with its methods, their verdicts, and the set of the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from reports.statistics.frame import LEAST, checked
from reports.statistics.groups import top_groups
from reports.statistics.paired import ALPHA, POWER
from reports.statistics.verdicts import MARGIN, verdicts
from reports.tables.columns import Column, Row, Table, fixed, interval, percent, text, there
from reports.tables.tidy import baselines, cell, tidy, told

__all__ = ["ALONE", "baselines", "cell", "comparable", "comparison", "identities", "tidy"]

ALONE = "a comparison needs results of two methods in the same cell, at the same budget"
MARK = "≠"
FAILED = (
    f"A method with a failed run, or one off its budget ({MARK}), has no bold, no letters and the last rank in that cell; the "
    "run is excluded from means, and is worse than every score wherever runs are ordered."
)


def comparable(frame: pd.DataFrame) -> bool:
    """Whether some cell has scores of two methods."""
    scored = checked(frame).dropna(subset="score")
    return bool((scored.groupby("cell")["method"].nunique() > 1).any())


@dataclass(frozen=True)
class Identity:
    """A compared method: the ``method`` whose look it has, whether it is a ``reconstruction``, and its ``label``."""

    method: str
    reconstruction: bool
    label: str

    def columns(self) -> dict[str, str | bool]:
        """The columns that identify the method in the table of a figure."""
        return {"method": self.method, "reconstruction": self.reconstruction, "label": self.label}


def identities(frame: pd.DataFrame) -> dict[str, Identity]:
    """Returns the identity of each method, by its label. A frame without the columns has methods of these names."""
    rows = frame.drop_duplicates("method").sort_values("method")
    names = rows.get("name", rows["method"])
    ours = rows.get("reconstruction", [False] * len(rows))
    triples = zip(names, ours, rows["method"], strict=True)
    return {label: Identity(name, bool(own), label) for name, own, label in triples}


def comparison(frame: pd.DataFrame, chosen: Mapping[str, str], score: str = "test top-1") -> Table:
    """Every cell and method: mean, letters, difference to the baseline of the cell (``chosen``, by cell), verdict."""
    other, shown = told(chosen), top_groups(frame)
    compared = verdicts(frame, chosen).drop(columns="baseline")
    shown = shown.merge(compared, how="left", on=["cell", "method"])
    shown = shown.assign(baseline=shown["cell"].map(chosen))
    sizes: tuple[Column, ...] = ()
    sized = ""
    if "weights_left" in frame:
        sizes, sized = SIZES, SIZED
        left = frame.groupby(["cell", "method"])["weights_left"].mean().reset_index()
        shown = shown.merge(left, how="left", on=["cell", "method"])
    columns = (
        Column("cell", "cell", text("cell")),
        Column("method", "method", text("method")),
        Column("n", "n", fixed("n", 0), number=True),
        Column(score, "mean", interval("mean", "half", ends=("low", "high")), number=True, bold="top"),
        Column("letters", "letters", _letters),
        Column(f"vs. {other}", "difference", signed("difference", "difference_half"), number=True),
        Column("verdict", "verdict", _verdict),
        Column("detectable", "detectable", fixed("detectable", 2), number=True),
        Column("failed", "failed", fixed("failed", 0), number=True),
        *sizes,
    )
    return Table("comparison", "Comparison", _caption(shown, other) + sized, shown, columns)


def _caption(shown: pd.DataFrame, other: str) -> str:
    return (
        "Mean over n dense models, whose prunings are averaged, ± half the width of the 95 % t interval; in brackets the "
        "interval from logits, where the t interval would leave 0 to 100 %. Bold: the set that contains the best method of the "
        f"cell with 95 % confidence (no other beats it by a one-sided Welch test at {ALPHA:g}, corrected over the others); "
        f"controls are never bold. Methods that share a letter do not differ significantly (Games-Howell, {ALPHA:g}). Neither "
        f"is shown below n = {LEAST}. Vs. {other}{_chosen(other)}: mean difference over pairs of the same dense seed ± "
        "half the width of its 95 % t interval, uncorrected. Verdict: equivalent, where the difference is within "
        f"{MARGIN:g} points by two one-sided t tests; else better or worse by the paired t test; else unresolved; each at "
        f"{ALPHA:g} with Holm's correction over the methods of the cell, and from {LEAST} pairs on. Detectable: the smallest "
        "true difference that this test, with its correction, would find with a power of "
        f"{100 * POWER:.0f} % for this n and deviation. ± 0.00: the dense models give equal accuracies, which a small test set "
        "makes likely; it does not mean that the mean is precise. Scores without a partner of the same seed, excluded from "
        f"both: {int(shown['unpaired'].sum())}. {FAILED}"
    )


def _chosen(other: str) -> str:
    if other != "the best baseline":
        return ""
    return " of the cell (highest validation top-1)"


def _missed(row: Row) -> str:
    if not row["missed"]:
        return "–"
    return f"{MARK} {row['missed']:.0f}"


SIZED = (
    f" Weights left: of all convolution and linear weights, mean. {MARK}: the number of dense models with a pruning whose size "
    "differs from the requested size by more than 0.5 % of the weights (1 % of the MACs)."
)
SIZES = (
    Column("weights left (%)", "weights_left", percent("weights_left"), number=True),
    Column(f"{MARK} budget", "missed", _missed, number=True),
)


def _letters(row: Row) -> str:
    if row["letters"]:
        return str(row["letters"])
    if 0 < row["n"] < LEAST and not row["failed"]:
        return f"n = {row['n']}"
    return "–"


def _verdict(row: Row) -> str:
    """The verdict in words; with the number of pairs where they are too few for one."""
    if row["method"] == row["baseline"]:
        return "baseline"
    if not there(row["verdict"]) or not row["verdict"]:
        return "–"
    if row["pairs"] < LEAST:
        return f"{row['verdict']} (n = {row['pairs']:.0f})"
    return str(row["verdict"])


def signed(key: str, half: str = "") -> Callable[[Row], str]:
    """Shows a number with its sign, and the half width of its interval, where it has one."""

    def shown(row: Row) -> str:
        value = row[key]
        if not there(value):
            return "–"
        size = interval(key, half)({**row, "": None, key: abs(value)})
        if round(value, 2) == 0:
            return size
        return f"−{size}" if value < 0 else f"+{size}"

    return shown

"""The share of the parameters of each architecture that can be pruned, with the accuracy before and after."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.records.run_record import RunRecord
from reports.figures import style
from reports.figures.style import COLUMN, INK, PAGE, Looks, ink, key
from reports.load.records import CONFIGURATION, CONTROL, Study, called, dicts, label
from reports.load.units import by_dense_model
from reports.statistics.summary import accuracy

PARTS = ("pruned", "left", "spared", "other")
WORDS = {
    "pruned": "prunable, pruned",
    "left": "prunable, left",
    "spared": "convolution or linear, not prunable",
    "other": "other parameters",
}
EXTRA = ("norms", "biases")  # subsets of the other parameters, where the records have them
COLUMNS = ["model", "method", "reconstruction", "said", "label", *PARTS, *EXTRA, "parameters"]
COLUMNS += ["top1", "low", "high", "n", "dense", "dense_low", "dense_high", "dense_n", "failed", "reason"]
ROW = 0.17  # inches of paper for one architecture


@dataclass(frozen=True)
class _Size:
    """Sizes at one width of paper: inches of the figure and of its margins, points of the names, and the axis label."""

    width: float
    margin: float
    font: float
    label: str


SIZES = {
    True: _Size(PAGE, 1.25, 7, "Share of all parameters (%)"),
    False: _Size(COLUMN, 1.7, 5.5, "Parameters (%)"),
}
"""By whether the figure has the width of a page."""


def prunable(study: Study) -> pd.DataFrame:
    """Returns one row per architecture and pruning configuration, by decreasing prunable share; failures are last.

    Shares (0 to 1, of all parameters, mean over seeds): ``pruned`` and ``left`` of what the method may prune, ``spared``
    convolution and linear weights that it may not (such as the classifier's), and the ``other`` parameters. Test top-1 in
    per cent with a 95 % t interval, of the pruned model and of its dense control. ``reason``: why runs ``failed``.
    """
    shown = study.entries[study.entries["kind"].isin(("final", "baseline")) & (study.entries["method"] != CONTROL)]
    rows = [_row(study, own) for _, own in shown.groupby(["model", *CONFIGURATION], sort=True)]
    table = pd.DataFrame(rows, columns=COLUMNS).assign(share=lambda t: t["pruned"] + t["left"])
    by = ["share", "model", "label"]
    return table.sort_values(by, ascending=[False, True, True], kind="stable", ignore_index=True)[COLUMNS]


def _row(study: Study, own: pd.DataFrame) -> dict[str, Any]:
    done, lost = own[own["state"] == "finished"], own[~own["state"].isin(("finished", "running"))]
    first = dicts(own)[0]
    shares = pd.DataFrame([_shares(study.records[run]) for run in done["run"]], columns=[*PARTS, *EXTRA, "parameters"])
    control = study.done("final", "baseline").query("method == @CONTROL and model == @first['model']")
    dense = accuracy(by_dense_model(control, "test_top1"))
    return {
        **{name: first[name] for name in ("model", "method", "reconstruction", "said")},
        "label": label(first),
        **{name: shares[name].mean() for name in (*PARTS, *EXTRA, "parameters")},
        **accuracy(by_dense_model(done, "test_top1")).columns("top1"),
        **dense.prefixed("dense"),
        "dense_n": dense.n,
        **{"failed": len(lost), "reason": "; ".join(sorted(set(lost["reason"].fillna(lost["state"]))))},
    }


def _shares(record: RunRecord) -> dict[str, float]:
    """The parts of a finished model as shares of all its parameters."""
    layers, metrics = record.layers, record.metrics
    total = metrics.params_all
    chosen = [layer for layer in layers if layer.prunable]
    left, weights = sum(layer.nonzero for layer in chosen), sum(layer.weights for layer in layers)
    may = sum(layer.weights for layer in chosen)
    counts = {"pruned": may - left, "left": left, "spared": weights - may, "other": total - weights}
    counts |= {name: getattr(metrics, f"params_{name}") for name in EXTRA}
    return {name: count / total for name, count in counts.items()} | {"parameters": total}


def draw(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """Draws a row per architecture: a stacked bar of its parameters, and its accuracy."""
    size = SIZES[wide]
    figure = Figure(figsize=(size.width, ROW * len(table) + size.margin), layout="constrained")
    bars, points = figure.subplots(1, 2, sharey=True, width_ratios=(1.6, 1))
    rows, names = dicts(table), table["model"]
    if table["label"].nunique() > 1:
        names = table["model"] + ", " + table["label"]
    for place, row in enumerate(rows):
        _bar(bars, place, row, looks)
        _points(points, place, row, looks)
    bars.set_yticks(range(len(rows)), names.tolist(), fontsize=size.font)
    bars.set_ylim(len(rows) - 0.4, -0.6)
    bars.set_xlim(0, 100)
    bars.set_xlabel(size.label)
    points.set_xlabel("Test top-1 (%)")
    points.tick_params(labelleft=False, left=False)
    for axes in (bars, points):
        axes.grid(visible=False, axis="y")
    style.legend(figure, _handles(table, looks), wide)
    return figure


def _bar(axes: Axes, place: int, row: dict[str, Any], looks: Looks) -> None:
    if math.isnan(row["pruned"]):
        status = "failed" if row["failed"] else "no result yet"
        axes.text(1.5, place, status, va="center", fontsize=6.5, fontstyle="italic", color=INK)
        return
    start = 0.0
    for part in PARTS:
        axes.barh(place, 100 * row[part], left=start, height=0.72, **_face(part, looks[row["method"]].colour))
        start += 100 * row[part]


def _face(part: str, colour: str) -> dict[str, Any]:
    """Settings of a bar: the method's colour for the parameters that it may prune, hatched for the pruned ones, else grey."""
    faces = {
        "pruned": ink(facecolor="white", hatch="///////", edgecolor=colour),
        "left": ink(facecolor=colour, edgecolor=colour),
        "spared": ink(facecolor="#8a8a8a", edgecolor="#8a8a8a"),
        "other": ink(facecolor="#d4d4d4", edgecolor="#d4d4d4"),
    }
    return faces[part] | ink(linewidth=0.4)


def _points(axes: Axes, place: int, row: dict[str, Any], looks: Looks) -> None:
    for name, high, method, shift in (
        ("dense", "dense_high", CONTROL, -0.14),
        ("top1", "high", row["method"], 0.14),
    ):
        look = looks[method]
        if not math.isnan(row[name]):
            half = np.nan_to_num(row[high] - row[name])
            bars = ink(color=look.colour, elinewidth=0.8, capsize=1.5, markersize=3.8)
            axes.errorbar([row[name]], [place + shift], xerr=[half], fmt=look.marker, **bars)


def _handles(table: pd.DataFrame, looks: Looks) -> list[Patch | Line2D]:
    methods, colour = dicts(table.drop_duplicates("method")), "#555555"
    if len(methods) == 1:
        colour = looks[methods[0]["method"]].colour
    found: list[Patch | Line2D] = [Patch(label=WORDS[part], **_face(part, colour)) for part in PARTS]
    for row in methods:
        look = looks[row["method"]]
        found.append(key(f"top-1, {called(row)}", color=look.colour, marker=look.marker, linestyle="none"))
    return [*found, key(f"top-1, {CONTROL}", color=INK, marker=looks[CONTROL].marker, linestyle="none")]

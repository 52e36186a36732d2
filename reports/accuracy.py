"""Accuracy against what is left of the model: every trial, the front of each method, the finals, the dense line."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN

from reports import style
from reports.load import CONFIGURATION, Study, called, dicts, label
from reports.stats import mean, pareto_front
from reports.style import CONTROL, CONTROL_DASH, INK, Look, Looks, ink, key

SIZES = {"weights_left": "Weights left (%)", "macs_left": "MACs left (%)"}
SERIES = ["trial", "front", "final", "control"]
WHOSE = ["model", "group", "method", "reconstruction", "said", "number"]
COLUMNS = ["model", "group", "method", "reconstruction", "said", "label", "series", "number", "split"]
COLUMNS += ["size", "accuracy", "low", "high", "n"]


def accuracy_against(study: Study, size: str) -> pd.DataFrame:
    """One row per point to draw; ``size`` (a share, 0 to 1) is "weights_left" or "macs_left", accuracy is in per cent.

    ``series`` is "trial" (validation), "front" (the trials of a method on a model that no other beats, by rising size),
    "final" or "control" (one row per configuration: mean over its seeds with a 95 % t interval, NaN for one seed).
    """
    trials = study.done("trial").dropna(subset=[size, "val_top1"])
    points = trials[WHOSE].assign(size=trials[size], accuracy=trials["val_top1"], label=list(map(label, dicts(trials))))
    points = points.assign(series="trial", split="validation", n=1)
    fronts = [
        group.iloc[pareto_front(group["size"].tolist(), group["accuracy"].tolist())].assign(series="front")
        for _, group in points.groupby(["model", "method"], sort=True)
    ]
    finals = [_final(rows, size) for _, rows in study.done("final", "baseline").groupby(CONFIGURATION, sort=True)]
    parts = [points, *fronts, pd.DataFrame(finals)]
    table = pd.concat([p for p in parts if len(p)] or [points], ignore_index=True)
    table["group"] = table["group"] if study.grid else ""  # a ladder's rungs are told apart by their size
    return table.reindex(columns=COLUMNS).sort_values(["model", "method"], kind="stable", ignore_index=True)


def _final(rows: pd.DataFrame, size: str) -> dict[str, object]:
    first, split = rows.iloc[0], "test" if rows["test_top1"].notna().any() else "validation"
    found = mean(rows["test_top1" if split == "test" else "val_top1"])
    return {
        **first[WHOSE],
        "label": label(dict(first)),
        "series": "control" if first["method"] == CONTROL else "final",
        "split": split,
        "size": rows[size].mean(),
        "accuracy": found.mean,
        "low": found.low,
        "high": found.high,
        "n": found.n,
    }


def floor(rows: pd.DataFrame) -> float:
    """The lowest accuracy worth a place on the axis: trials far below the front, the finals and the control are not."""
    worth = rows.loc[rows["series"] != "trial", ["accuracy", "low", "high"]]
    low, high = float(worth.min().min()), float(worth.max().max())
    return max(0.0, low - max(2.0, 0.3 * (high - low)))


def draw(table: pd.DataFrame, size: str, looks: Looks, wide: bool) -> Figure:
    """A panel per model."""
    models, faces = list(table["model"].unique()), markers(table, looks)
    figure, grid = style.panels(len(models), wide, height=2.5 if wide else 2.2)
    low = 100 * table["size"].min()
    for (axes,), model in zip(grid, models, strict=True):
        rows = table[table["model"] == model]
        _panel(axes, rows, looks, faces)
        style.percent_axis(axes, low, log=low < 30)
        axes.set_xlabel(SIZES[size])
        style.title(axes, model)
    style.legend(figure, _handles(table, looks, faces), wide)
    return figure


def markers(table: pd.DataFrame, looks: Looks) -> dict[tuple[str, str], str]:
    """The marker of each method, by method and group; where a method has several groups of variants, of each group."""
    rows = table[table["method"] != CONTROL].drop_duplicates(["method", "group"])
    groups = list(rows["group"].unique())
    several = rows["method"].value_counts().gt(1).to_dict()
    return {
        (method, group): style.MARKERS[groups.index(group) % len(style.MARKERS)]
        if several[method]
        else looks[method].marker
        for method, group in zip(rows["method"], rows["group"], strict=True)
    }


def _panel(axes: Axes, rows: pd.DataFrame, looks: Looks, faces: Mapping[tuple[str, str], str]) -> None:
    lowest = floor(rows)
    for method, own in rows.groupby("method", sort=True):
        look = looks[str(method)]
        for series, points in own.groupby("series"):
            if series == "control":
                control(axes, points.iloc[0])
            elif series == "front":
                axes.plot(
                    100 * points["size"], points["accuracy"], drawstyle="steps-post", color=look.colour, linewidth=1
                )
            elif series == "trial":
                _trials(axes, points, lowest, look)
            else:
                for group, some in points.groupby("group", sort=False):
                    finals(axes, some, Look(look.colour, faces[str(method), str(group)]))
    style.accuracy_axis(axes, "Top-1 accuracy (%)", lowest)


def _trials(axes: Axes, points: pd.DataFrame, lowest: float, look: Look) -> None:
    faint = ink(linestyle="none", markeredgewidth=0, color=look.colour, alpha=0.5)
    seen, below = points[points["accuracy"] >= lowest], points[points["accuracy"] < lowest]
    axes.plot(100 * seen["size"], seen["accuracy"], marker=look.marker, markersize=3.6, **faint)
    axes.plot(100 * below["size"], [lowest] * len(below), marker=CARETDOWN, **faint)


def finals(axes: Axes, points: pd.DataFrame, look: Look) -> None:
    """Points with their intervals, at what is left in per cent."""
    half = (points["high"] - points["accuracy"]).fillna(0)
    face = ink(color=look.colour, markeredgecolor=INK, markeredgewidth=0.7, markersize=5.5, zorder=4)
    bars = ink(ecolor=INK, elinewidth=0.8, capsize=2)
    axes.errorbar(100 * points["size"], points["accuracy"], half, fmt=look.marker, **face, **bars)


def control(axes: Axes, row: pd.Series) -> None:
    """The dense line with the band of its interval."""
    axes.axhline(row["accuracy"], color=INK, linestyle=CONTROL_DASH, linewidth=0.9)
    if not math.isnan(row["low"]):
        axes.axhspan(row["low"], row["high"], color=INK, alpha=0.08, linewidth=0)


def named(table: pd.DataFrame, looks: Looks, faces: Mapping[tuple[str, str], str]) -> list[Line2D]:
    """An entry of the legend for each method, or each group of its variants."""
    several, found = len({group for _, group in faces}) > 1, []
    for row in dicts(table.drop_duplicates(["method", "group", "said"])):
        if row["method"] != CONTROL:
            name = f"{called(row)}: {row['group']}" if several and row["group"] else called(row)
            face = ink(color=looks[row["method"]].colour, marker=faces[row["method"], row["group"]], linestyle="none")
            found.append(key(name, **face))
    return found


def _handles(table: pd.DataFrame, looks: Looks, faces: Mapping[tuple[str, str], str]) -> list[Line2D]:
    found = named(table, looks, faces)
    present = table.drop_duplicates(["series", "split"]).sort_values("series", key=lambda s: s.map(SERIES.index))
    for series, split in zip(present["series"], present["split"], strict=True):
        if series == "trial":
            found.append(key("trial (validation)", color="#999999", marker="o", linestyle="none", markersize=3.6))
        elif series == "front":
            found.append(key("front (validation)", color="#777777", linewidth=1))
        elif series == "final":
            face = ink(color="#bbbbbb", markeredgecolor=INK, marker="o", linestyle="none")
            found.append(key(f"final ({split}, mean, 95 % interval)", **face))
        else:
            found.append(
                key(f"{CONTROL} ({split}, mean, 95 % interval)", color=INK, linestyle=CONTROL_DASH, linewidth=0.9)
            )
    return found

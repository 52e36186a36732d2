"""Accuracy against what is left of the model: every trial, the front of each method, the finals, the dense line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN

from reports.figures import style
from reports.figures.style import CONTROL_DASH, INK, Look, Looks, ink, key
from reports.load.records import CONFIGURATION, CONTROL, Study, called, dicts, label
from reports.statistics.summary import mean, pareto_front

SIZES = {"weights_left": "Weights left (%)", "macs_left": "MACs left (%)"}
SERIES = ["trial", "front", "final", "control"]
WHOSE = ["model", "group", "method", "reconstruction", "said", "number"]
COLUMNS = ["model", "group", "method", "reconstruction", "said", "label", "series", "number", "split"]
COLUMNS += ["size", "accuracy", "low", "high", "n", "front"]
FRONT = ink(color=INK, linewidth=1, linestyle=(0, (1, 1)))
CURVE = 3  # points of a method from which on they are joined
SIDEWAYS = 0.05  # of its place that a point is moved at most, so that bars do not hide each other
DRAWN = (
    f"Points of a method are joined where there are {CURVE} or more, and moved sideways by at most {100 * SIDEWAYS:g} % of "
    "their place, so that bars do not hide each other (the CSV has the places). Hollow and grey: what was injected beside the "
    "methods. Staircase: the Pareto front; an arrow: far below the axis."
)


def accuracy_against(study: Study, size: str) -> pd.DataFrame:
    """One row per point to draw; ``size`` (a share, 0 to 1) is "weights_left" or "macs_left", accuracy is in per cent.

    ``series`` is "trial" (validation), "front" (the trials of a method on a model that no other beats, by rising size),
    "final" or "control" (one row per configuration: mean over its seeds with a 95 % t interval, NaN for one seed); of these
    ``front`` are those that none of the model beats. Controls derived from a final are left out: they are of its size.
    """
    trials = grouped(study.done("trial").dropna(subset=[size, "val_top1"]), study)
    points = trials[WHOSE].assign(size=trials[size], accuracy=trials["val_top1"], label=list(map(label, dicts(trials))))
    points = points.assign(series="trial", split="validation", n=1)
    fronts = [
        group.iloc[pareto_front(group["size"].tolist(), group["accuracy"].tolist())].assign(series="front")
        for _, group in points.groupby(["model", "method"], sort=True)
    ]
    finals = [_final(rows, size) for _, rows in grouped(underived(study), study).groupby(CONFIGURATION, sort=True)]
    parts = [points, *fronts, pd.DataFrame(finals)]
    table = pd.concat([p for p in parts if len(p)] or [points], ignore_index=True)
    table = table.reindex(columns=COLUMNS).sort_values(["model", "method"], kind="stable", ignore_index=True)
    return table.assign(front=beaten_by_none(table[table["series"].isin(("final", "control"))], ["model"], table.index))


def grouped(rows: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Entries whose group is what tells those of one method apart in a panel of a model: of a grid its own, of a ladder the way
    to recover, as its rungs are told apart by their size."""
    return rows if study.grid else rows.assign(group=rows["variant"])


def underived(study: Study) -> pd.DataFrame:
    """The finished finals and controls, but for those that follow from another run."""
    rows = study.done("final", "baseline")
    return rows[(rows["kind"] == "final") | ~rows["variant"].str.startswith("of ")]


def beaten_by_none(rows: pd.DataFrame, by: list[str], index: pd.Index) -> pd.Series:
    """Which of the rows no other row of the same ``by`` beats (smaller and at least as accurate, on test where some are)."""
    found = pd.Series(False, index=index)
    for _, panel in rows.groupby(by):
        known = panel[panel["split"] == "test"] if (panel["split"] == "test").any() else panel
        found[known.index[pareto_front(known["size"].tolist(), known["accuracy"].tolist())]] = True
    return found


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
    """The lowest accuracy worth a place on the axis: what is far below the best of the finals, the control and the front."""
    shown = rows.loc[rows["series"] != "trial", "accuracy"]
    low = style.worth(shown)
    least = float(shown.min()) if len(shown) else 0.0
    return max(0.0, low if least < low else least - max(2.0, 0.3 * (float(shown.max()) - least)))


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
    if not (rows["series"] == "trial").any():
        staircase(axes, rows[rows["front"]])
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
    every_final(axes, rows[rows["series"] == "final"], lowest, looks, faces)
    style.accuracy_axis(axes, "Top-1 accuracy (%)", lowest)


def staircase(axes: Axes, front: pd.DataFrame) -> None:
    """The Pareto front of a panel."""
    steps = front.sort_values("size")
    axes.plot(100 * steps["size"], steps["accuracy"], drawstyle="steps-post", **FRONT)


def every_final(
    axes: Axes, rows: pd.DataFrame, lowest: float, looks: Looks, faces: Mapping[tuple[str, str], str]
) -> None:
    """The finals of a panel, methods a little beside each other; an arrow for each that lies below ``lowest`` (per cent)."""
    groups = list(rows.groupby(["method", "group"], sort=True))
    for place, ((method, group), own) in enumerate(groups):
        look = replace(looks[str(method)], marker=faces[str(method), str(group)])
        crowded = len(groups) > 2 and len(own) > 1
        moved = 1 + SIDEWAYS * (2 * (place + 0.5) / len(groups) - 1) if crowded else 1.0
        some = own.assign(size=own["size"] * moved).sort_values("size")
        finals(axes, some[some["accuracy"] >= lowest], look, joined=own["size"].nunique() >= CURVE)
        style.below(axes, 100 * some.loc[some["accuracy"] < lowest, "size"], lowest, look.colour)


def _trials(axes: Axes, points: pd.DataFrame, lowest: float, look: Look) -> None:
    faint = ink(linestyle="none", markeredgewidth=0, color=look.colour, alpha=0.5)
    seen, below = points[points["accuracy"] >= lowest], points[points["accuracy"] < lowest]
    axes.plot(
        100 * seen["size"], seen["accuracy"], marker=look.marker, markersize=3.6, rasterized=style.dense(seen), **faint
    )
    axes.plot(100 * below["size"], [lowest] * len(below), marker=CARETDOWN, **faint)


def finals(axes: Axes, points: pd.DataFrame, look: Look, *, joined: bool = False) -> None:
    """Points with their intervals, at what is left in per cent; ``joined`` by a line, as they rise in size."""
    half = (points["high"] - points["accuracy"]).fillna(0)
    edge = look.colour if look.hollow else INK
    face = ink(markeredgewidth=0.6) | ink(
        **look.mark(), markeredgecolor=edge, markersize=4.5, zorder=3 if look.hollow else 4
    )
    line = ink(linestyle="-" if joined else "none", linewidth=0.7, elinewidth=0.6)
    axes.errorbar(100 * points["size"], points["accuracy"], half, **face, **line)


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
            look = replace(looks[row["method"]], marker=faces[row["method"], row["group"]])
            found.append(key(name, **look.mark(), linestyle="none"))
    return sorted(found, key=lambda line: line.get_markerfacecolor() == "white")


def _handles(table: pd.DataFrame, looks: Looks, faces: Mapping[tuple[str, str], str]) -> list[Line2D]:
    found = named(table, looks, faces)
    if not (table["series"] == "trial").any():
        found.append(key("Pareto front", **FRONT))
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

"""Accuracy against the share of the model that is left: trials with the Pareto front of each method, finals, dense control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN

from reports.figures import style
from reports.figures.style import INK, Look, Looks, ink, key
from reports.load.records import CONFIGURATION, CONTROL, Study, called, dicts, label
from reports.load.units import by_dense_model
from reports.statistics.summary import accuracy, pareto_front

SIZES = {"weights_left": "Weights left (%)", "macs_left": "MACs left (%)"}
SERIES = ["trial", "front", "final", "control"]
WHOSE = ["model", "group", "method", "reconstruction", "said", "number"]
COLUMNS = ["model", "group", "method", "reconstruction", "said", "label", "series", "number", "split"]
COLUMNS += ["size", "accuracy", "low", "high", "n", "front"]
FRONT = ink(color=INK, linewidth=1, linestyle=(0, (1, 1)))
CURVE = 3  # minimum number of points of a method that are joined by a line
SIDEWAYS = 0.05  # maximum relative shift of a point, so that error bars do not hide each other
DRAWN = (
    f"Points of a method are joined by a line where there are at least {CURVE}, and shifted sideways by at most "
    f"{100 * SIDEWAYS:g} % of their value, so that error bars do not hide each other (the CSV has the exact values). Hollow "
    "grey markers: baselines that were added to the methods. Staircase: the Pareto front. An arrow marks a point far below "
    "the axis."
)


def accuracy_against(study: Study, size: str) -> pd.DataFrame:
    """Returns one row per point to draw; ``size`` (a share, 0 to 1) is "weights_left" or "macs_left", accuracy is in per cent.

    ``series`` is "trial" (validation), "front" (the Pareto-optimal trials of a method on a model, by increasing size),
    "final" or "control" (one row per configuration: mean over its seeds with a 95 % t interval, NaN for one seed). ``front``
    marks the finals and controls that are Pareto-optimal on their model. Controls derived from a final are left out, because
    they have its size.
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
    return table.assign(front=pareto_optimal(table[table["series"].isin(("final", "control"))], ["model"], table.index))


def grouped(rows: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Entries with the ``group`` that separates the series of one method in a panel: of a grid its group of variants, else the
    variant, which names the recovery (the targets of a ladder differ by size)."""
    if study.grid:
        return rows
    return rows.assign(group=rows["variant"])


def underived(study: Study) -> pd.DataFrame:
    """The finished finals and controls without the controls that are derived from another run."""
    rows = study.done("final", "baseline")
    return rows[(rows["kind"] == "final") | ~rows["variant"].str.startswith("of ")]


def pareto_optimal(rows: pd.DataFrame, by: list[str], index: pd.Index) -> pd.Series:
    """Whether each row is Pareto-optimal among the rows of the same ``by``; of rows on test where some are, else of all."""
    found = pd.Series(False, index=index)
    for _, panel in rows.groupby(by):
        known = panel[panel["split"] == "test"]
        if not len(known):
            known = panel
        found[known.index[pareto_front(known["size"].tolist(), known["accuracy"].tolist())]] = True
    return found


def top1(rows: pd.DataFrame) -> dict[str, Any]:
    """Top-1 of one configuration: mean over its seeds (``accuracy``, ``low``, ``high``, ``n``) on the ``split`` test, or on
    validation where no run has opened the test split."""
    if rows["test_top1"].notna().any():
        return {"split": "test", **accuracy(by_dense_model(rows, "test_top1")).columns("accuracy")}
    return {"split": "validation", **accuracy(by_dense_model(rows, "val_top1")).columns("accuracy")}


def series_of(method: str) -> str:
    """The series that a configuration with finals belongs to: "control" for dense training, else "final"."""
    return "control" if method == CONTROL else "final"


def _final(rows: pd.DataFrame, size: str) -> dict[str, object]:
    first = rows.iloc[0]
    whose = {**first[WHOSE], "label": label(dict(first)), "series": series_of(first["method"])}
    return {**whose, "size": rows[size].mean(), **top1(rows)}


def floor(rows: pd.DataFrame) -> float:
    """The lower end of the accuracy axis (per cent), from the finals, the control and the front; trials do not extend it."""
    shown = rows.loc[rows["series"] != "trial", "accuracy"]
    if not len(shown):
        return 0.0
    low, least = style.worth(shown), float(shown.min())
    if least < low:
        return low
    return max(0.0, least - max(2.0, 0.3 * (float(shown.max()) - least)))


def draw(table: pd.DataFrame, size: str, looks: Looks, wide: bool) -> Figure:
    """Draws a panel per model."""
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
    """The marker of each method and group: the method's own, or the group's where the method has several groups."""
    rows = table[table["method"] != CONTROL].drop_duplicates(["method", "group"])
    groups = list(rows["group"].unique())
    several = rows["method"].value_counts().gt(1).to_dict()
    found = {(m, g): looks[m].marker for m, g in zip(rows["method"], rows["group"], strict=True)}
    by_group = {at: style.MARKERS[groups.index(at[1]) % len(style.MARKERS)] for at in found if several[at[0]]}
    return found | by_group


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
    """Draws the Pareto front of a panel as steps."""
    steps = front.sort_values("size")
    axes.plot(100 * steps["size"], steps["accuracy"], drawstyle="steps-post", **FRONT)


def every_final(
    axes: Axes, rows: pd.DataFrame, lowest: float, looks: Looks, faces: Mapping[tuple[str, str], str]
) -> None:
    """Draws the finals of a panel, those of several methods slightly shifted, with an arrow for each that is below ``lowest``
    (per cent)."""
    groups = list(rows.groupby(["method", "group"], sort=True))
    for place, ((method, group), own) in enumerate(groups):
        look, moved = replace(looks[str(method)], marker=faces[str(method), str(group)]), 1.0
        if len(groups) > 2 and len(own) > 1:
            moved += SIDEWAYS * (2 * (place + 0.5) / len(groups) - 1)
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
    """Draws points with their intervals over the size in per cent; ``joined``: with a line, by increasing size."""
    half = (points["high"] - points["accuracy"]).fillna(0)
    face = ink(markeredgewidth=0.6, markeredgecolor=INK, zorder=4)
    if look.hollow:
        face |= ink(markeredgecolor=look.colour, zorder=3)
    line = ink(linestyle="-" if joined else "none", linewidth=0.7, elinewidth=0.6, markersize=4.5)
    axes.errorbar(100 * points["size"], points["accuracy"], half, **face | look.mark(), **line)


def control(axes: Axes, row: pd.Series) -> None:
    """Draws the dense control with the band of its interval."""
    style.control_line(axes, row["accuracy"], row["low"], row["high"])


def named(table: pd.DataFrame, looks: Looks, faces: Mapping[tuple[str, str], str]) -> list[Line2D]:
    """An entry of the legend for each method, or for each group of its variants."""
    several, found = len({group for _, group in faces}) > 1, []
    for row in dicts(table.drop_duplicates(["method", "group", "said"])):
        if row["method"] != CONTROL:
            name = called(row)
            if several and row["group"]:
                name += f": {row['group']}"
            look = replace(looks[row["method"]], marker=faces[row["method"], row["group"]])
            found.append(key(name, **look.mark(), linestyle="none"))
    return sorted(found, key=lambda line: line.get_markerfacecolor() == "white")


def _handles(table: pd.DataFrame, looks: Looks, faces: Mapping[tuple[str, str], str]) -> list[Line2D]:
    found = named(table, looks, faces)
    if not (table["series"] == "trial").any():
        found.append(key("Pareto front", **FRONT))
    present = table.drop_duplicates(["series", "split"]).sort_values("series", key=lambda s: s.map(SERIES.index))
    return [*found, *(_series_key(*row) for row in zip(present["series"], present["split"], strict=True))]


def _series_key(series: str, split: str) -> Line2D:
    """The legend's entry of a series."""
    match series:
        case "trial":
            return key("trial (validation)", color="#999999", marker="o", linestyle="none", markersize=3.6)
        case "front":
            return key("front (validation)", color="#777777", linewidth=1)
        case "final":
            face = ink(color="#bbbbbb", markeredgecolor=INK, marker="o", linestyle="none")
            return key(f"final ({split}, mean, 95 % interval)", **face)
        case _:
            return style.control_key(f"{CONTROL} ({split}, mean, 95 % interval)")

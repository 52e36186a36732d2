"""Large sparse models against small dense models of the same size (Zhu and Gupta 2017, arXiv:1710.01878).

Accuracy over the number of non-zero parameters, and over bytes (of a sparse model with the mask, of a dense one as it is).
The paper's numbers are in panels of their own.
"""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures import style
from reports.figures.style import INK, Looks, ink, key
from reports.load.published import DENSE, MOBILENET, SMALL, SPARSE, Point
from reports.load.records import CONFIGURATION, CONTROL, Study, called, dicts, label
from reports.load.units import by_dense_model
from reports.statistics.summary import accuracy as mean_accuracy

SMALL_DENSE = "small_dense"
PAPER = "MobileNetV1, ImageNet: the paper's"
PAPER_DASH: style.Dash = (0, (4, 1.5))
PAPER_MARKERS = {SPARSE: "o", SMALL: "s", DENSE: "x"}
SIZES = {"nonzero": ("Non-zero parameters (millions)", 1e6), "bytes": ("Bytes (MB), mask included", 1e6)}
STORED = {SPARSE: "bytes_sparse", SMALL: "bytes_dense", DENSE: "bytes_dense"}
COLUMNS = ["paper", "model", "method", "reconstruction", "said", "label", "series", "target"]
COLUMNS += ["nonzero", "bytes", "accuracy", "low", "high", "n"]


def sizes(study: Study) -> pd.DataFrame:
    """Returns one row per configuration with finals, by increasing size: mean test top-1 (per cent, 95 % t interval).

    ``series`` is "large sparse", "small dense" or "dense". ``bytes`` are those of sparse storage (bytes/sparse) for a pruned
    model, and bytes/dense for a dense one, small or large. Rows with ``paper`` are the paper's numbers, without intervals.
    """
    rows = []
    for _, own in study.done("final", "baseline").groupby(CONFIGURATION, sort=True):
        first = dicts(own)[0]
        series = {SMALL_DENSE: SMALL, CONTROL: DENSE}.get(first["method"], SPARSE)
        whose = {name: first[name] for name in ("model", "method", "reconstruction", "said", "target")}
        size = {"nonzero": own["nonzero"].mean(), "bytes": own[STORED[series]].mean()}
        accuracy = mean_accuracy(by_dense_model(own, "test_top1")).columns("accuracy")
        rows.append({"paper": False, **whose, "label": label(first), "series": series, **size, **accuracy})
    if rows:
        rows += [_published(point) for point in MOBILENET]
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"paper": bool})
    return table.sort_values(["paper", "model", "method", "nonzero"], ignore_index=True)


def _published(point: Point) -> dict[str, object]:
    whose = {"paper": True, "model": PAPER, "method": "", "reconstruction": False, "label": point.name}
    size = {"series": point.series, "nonzero": point.nonzero, "bytes": point.bytes}
    return {**whose, **size, "accuracy": point.top1}


def draw(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """Draws for each model, and last for the paper's, accuracy over parameters and over bytes."""
    models = list(table["model"].unique())
    figure, grid = style.panels(len(SIZES) * len(models), wide, height=2.2, most=len(SIZES))
    colours = _colours(table, looks)
    for (axes,), (model, size) in zip(grid, itertools.product(models, SIZES), strict=True):
        rows = table[table["model"] == model]
        if rows["paper"].all():
            _published_panel(axes, rows.dropna(subset=size), size, colours)
        else:
            _panel(axes, rows.dropna(subset=size), size, looks)
        name, unit = SIZES[size]
        style.log_axis(axes.xaxis, unit=unit)
        axes.set_xlabel(name)
        style.title(axes, model)
    style.legend(figure, _handles(table, looks), wide)
    return figure


def _colours(table: pd.DataFrame, looks: Looks) -> dict[str, str]:
    """The colours of the paper's series: those of our methods in the same series."""
    own = table[~table["paper"]].drop_duplicates("series")
    return {SPARSE: INK, SMALL: INK, DENSE: INK} | {row["series"]: looks[row["method"]].colour for row in dicts(own)}


def _panel(axes: Axes, rows: pd.DataFrame, size: str, looks: Looks) -> None:
    """Draws the measured points of a model; those of a method are joined, the dense model is a single point."""
    for (series, method), own in rows.groupby(["series", "method"], sort=True):
        look, dash = looks[str(method)], "none" if series == DENSE else "-"
        _points(axes, own, size, ink(color=look.colour, marker=look.marker, linestyle=dash))
    style.accuracy_axis(axes, "Test top-1 (%)")


def _published_panel(axes: Axes, rows: pd.DataFrame, size: str, colours: dict[str, str]) -> None:
    """Draws the paper's numbers on a shaded panel, with hollow markers and dashed lines."""
    for series, own in rows.groupby("series", sort=True):
        face = ink(color=colours[str(series)], marker=PAPER_MARKERS[str(series)], linestyle="none")
        if series != DENSE:
            face |= ink(markerfacecolor="white", linestyle=PAPER_DASH)
        _points(axes, own, size, face)
    axes.set_facecolor("#f3f2ee")
    style.accuracy_axis(axes, "Top-1 (%)")


def _points(axes: Axes, rows: pd.DataFrame, size: str, face: dict[str, Any]) -> None:
    half = (rows["high"] - rows["accuracy"]).fillna(0)
    axes.errorbar(rows[size], rows["accuracy"], half, capsize=2, elinewidth=0.8, linewidth=1, **face)


def _handles(table: pd.DataFrame, looks: Looks) -> list[Line2D]:
    found = []
    for row in dicts(table[~table["paper"]].drop_duplicates("method")):
        look, name, dash = looks[row["method"]], f"{called(row)} ({row['series']})", "-"
        if row["series"] == DENSE:
            name, dash = called(row), "none"
        found.append(key(name, color=look.colour, marker=look.marker, linestyle=dash))
    grey = ink(color="#777777", marker="o", markerfacecolor="white", linestyle=PAPER_DASH)
    return [*found, key("the paper's (shaded panels)", **grey)]

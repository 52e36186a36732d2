"""Zhu and Gupta's question: at one size, is a large model made sparse better than a small one trained dense?

Both roads over the parameters that are not zero, and over bytes: a sparse model's with the mask counted, a dense one's as
it is. The paper's own tables stand beside them.
"""

from __future__ import annotations

import itertools

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures import style
from reports.figures.style import INK, Looks, ink, key
from reports.load.published import DENSE, MOBILENET, SMALL, SPARSE, Point
from reports.load.records import CONFIGURATION, CONTROL, Study, called, dicts, label
from reports.statistics.summary import mean

ROAD_METHOD = "small_dense"
PAPER = "MobileNetV1, ImageNet: the paper's"
PAPER_DASH: style.Dash = (0, (4, 1.5))
PAPER_MARKERS = {SPARSE: "o", SMALL: "s", DENSE: "x"}
SIZES = {"nonzero": ("Non-zero parameters (millions)", 1e6), "bytes": ("Bytes (MB), mask included", 1e6)}
COLUMNS = ["paper", "model", "method", "reconstruction", "said", "label", "road", "target"]
COLUMNS += ["nonzero", "bytes", "accuracy", "low", "high", "n"]


def roads(study: Study) -> pd.DataFrame:
    """One row per configuration with finals, by rising size: test top-1 (per cent, mean over seeds, 95 % t interval).

    ``bytes`` are those of sparse storage (bytes/sparse) for a pruned model, and bytes/dense for a dense one, small or
    large. Rows with ``paper`` are the paper's own numbers and have no interval.
    """
    rows = []
    for _, own in study.done("final", "baseline").groupby(CONFIGURATION, sort=True):
        first, over = dicts(own)[0], mean(own["test_top1"])
        road = {ROAD_METHOD: SMALL, CONTROL: DENSE}.get(first["method"], SPARSE)
        size = own["bytes_sparse" if road == SPARSE else "bytes_dense"].mean()
        whose = {name: first[name] for name in ("model", "method", "reconstruction", "said", "target")}
        numbers = {"accuracy": over.mean, "low": over.low, "high": over.high, "n": over.n}
        sizes = {"nonzero": own["nonzero"].mean(), "bytes": size}
        rows.append({"paper": False, **whose, "label": label(first), "road": road, **sizes, **numbers})
    rows += [_published(point) for point in (MOBILENET if rows else ())]
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"paper": bool})
    return table.sort_values(["paper", "model", "method", "nonzero"], ignore_index=True)


def _published(point: Point) -> dict[str, object]:
    whose = {
        "paper": True,
        "model": PAPER,
        "method": "",
        "reconstruction": False,
        "label": point.name,
        "road": point.road,
    }
    return {**whose, "nonzero": point.nonzero, "bytes": point.bytes, "accuracy": point.top1}


def draw(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """For each model, and last for the paper's, accuracy over parameters and beside it over bytes."""
    models = list(table["model"].unique())
    figure, grid = style.panels(len(SIZES) * len(models), wide, height=2.2, most=len(SIZES))
    colours = _colours(table, looks)
    for (axes,), (model, size) in zip(grid, itertools.product(models, SIZES), strict=True):
        rows = table[table["model"] == model]
        _panel(axes, rows.dropna(subset=size), size, looks, colours)
        style.accuracy_axis(axes, "Top-1 (%)" if rows["paper"].all() else "Test top-1 (%)")
        name, unit = SIZES[size]
        style.log_axis(axes.xaxis, unit=unit)
        axes.set_xlabel(name)
        style.title(axes, model)
    style.legend(figure, _handles(table, looks), wide)
    return figure


def _colours(table: pd.DataFrame, looks: Looks) -> dict[str, str]:
    """The colours of the paper's roads: those of the methods that take ours."""
    own = table[~table["paper"]].drop_duplicates("road")
    return {SPARSE: INK, SMALL: INK} | {row["road"]: looks[row["method"]].colour for row in dicts(own)}


def _panel(axes: Axes, rows: pd.DataFrame, size: str, looks: Looks, colours: dict[str, str]) -> None:
    for (road, method), own in rows.groupby(["road", "method"], sort=True):
        look, paper = looks.get(str(method)), bool(own["paper"].all())
        colour = colours.get(str(road), INK) if look is None else look.colour
        marker = PAPER_MARKERS[str(road)] if look is None else look.marker
        line = ink(color=colour, marker=marker, linestyle="none" if road == DENSE else PAPER_DASH if paper else "-")
        face = ink(markerfacecolor="white") if paper and road != DENSE else {}
        half = (own["high"] - own["accuracy"]).fillna(0)
        axes.errorbar(own[size], own["accuracy"], half, capsize=2, elinewidth=0.8, linewidth=1, **line, **face)
    if rows["paper"].all():
        axes.set_facecolor("#f3f2ee")


def _handles(table: pd.DataFrame, looks: Looks) -> list[Line2D]:
    found = []
    for row in dicts(table[~table["paper"]].drop_duplicates("method")):
        look = looks[row["method"]]
        name = called(row) if row["road"] == DENSE else f"{called(row)} ({row['road']})"
        dash = "none" if row["road"] == DENSE else "-"
        found.append(key(name, color=look.colour, marker=look.marker, linestyle=dash))
    grey = ink(color="#777777", marker="o", markerfacecolor="white", linestyle=PAPER_DASH)
    return [*found, key("the paper's (shaded panels)", **grey)]

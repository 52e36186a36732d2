"""The share of the weights of each layer that each method leaves.

Shares are relative to the dense model's layer, so that zeros and removed channels are comparable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from reports.figures import series, style
from reports.figures.catalog import Figure, if_empty, numbers
from reports.figures.style import Look, Looks, ink
from reports.load.records import CONFIGURATION, CONTROL, DENSE, Study, dicts, label
from reports.tables.tidy import cell

WHO = ["model", "group", "variant", "method", "reconstruction", "said", "label", "order", *CONFIGURATION]
COLUMNS = [*WHO, "place", "name", "weights", "prunable", "left", "low", "high", "n"]
LOG = 0.2  # the axis is logarithmic where the median share is below this
LEAST = 0.001  # share of a layer at the lower end of a logarithmic axis


def allocation(study: Study) -> pd.DataFrame:
    """Returns one row per configuration and layer, in the dense model's order: the share of the layer's weights (0 to 1) that
    is left, mean over the seeds with its 95 % t interval. ``weights`` are the dense layer's; of a removed layer 0 is left."""
    entries, dense = study.shown(), whole(study)
    derived = (entries["kind"] == "baseline") & entries["variant"].str.startswith(
        "of "
    )  # these have the shape of another run
    entries = entries[(entries["method"] != CONTROL) & entries["model"].isin(dense) & ~derived]
    found = []
    for entry in dicts(entries):
        rows = pd.DataFrame([layer.to_json() for layer in study.records[entry["run"]].layers])
        if len(rows) and set(rows["name"]) & set(dense[entry["model"]]):
            own = _against(entry, rows, dense[entry["model"]])
            if (own["left"] < 1).any():  # else it is a dense model, trained longer
                found.append(own)
    if not found:
        return pd.DataFrame(columns=COLUMNS)
    rows = pd.concat(found, ignore_index=True)
    return series.averages(rows, [*WHO, "place", "name", "weights", "prunable"], "left")


def _against(entry: Mapping[str, Any], rows: pd.DataFrame, dense: Mapping[str, int]) -> pd.DataFrame:
    """The share that a run leaves of each layer of the dense model, from the rows of its own layers."""
    own, weights = rows.set_index("name").reindex(list(dense)), list(dense.values())
    layers = {"place": range(len(dense)), "name": list(dense), "weights": weights}
    layers |= {
        "prunable": list(~own["prunable"].eq(False)),
        "left": list(own["nonzero"].fillna(0) / weights),
    }
    whose = {name: entry[name] for name in (*WHO, DENSE) if name != "label"}
    return pd.DataFrame({**whose, "label": label(entry), **layers})


def whole(study: Study) -> dict[str, dict[str, int]]:
    """Returns the number of weights of each layer of each dense model, from a dense control or else from a run whose layers
    have the dense shapes."""
    found: dict[str, dict[str, int]] = {}
    entries = study.done("baseline", "final", "trial")
    for entry in dicts(entries.assign(later=entries["method"] != CONTROL).sort_values("later", kind="stable")):
        record = study.records[entry["run"]]
        sizes = {layer.name: layer.weights for layer in record.layers}
        known = (record.metrics.weights_reference, record.metrics.weights_all)  # old records lack the first, or both
        wanted = next((number for number in known if not math.isnan(number)), sum(sizes.values()))
        if sizes and sum(sizes.values()) == wanted:
            found.setdefault(entry["model"], sizes)
    return found


def figure(study: Study) -> Figure:
    """The figure of the share that is left of each layer."""
    table = allocation(study)
    each = "target or group of variants" if table["group"].any() else "model"
    caption = (
        "Share of the weights of each layer of the dense model that is left (zeros and removed channels are counted alike), "
        f"from input to output, mean over {numbers(table['n'])} seeds. There is a panel for each {each}. Hollow: layers that "
        f"the method may not prune. An arrow: less than {100 * LEAST:g} % is left. Not shown: controls derived from another "
        "run, and models whose layers are all complete."
    )
    missing = if_empty(table, "no pruned model is finished yet, or none can be compared with its dense model")
    return Figure("allocation", "Weights left in each layer", caption, table, partial(draw, table), missing)


def draw(table: pd.DataFrame, looks: Looks, wide: bool) -> Canvas:
    """Draws a panel for each model and target or group, with a line per configuration."""
    parts = [
        (cell({"model": model, "group": str(group)}) + count, part.assign(label=series.short(part)))
        for (model, group), own in table.groupby(["model", "group"], sort=True)
        for count, part in _at_most(own)
    ]
    log, legend = float(table["left"].median()) < LOG, series.Legend.of(parts, looks)
    narrow = 2 if legend.lines else 1
    figure, grid = style.panels(len(parts), wide, height=1.9, most=2, narrow=narrow, names=legend.above)
    for (axes,), (name, part) in zip(grid, parts, strict=True):
        named = [_line(axes, rows, look, dash, log) for rows, look, dash in series.configurations(part, looks)]
        _axes(axes, part, log)
        style.title(axes, name, legend.above_panel(named))
    legend.draw(figure, wide, markers=True)
    return figure


def _at_most(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Splits the rows of one panel where they are too many, each part with its number: " (1 of 2)", or "" for a single part."""
    model, group = rows["model"].iloc[0], rows["group"].iloc[0]
    return [(name.removeprefix(model), part.assign(group=group)) for name, part in series.facets(rows.assign(group=""))]


def _line(axes: Axes, rows: pd.DataFrame, look: Look, dash: style.Dash, log: bool) -> Line2D:
    """Draws the line of one configuration; on a logarithmic axis, arrows for what is below `LEAST`."""
    shown, below = rows["left"].clip(0), rows[:0]
    if log:
        shown, below = rows["left"].clip(LEAST), rows[rows["left"] < LEAST]
    face = ink(**look.mark(), markersize=3)
    (line,) = axes.plot(rows["place"], 100 * shown, **face, linestyle=dash, linewidth=0.9, label=rows["label"].iloc[0])
    fixed = ~rows["prunable"].astype(bool)
    hollow = face | ink(markerfacecolor="white", linestyle="none")
    axes.plot(rows["place"][fixed], 100 * shown[fixed], **hollow)
    axes.plot(below["place"], [100 * LEAST] * len(below), CARETDOWN, color=look.colour, markersize=4)
    return line


def _axes(axes: Axes, rows: pd.DataFrame, log: bool) -> None:
    """Sets up the axes: layers from input to output, and the share of each in per cent."""
    last = int(rows["place"].max())
    axes.set_xlim(-0.6, last + 0.6)
    axes.set_xlabel("Layer, from input to output")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.yaxis.set_minor_locator(NullLocator())
        low = max(100 * LEAST, 80 * float(rows["left"].clip(LEAST).min()))
        axes.set_ylim(low * 0.8, 130)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.set_ylim(-4, 104)
    style.label_y(axes, "Weights left (%)")

"""Where each method takes its weights from: what is left of every layer, beside what the others leave of it.

Shares are of the dense model's layer, so that a layer with zeros and one with fewer channels stand on one axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.markers import CARETDOWN
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from reports.figures import series, style
from reports.figures.catalog import Figure, numbers
from reports.figures.style import Looks, ink, key
from reports.load.records import CONFIGURATION, CONTROL, Study, dicts, label

WHO = ["model", "group", "variant", "method", "reconstruction", "said", "label", "order", *CONFIGURATION]
COLUMNS = [*WHO, "place", "name", "weights", "prunable", "left", "low", "high", "n"]
LOG = 0.2  # with less left at the middle, the axis is logarithmic
LEAST = 0.001  # of a layer, the end of a logarithmic axis


def allocation(study: Study) -> pd.DataFrame:
    """One row per configuration and layer, in the dense model's order: the share of the layer's weights (0 to 1) that is left,
    mean over the seeds with its 95 % t interval. ``weights`` are the dense layer's; a layer that is gone has 0 left."""
    entries, dense = study.shown(), whole(study)
    derived = (entries["kind"] == "baseline") & entries["variant"].str.startswith("of ")  # of the shape of another
    entries = entries[(entries["method"] != CONTROL) & entries["model"].isin(dense) & ~derived]
    found = []
    for entry in dicts(entries):
        rows = pd.DataFrame([layer.to_json() for layer in study.records[entry["run"]].layers])
        if len(rows) and set(rows["name"]) & set(dense[entry["model"]]):
            own = _against(entry, rows, dense[entry["model"]])
            found += [own] if (own["left"] < 1).any() else []  # a dense model trained on has nothing to tell
    if not found:
        return pd.DataFrame(columns=COLUMNS)
    rows = pd.concat(found, ignore_index=True)
    return series.averages(rows, [*WHO, "place", "name", "weights", "prunable"], "left")


def _against(entry: Mapping[str, Any], rows: pd.DataFrame, dense: Mapping[str, int]) -> pd.DataFrame:
    """What a run leaves of each layer of the dense model, given the rows of its own layers."""
    own, weights = rows.set_index("name").reindex(list(dense)), list(dense.values())
    layers = {"place": range(len(dense)), "name": list(dense), "weights": weights}
    layers |= {
        "prunable": list(~own["prunable"].eq(False)),
        "left": list(own["nonzero"].fillna(0) / weights),
    }
    return pd.DataFrame({**{name: entry[name] for name in WHO if name != "label"}, "label": label(entry), **layers})


def whole(study: Study) -> dict[str, dict[str, int]]:
    """The weights of each layer of each dense model, from a dense control, or else from a run that has all its shapes."""
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
    """What is left of every layer."""
    table = allocation(study)
    several = "target or group of variants" if table["group"].any() else "model"
    caption = (
        "Share of the weights of each layer of the dense model that is left, by zeros and by channels removed alike, from "
        f"input to output, mean over {numbers(table['n'])} seeds. A panel for each {several}; hollow: layers that the method "
        f"may not prune; an arrow: less than {100 * LEAST:g} % is left. Left out: controls that follow from another run, and "
        "what leaves every layer whole."
    )
    missing = "" if len(table) else "no pruned model is finished yet, or none can be set against its dense model"
    return Figure("allocation", "What is left of each layer", caption, table, partial(draw, table), missing)


def draw(table: pd.DataFrame, looks: Looks, wide: bool) -> Canvas:
    """A panel for each model and target or group, a stepped line per configuration."""
    parts = [
        (
            (f"{model}{group}" if str(group).startswith("@") else f"{model}: {group}" if group else str(model)) + count,
            part,
        )
        for (model, group), own in table.groupby(["model", "group"], sort=True)
        for count, part in _at_most(own)
    ]
    parts = [(name, part.assign(label=series.short(part))) for name, part in parts]
    log = float(table["left"].median()) < LOG
    together = series.shared(parts, looks)
    above = [] if together else series.names(parts)
    figure, grid = style.panels(len(parts), wide, height=1.9, most=2, narrow=2 if together else 1, names=above)
    for (axes,), (name, part) in zip(grid, parts, strict=True):
        named = []
        for rows, look, dash in series.configurations(part, looks):
            shown = rows["left"].clip(LEAST if log else 0)
            face = ink(**look.mark(), markersize=3)
            line = ink(linestyle=dash, linewidth=0.9, label=rows["label"].iloc[0])
            named += axes.plot(rows["place"], 100 * shown, **face, **line)
            fixed = ~rows["prunable"].astype(bool)
            hollow = face | ink(markerfacecolor="white", linestyle="none")
            axes.plot(rows["place"][fixed], 100 * shown[fixed], **hollow)
            below = rows[rows["left"] < LEAST] if log else rows[:0]
            axes.plot(below["place"], [100 * LEAST] * len(below), CARETDOWN, color=look.colour, markersize=4)
        _axes(axes, part, log)
        style.title(axes, name, [] if together else named)
    if together:
        handles = [key(name, **look.mark(), markersize=3, linestyle=dash) for name, look, dash in together]
        style.legend(figure, handles, wide)
    return figure


def _at_most(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows in parts that are not too crowded, each with its count: " (1 of 2)"; "" where there is one."""
    model, group = rows["model"].iloc[0], rows["group"].iloc[0]
    return [(name.removeprefix(model), part.assign(group=group)) for name, part in series.facets(rows.assign(group=""))]


def _axes(axes: Axes, rows: pd.DataFrame, log: bool) -> None:
    """Layers from input to output, and a share of each."""
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
    if style.leftmost(axes):
        axes.set_ylabel("Weights left (%)")

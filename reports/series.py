"""Curves over training and sparsity over the layers, for the configurations that stand for their cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports import style
from reports.load import CONFIGURATION, Study
from reports.stats import mean
from reports.style import CONTROL, Looks, ink

WHO = ["model", "group", "method", "label", "order", *CONFIGURATION]
MOST = 8  # configurations in one panel, besides the controls
FEW_PANELS = 6  # up to which each has the width of the page
NAMED_POINTS = 7.5  # points of paper that a layer's name needs along the axis


def averages(rows: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Mean of a column over seeds, with n and the ends of its 95 % t interval (NaN for one seed), for each of ``by``."""
    found = []
    for key, group in rows.groupby(list(by), sort=True):
        over = mean(group[value])
        found.append(
            {**dict(zip(by, key, strict=True)), value: over.mean, "low": over.low, "high": over.high, "n": over.n}
        )
    return pd.DataFrame(found, columns=[*by, value, "low", "high", "n"])


def validation_curves(study: Study) -> pd.DataFrame:
    """Validation top-1 (per cent) at each evaluation, mean over the seeds of a configuration."""
    rows = study.parts(study.shown(), "curves")
    if not len(rows) or "val/top1" not in rows:
        return pd.DataFrame(columns=[*WHO, "step", "epoch", "val/top1", "low", "high", "n"])
    return averages(rows, [*WHO, "step", "epoch"], "val/top1")


def layer_sparsity(study: Study) -> pd.DataFrame:
    """Sparsity (0 to 1) of each layer in the model's order, mean over the seeds of a configuration."""
    entries = study.shown()
    rows = study.parts(entries[entries["method"] != CONTROL], "layers")
    if not len(rows):
        return pd.DataFrame(columns=[*WHO, "place", "name", "weights", "prunable", "sparsity", "low", "high", "n"])
    return averages(rows, [*WHO, "place", "name", "weights", "prunable"], "sparsity")


def draw_curves(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """A panel per model (in a grid per group of variants), a line per configuration."""
    parts = facets(table)
    figure, grid = style.panels(len(parts), wide, height=2.4, most=2, names=names(parts))
    for (axes,), (name, part) in zip(grid, parts, strict=True):
        named = []
        for rows, colour, dash in configurations(part, looks):
            label = rows["label"].iloc[0]
            named += axes.plot(rows["epoch"], rows["val/top1"], color=colour, linestyle=dash, label=label)
            axes.fill_between(rows["epoch"], rows["low"], rows["high"], color=colour, alpha=0.12, linewidth=0)
        style.accuracy_axis(axes, "Validation top-1 (%)")
        axes.set_xlabel("Epoch")
        style.title(axes, name, named)
    return figure


def draw_layers(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """A panel per model, below each other: layers need the width. Layers that may not be pruned are hollow."""
    parts = facets(table)
    few = len(parts) <= FEW_PANELS
    figure, grid = style.panels(len(parts), wide, height=2.4, most=1 if few else 2, names=names(parts))
    for (axes,), (name, part) in zip(grid, parts, strict=True):
        named = []
        for rows, colour, dash in configurations(part, looks):
            fixed = rows[~rows["prunable"].astype(bool)]
            line = ink(color=colour, marker=looks[rows["method"].iloc[0]].marker, markersize=3, linewidth=0.9)
            label = rows["label"].iloc[0]
            named += axes.plot(rows["place"], 100 * rows["sparsity"], linestyle=dash, label=label, **line)
            hollow = line | ink(linestyle="none", markerfacecolor="white")
            axes.plot(fixed["place"], 100 * fixed["sparsity"], **hollow)
        _name_layers(axes, part, room=72 * style.panel_width(axes) if few else 0)
        axes.set_ylabel("Sparsity (%)")
        axes.set_ylim(-4, 104)
        style.title(axes, name, named)
    return figure


def facets(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """What shares a panel, with its title: the rows of a model; of a grid, or where a ladder has too many, of one group.

    More than `MOST` configurations are dealt out to several panels. Controls are in every panel of their model.
    """
    found, models = [], table["model"].unique()
    for model in models:
        own = table[table["model"] == model]
        control, rows = (
            own[own["kind"] == "baseline"],
            own[own["kind"] != "baseline"].sort_values("order", kind="stable"),
        )
        crowded = len(rows.drop_duplicates(CONFIGURATION)) > MOST
        split = rows["group"].nunique() > 1 and (crowded or bool((rows["order"] >= 0).any()))
        for group in rows["group"].unique() if split else [None]:
            part = rows if group is None else rows[rows["group"] == group]
            name = model if not group else f"{model}: {group}" if len(models) > 1 else str(group)
            dealt = _dealt(part)
            for i, some in enumerate(dealt):
                count = f" ({i + 1} of {len(dealt)})" if len(dealt) > 1 else ""
                found.append((name + count, pd.concat([control, some], ignore_index=True)))
    return found


def names(parts: Sequence[tuple[str, pd.DataFrame]]) -> list[list[str]]:
    """The names of the configurations in each panel."""
    return [list(part.drop_duplicates(CONFIGURATION)["label"]) for _, part in parts]


def _dealt(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows in as few parts of at most `MOST` configurations as will do, as even as can be, in their order."""
    place = rows.groupby(["order", "method", *CONFIGURATION], sort=True).ngroup()
    count = int(place.max()) + 1 if len(rows) else 0
    parts = max(1, math.ceil(count / MOST))
    return [rows[(place * parts // max(1, count)) == i] for i in range(parts)]


def configurations(rows: pd.DataFrame, looks: Looks) -> list[tuple[pd.DataFrame, style.Colour, style.Dash]]:
    """The rows of each configuration with its colour and dashes: methods differ by hue, their configurations by dashes,
    and where there are more of these than dashes, by shade too."""
    found, groups = [], rows.groupby(["order", "method", *CONFIGURATION], sort=True)
    counts = rows.drop_duplicates(CONFIGURATION)["method"].value_counts().to_dict()
    seen = dict.fromkeys(counts, 0)
    for (_, name, *_), own in groups:
        method = str(name)
        index, seen[method] = seen[method], seen[method] + 1
        colour, dash = looks[method].colour, style.LINES[index % len(style.LINES)]
        if method == CONTROL:
            dash = style.CONTROL_DASH
        elif counts[method] > len(style.LINES):
            colour = style.shade(colour, index, counts[method])
        found.append((own, colour, dash))
    return found


def _name_layers(axes: Axes, rows: pd.DataFrame, room: float) -> None:
    """Names where they can be read in the room (points), and numbers otherwise (the CSV file has the names)."""
    names = rows.drop_duplicates("place").sort_values("place")["name"].str.removesuffix(".weight")
    axes.set_xlim(-0.6, len(names) - 0.4)
    if room >= NAMED_POINTS * len(names):
        axes.set_xticks(range(len(names)), names.tolist(), rotation=90, fontsize=6)
    else:
        axes.set_xlabel("Layer, from input to output")

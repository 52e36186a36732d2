"""Curves over training and sparsity over the layers, for the configurations that stand for their cells."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports import style
from reports.load import CONFIGURATION, Study
from reports.stats import mean
from reports.style import CONTROL, PAGE, Looks, ink

WHO = ["model", "method", "label", *CONFIGURATION]
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
    """A panel per model, a line per configuration."""
    models = list(table["model"].unique())
    figure, grid = style.panels(len(models), wide, height=2.4, most=2)
    for (axes,), model in zip(grid, models, strict=True):
        named = []
        for rows, dash in configurations(table[table["model"] == model]):
            colour, label = looks[rows["method"].iloc[0]].colour, rows["label"].iloc[0]
            named += axes.plot(rows["epoch"], rows["val/top1"], color=colour, linestyle=dash, label=label)
            axes.fill_between(rows["epoch"], rows["low"], rows["high"], color=colour, alpha=0.12, linewidth=0)
        style.accuracy_axis(axes, "Validation top-1 (%)")
        axes.set_xlabel("Epoch")
        style.title(axes, model, named)
    return figure


def draw_layers(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """A panel per model, below each other: layers need the width. Layers that may not be pruned are hollow."""
    models = list(table["model"].unique())
    figure, grid = style.panels(len(models), wide, height=2.4, most=1)
    for (axes,), model in zip(grid, models, strict=True):
        named = []
        for rows, dash in configurations(table[table["model"] == model]):
            look, fixed = looks[rows["method"].iloc[0]], rows[~rows["prunable"].astype(bool)]
            line = ink(color=look.colour, marker=look.marker, markersize=3, linewidth=0.9)
            label = rows["label"].iloc[0]
            named += axes.plot(rows["place"], 100 * rows["sparsity"], linestyle=dash, label=label, **line)
            hollow = line | ink(linestyle="none", markerfacecolor="white")
            axes.plot(fixed["place"], 100 * fixed["sparsity"], **hollow)
        _name_layers(axes, table[table["model"] == model], wide)
        axes.set_ylabel("Sparsity (%)")
        axes.set_ylim(-4, 104)
        style.title(axes, model, named)
    return figure


def configurations(rows: pd.DataFrame) -> list[tuple[pd.DataFrame, style.Dash]]:
    """The rows of each configuration with its line style: methods differ by colour, their configurations by dashes."""
    found, counts = [], dict[str, int]()
    for _, own in rows.groupby(["method", *CONFIGURATION], sort=True):
        method = str(own["method"].iloc[0])
        index = counts[method] = counts.get(method, -1) + 1
        found.append((own, style.CONTROL_DASH if method == CONTROL else style.LINES[index % len(style.LINES)]))
    return found


def _name_layers(axes: Axes, rows: pd.DataFrame, wide: bool) -> None:
    """Names where they can be read, and numbers otherwise (the CSV file has the names)."""
    names = rows.drop_duplicates("place").sort_values("place")["name"].str.removesuffix(".weight")
    room = 72 * (PAGE if wide else style.COLUMN) * 0.88 / max(1, len(names))
    axes.set_xlim(-0.6, len(names) - 0.4)
    if room >= NAMED_POINTS:
        axes.set_xticks(range(len(names)), names.tolist(), rotation=90, fontsize=6)
    else:
        axes.set_xlabel("Layer, from input to output")

"""Curves over training and sparsity over the layers, for the configurations that stand for their cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.figures import style
from reports.figures.style import Look, Looks, ink
from reports.load.records import CONFIGURATION, CONTROL, Study
from reports.statistics.summary import mean

WHO = ["model", "group", "variant", "method", "label", "order", *CONFIGURATION]
MOST = 8  # configurations in one panel, besides the controls
BANDS = 8  # configurations in a panel whose bands can be told apart
TOGETHER = 24  # names in one legend below all panels
FEW_PANELS = 6  # up to which each has the width of the page
NAMED_POINTS = 7.5  # points of paper that a layer's name needs along the axis
LEFT_OUT = "Controls that follow from another run are in the CSV only."
BEGUN = f"The epochs of the dense model that a run starts from are counted. {LEFT_OUT}"


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
    """Validation top-1 (per cent) at each evaluation, mean over the seeds of a configuration. ``epoch`` is counted from where
    the training of the dense model began that a run starts from; ``begun`` are the epochs of that."""
    rows = study.parts(study.shown(), "curves")
    if not len(rows) or "val/top1" not in rows:
        return pd.DataFrame(columns=[*WHO, "step", "epoch", "begun", "val/top1", "low", "high", "n"])
    begun = {run: _begun(study, run) for run in rows["run"].unique()}
    rows = rows.assign(begun=rows["run"].map(begun))
    return averages(rows.assign(epoch=rows["epoch"] + rows["begun"]), [*WHO, "step", "epoch", "begun"], "val/top1")


def _begun(study: Study, run: str) -> float:
    """The epochs that were trained before a run, as many as its own steps say."""
    record = study.records[run]
    return record.run.epochs * record.cost.start_steps / max(1, record.cost.steps)


def layer_sparsity(study: Study) -> pd.DataFrame:
    """Sparsity (0 to 1) of each layer in the model's order, mean over the seeds of a configuration."""
    entries = study.shown()
    rows = study.parts(entries[entries["method"] != CONTROL], "layers")
    if not len(rows):
        return pd.DataFrame(columns=[*WHO, "place", "name", "weights", "prunable", "sparsity", "low", "high", "n"])
    return averages(rows, [*WHO, "place", "name", "weights", "prunable"], "sparsity")


def draw_curves(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """A panel per model (in a grid per group of variants), a line per configuration."""
    parts = [(name, _since(part)) for name, part in facets(table)]
    together = shared(parts, looks)
    figure, grid = style.panels(len(parts), wide, height=2.1, most=2, names=[] if together else names(parts))
    for (axes,), (name, part) in zip(grid, parts, strict=True):
        named = []
        for rows, look, dash in configurations(part, looks):
            line = ink(color=look.colour, linestyle=dash, label=rows["label"].iloc[0])
            named += axes.plot(rows["epoch"], rows["val/top1"], **line)
            if len(part.drop_duplicates(CONFIGURATION)) <= BANDS:
                axes.fill_between(rows["epoch"], rows["low"], rows["high"], color=look.colour, alpha=0.12, linewidth=0)
        if _first(part) > 0:
            axes.set_xlim(left=_first(part))
        style.accuracy_axis(axes, "Validation top-1 (%)")
        axes.set_xlabel("Epoch")
        style.title(axes, name, [] if together else named)
    if together:
        style.legend(
            figure, [style.key(name, color=look.colour, linestyle=dash) for name, look, dash in together], wide
        )
    return figure


def _first(part: pd.DataFrame) -> float:
    """The epoch after which the methods of a panel begin to train."""
    own = part[part["kind"] != "baseline"]
    return float((own if len(own) else part)["begun"].min())


def _since(part: pd.DataFrame) -> pd.DataFrame:
    """What trains while the methods do: the dense models that they start from have ended."""
    return part[part.groupby(CONFIGURATION)["epoch"].transform("max") > _first(part)]


def draw_layers(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """A panel per model, below each other: layers need the width. Layers that may not be pruned are hollow."""
    parts = facets(table)
    few, together = len(parts) <= FEW_PANELS, shared(parts, looks)
    most, above = 1 if few else 2, [] if together else names(parts)
    figure, grid = style.panels(len(parts), wide, height=2.0, most=most, names=above)
    for (axes,), (name, part) in zip(grid, parts, strict=True):
        named = []
        for rows, look, dash in configurations(part, looks):
            fixed = rows[~rows["prunable"].astype(bool)]
            line = ink(**look.mark(), markersize=3, linewidth=0.9)
            label = rows["label"].iloc[0]
            named += axes.plot(rows["place"], 100 * rows["sparsity"], linestyle=dash, label=label, **line)
            hollow = line | ink(linestyle="none", markerfacecolor="white")
            axes.plot(fixed["place"], 100 * fixed["sparsity"], **hollow)
        last = len(parts) - most <= grid.index([axes])  # names below the lowest panels of a model are enough
        _name_layers(axes, part, room=72 * style.panel_width(axes) if few and (last or not together) else 0)
        axes.set_ylabel("Sparsity (%)")
        axes.set_ylim(-4, 104)
        style.title(axes, name, [] if together else named)
    if together:
        handles = [style.key(n, **look.mark(), markersize=3, linestyle=dash) for n, look, dash in together]
        style.legend(figure, handles, wide)
    return figure


def facets(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """What shares a panel, with its title: the rows of a model; of a grid, or where a ladder has too many, of one group.

    More than `MOST` configurations are dealt out to several panels. Controls of a target are in the panels of that target,
    others in every panel of their model, and those that follow from another run in none.
    """
    found, models = [], table["model"].unique()
    if "variant" in table:
        table = table[(table["kind"] != "baseline") | ~table["variant"].str.startswith("of ")]
    for model in models:
        own = table[table["model"] == model]
        control = own[own["kind"] == "baseline"]
        rows = own[own["kind"] != "baseline"].sort_values("order", kind="stable")
        crowded = len(own[own["group"] != ""].drop_duplicates(CONFIGURATION)) > MOST
        split = rows["group"].nunique() > 1 and (crowded or bool((rows["order"] >= 0).any()))
        for group in rows["group"].unique() if split else [None]:
            part = rows if group is None else rows[rows["group"] == group]
            beside = control if group is None else control[control["group"].isin(("", group))]
            name = model if not group else f"{model}: {group}" if len(models) > 1 else str(group)
            dealt = _dealt(part)
            for i, some in enumerate(dealt):
                count = f" ({i + 1} of {len(dealt)})" if len(dealt) > 1 else ""
                both = pd.concat([beside, some], ignore_index=True)
                found.append((name + count, both.assign(label=short(both) if group else both["label"])))
    return found


def short(rows: pd.DataFrame) -> list[str]:
    """The names of configurations without the target that their panel is named after."""
    pairs = zip(rows["label"], rows["group"], strict=True)
    return [name.replace(f" {group}", "") if group.startswith("@") else name for name, group in pairs]


def names(parts: Sequence[tuple[str, pd.DataFrame]]) -> list[list[str]]:
    """The names of the configurations in each panel."""
    return [list(part.drop_duplicates(CONFIGURATION)["label"]) for _, part in parts]


def shared(parts: Sequence[tuple[str, pd.DataFrame]], looks: Looks) -> list[tuple[str, Look, style.Dash]]:
    """The lines of several panels, where one legend can name them all: as a name has one look. Empty where it cannot."""
    found = dict[str, tuple[Look, style.Dash]]()
    for _, part in parts:
        for rows, look, dash in configurations(part, looks):
            if found.setdefault(str(rows["label"].iloc[0]), (look, dash)) != (look, dash):
                return []
    named = [(name, look, dash) for name, (look, dash) in found.items()]
    return sorted(named, key=lambda line: line[1].hollow) if len(parts) > 1 and len(found) <= TOGETHER else []


def _dealt(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows in as few parts of at most `MOST` configurations as will do, as even as can be, in their order."""
    place = rows.groupby(["order", "method", *CONFIGURATION], sort=True).ngroup()
    count = int(place.max()) + 1 if len(rows) else 0
    parts = max(1, math.ceil(count / MOST))
    return [rows[(place * parts // max(1, count)) == i] for i in range(parts)]


def configurations(rows: pd.DataFrame, looks: Looks) -> list[tuple[pd.DataFrame, Look, style.Dash]]:
    """The rows of each configuration with its look and dashes: methods differ by hue, their configurations by dashes, and
    where there are more of these than dashes, by shade too; what was injected is grey, and differs by dashes."""
    found, groups = [], rows.groupby(["order", "method", *CONFIGURATION], sort=True)
    counts = rows.drop_duplicates(CONFIGURATION)["method"].value_counts().to_dict()
    seen = dict.fromkeys(counts, 0)
    for (_, name, *_), own in groups:
        method = str(name)
        index, seen[method] = seen[method], seen[method] + 1
        look = looks[method]
        dash = style.LINES[(index + (style.MARKERS.index(look.marker) if look.hollow else 0)) % len(style.LINES)]
        if method == CONTROL:
            dash = style.CONTROL_DASH
        elif counts[method] > len(style.LINES):
            look = replace(look, colour=style.shade(look.colour, index, counts[method]))
        found.append((own, look, dash))
    return found


def _name_layers(axes: Axes, rows: pd.DataFrame, room: float) -> None:
    """Names where they can be read in the room (points), and numbers otherwise (the CSV file has the names)."""
    names = rows.drop_duplicates("place").sort_values("place")["name"].str.removesuffix(".weight")
    axes.set_xlim(-0.6, len(names) - 0.4)
    if room >= NAMED_POINTS * len(names):
        axes.set_xticks(range(len(names)), names.tolist(), rotation=90, fontsize=6)
    else:
        axes.set_xlabel("Layer, from input to output")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

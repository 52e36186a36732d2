"""Validation curves over training, and sparsity over the layers, of the finals (or of the best trials so far)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.figures import style
from reports.figures.style import Look, Looks, ink
from reports.load.records import CONFIGURATION, CONTROL, Study
from reports.load.units import by_dense_model
from reports.statistics.summary import accuracy, mean

Part = tuple[str, pd.DataFrame]
"""A panel's title and rows."""

Line = tuple[str, Look, style.Dash]
"""A line of a figure: its name, look and dashes."""

WHO = ["model", "group", "variant", "method", "label", "order", *CONFIGURATION]
MOST = 8  # configurations in one panel, besides the controls
BANDS = 8  # configurations in a panel up to which their bands are drawn
TOGETHER = 24  # names in one legend below all panels
FEW_PANELS = 6  # up to which each panel has the width of the page
NAMED_POINTS = 7.5  # points of paper that a layer's name needs along the axis
LEFT_OUT = "Controls derived from another run are in the CSV only."
BEGUN = f"Epochs include those of the dense model that a run starts from. {LEFT_OUT}"


def averages(rows: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Returns for each group of ``by`` the mean of a column over dense models, with n and the ends of its 95 % interval (NaN
    for one)."""
    found, average = [], accuracy if "top1" in value else mean
    for key, group in rows.groupby(list(by), sort=True):
        found.append({**dict(zip(by, key, strict=True)), **average(by_dense_model(group, value)).columns(value)})
    return pd.DataFrame(found, columns=[*by, value, "low", "high", "n"])


def validation_curves(study: Study) -> pd.DataFrame:
    """Returns validation top-1 (per cent) at each evaluation, mean over the seeds of a configuration.

    ``epoch`` includes the training of the dense model that a run starts from; ``begun`` is the number of epochs of that.
    """
    rows = study.parts(study.shown(), "curves")
    if not len(rows) or "val/top1" not in rows:
        return pd.DataFrame(columns=[*WHO, "step", "epoch", "begun", "val/top1", "low", "high", "n"])
    begun = {run: _begun(study, run) for run in rows["run"].unique()}
    rows = rows.assign(begun=rows["run"].map(begun))
    return averages(rows.assign(epoch=rows["epoch"] + rows["begun"]), [*WHO, "step", "epoch", "begun"], "val/top1")


def _begun(study: Study, run: str) -> float:
    """Epochs of the dense model that a run starts from, at the run's own steps per epoch."""
    record = study.records[run]
    return record.run.epochs * record.cost.start_steps / max(1, record.cost.steps)


def layer_sparsity(study: Study) -> pd.DataFrame:
    """Returns the sparsity (0 to 1) of each layer in the model's order, mean over the seeds of a configuration."""
    entries = study.shown()
    rows = study.parts(entries[entries["method"] != CONTROL], "layers")
    if not len(rows):
        return pd.DataFrame(columns=[*WHO, "place", "name", "weights", "prunable", "sparsity", "low", "high", "n"])
    return averages(rows, [*WHO, "place", "name", "weights", "prunable"], "sparsity")


def draw_curves(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """Draws a panel per model (in a grid per group of variants) with a line per configuration."""
    parts = [(name, _since(part)) for name, part in facets(table)]
    legend = Legend.of(parts, looks)
    figure, grid = style.panels(len(parts), wide, height=2.1, most=2, names=legend.above)
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
        style.title(axes, name, legend.above_panel(named))
    legend.draw(figure, wide, markers=False)
    return figure


def _first(part: pd.DataFrame) -> float:
    """The epoch at which the first method of a panel begins to train; of controls only, the first of these."""
    own = part[part["kind"] != "baseline"]
    if not len(own):
        own = part
    return float(own["begun"].min())


def _since(part: pd.DataFrame) -> pd.DataFrame:
    """The curves that go on after the first method began to train: not those of the dense models that runs start from."""
    return part[part.groupby(CONFIGURATION)["epoch"].transform("max") > _first(part)]


def draw_layers(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """Draws a panel per model with a line per configuration, at full width, as layers are many. Layers that the method may
    not prune are hollow."""
    parts = facets(table)
    legend, few = Legend.of(parts, looks), len(parts) <= FEW_PANELS
    across = 1 if few else 2
    figure, grid = style.panels(len(parts), wide, height=2.0, most=across, names=legend.above)
    for (axes,), (name, part) in zip(grid, parts, strict=True):
        named = []
        for rows, look, dash in configurations(part, looks):
            fixed = rows[~rows["prunable"].astype(bool)]
            line = ink(**look.mark(), markersize=3, linewidth=0.9)
            label = rows["label"].iloc[0]
            named += axes.plot(rows["place"], 100 * rows["sparsity"], linestyle=dash, label=label, **line)
            hollow = line | ink(linestyle="none", markerfacecolor="white")
            axes.plot(fixed["place"], 100 * fixed["sparsity"], **hollow)
        lowest = len(parts) - across <= grid.index([axes])  # with one legend, only the lowest panels name the layers
        _label_layers(axes, part, can_name=few and (lowest or not legend.lines))
        axes.set_ylabel("Sparsity (%)")
        axes.set_ylim(-4, 104)
        style.title(axes, name, legend.above_panel(named))
    legend.draw(figure, wide, markers=True)
    return figure


def facets(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Splits the rows into panels, each with its title: by model; of a grid, or of a ladder with many configurations, by group
    too.

    More than `MOST` configurations are divided among several panels. Controls of a target are in the panels of that target,
    other controls in every panel of their model, and controls derived from another run in none.
    """
    found, models = [], table["model"].unique()
    if "variant" in table:
        table = table[(table["kind"] != "baseline") | ~table["variant"].str.startswith("of ")]
    for model in models:
        own = table[table["model"] == model]
        control = own[own["kind"] == "baseline"]
        rows = own[own["kind"] != "baseline"].sort_values("order", kind="stable")
        crowded = len(own[own["group"] != ""].drop_duplicates(CONFIGURATION)) > MOST
        if rows["group"].nunique() > 1 and (crowded or bool((rows["order"] >= 0).any())):
            for group, part in rows.groupby("group", sort=False):
                beside = control[control["group"].isin(("", group))]
                found += _dealt(part, beside, _panel_title(model, str(group), alone=len(models) == 1), bool(group))
        else:
            found += _dealt(rows, control, model, False)
    return found


def _panel_title(model: str, group: str, *, alone: bool) -> str:
    if not group:
        return model
    if alone:
        return group
    return f"{model}: {group}"


def _dealt(rows: pd.DataFrame, beside: pd.DataFrame, title: str, shorten: bool) -> list[tuple[str, pd.DataFrame]]:
    """Divides rows among as few panels of at most `MOST` configurations as possible, evenly and in order, each with the
    controls ``beside``; ``shorten``: labels without the target, which is in the title."""
    place = rows.groupby(["order", "method", *CONFIGURATION], sort=True).ngroup()
    count = int(place.nunique())
    parts, found = max(1, math.ceil(count / MOST)), []
    for i in range(parts):
        both = pd.concat([beside, rows[(place * parts // max(1, count)) == i]], ignore_index=True)
        if shorten:
            both = both.assign(label=short(both))
        number = f" ({i + 1} of {parts})" if parts > 1 else ""
        found.append((title + number, both))
    return found


def short(rows: pd.DataFrame) -> list[str]:
    """The labels of configurations without the target, which the panel's title names."""
    return [_without(label, group) for label, group in zip(rows["label"], rows["group"], strict=True)]


def _without(label: str, group: str) -> str:
    if not group.startswith("@"):
        return label
    return label.replace(f" {group}", "")


def names(parts: Sequence[Part]) -> list[list[str]]:
    """The names of the configurations in each panel."""
    return [list(part.drop_duplicates(CONFIGURATION)["label"]) for _, part in parts]


@dataclass(frozen=True)
class Legend:
    """The legend of several panels: one below them all (``lines``), or where it is impossible, names ``above`` each panel."""

    lines: Sequence[Line]
    above: Sequence[Sequence[str]]

    @classmethod
    def of(cls, parts: Sequence[Part], looks: Looks) -> Legend:
        """One legend where it can name all lines of ``parts``, see `shared`; else one above each panel."""
        lines = shared(parts, looks)
        if lines:
            return cls(lines, ())
        return cls((), names(parts))

    def above_panel(self, named: Sequence[Artist]) -> Sequence[Artist]:
        """The lines whose names are above a panel."""
        if self.lines:
            return ()
        return named

    def draw(self, figure: Figure, wide: bool, *, markers: bool) -> None:
        """Draws the legend below all panels, if there is one."""
        if not self.lines:
            return
        handles = []
        for name, look, dash in self.lines:
            mark = ink(**look.mark(), markersize=3) if markers else ink(color=look.colour)
            handles.append(style.key(name, **mark, linestyle=dash))
        style.legend(figure, handles, wide)


def shared(parts: Sequence[Part], looks: Looks) -> list[Line]:
    """The lines of several panels; empty where one legend cannot name them: a name has two looks, or they are too many."""
    found = dict[str, tuple[Look, style.Dash]]()
    for _, part in parts:
        for rows, look, dash in configurations(part, looks):
            if found.setdefault(str(rows["label"].iloc[0]), (look, dash)) != (look, dash):
                return []
    if len(parts) < 2 or len(found) > TOGETHER:
        return []
    named = [(name, look, dash) for name, (look, dash) in found.items()]
    return sorted(named, key=lambda line: line[1].hollow)


def configurations(rows: pd.DataFrame, looks: Looks) -> list[tuple[pd.DataFrame, Look, style.Dash]]:
    """Returns the rows of each configuration with its look and dashes.

    Methods differ by colour, their configurations by dashes, and also by shade where they outnumber the dashes. Added
    baselines are grey and differ by dashes.
    """
    found, groups = [], rows.groupby(["order", "method", *CONFIGURATION], sort=True)
    counts = rows.drop_duplicates(CONFIGURATION)["method"].value_counts().to_dict()
    seen = dict.fromkeys(counts, 0)
    for (_, name, *_), own in groups:
        method = str(name)
        index, seen[method] = seen[method], seen[method] + 1
        look = looks[method]
        first = style.MARKERS.index(look.marker) if look.hollow else 0
        dash = style.LINES[(index + first) % len(style.LINES)]
        if method == CONTROL:
            dash = style.CONTROL_DASH
        elif counts[method] > len(style.LINES):
            look = replace(look, colour=style.shade(look.colour, index, counts[method]))
        found.append((own, look, dash))
    return found


def _label_layers(axes: Axes, rows: pd.DataFrame, *, can_name: bool) -> None:
    """Labels the axis with the names of the layers where they are wanted and fit, else with numbers (the CSV has the names)."""
    names = rows.drop_duplicates("place").sort_values("place")["name"].str.removesuffix(".weight")
    axes.set_xlim(-0.6, len(names) - 0.4)
    if can_name and 72 * style.panel_width(axes) >= NAMED_POINTS * len(names):
        axes.set_xticks(range(len(names)), names.tolist(), rotation=90, fontsize=6)
    else:
        axes.set_xlabel("Layer, from input to output")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

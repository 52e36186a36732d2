"""Drop Pruning's ablations: the sparsity that constant drop probabilities converge to, and the accuracy of the method's parts.

The predictions are not computed here: the study declares the expected fixed point of each variant among its facts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures import style
from reports.figures.style import INK, Looks, ink, key
from reports.load.records import CONFIGURATION, CONTROL, Study, called, dicts, label
from reports.load.units import by_dense_model
from reports.statistics.summary import accuracy, mean

WHOSE = ["model", "method", "reconstruction", "said", "group"]
COLUMNS = [*WHOSE, "label", "series", "name", "order", "x", "predicted", "value", "low", "high", "n"]
RULES = {"fraction": "R1, a fixed fraction", "target": "R2, directed at the target"}
PARTS = {"away": "away only", "back": "back only", "both": "both"}
SPARSITY, TOP1 = "sparsity", "accuracy"
STYLES: tuple[tuple[str, style.Dash], ...] = (("o", "-"), ("s", (0, (4, 1.5))), ("^", (0, (1.5, 1.2))))


def fixed_points(study: Study) -> pd.DataFrame:
    """Returns one row per variant with results, and per control: mean over seeds with a 95 % t interval.

    ``series`` is "sparsity" where a fixed point was predicted: ``value`` is then the measured share of zeros among the
    prunable weights, ``x`` the drop-back probability, ``name`` the rule, ``order`` that of the two drops. It is "accuracy"
    elsewhere: test top-1 (per cent) at the wanted sparsity ``x``, ``name`` the part ("" and no ``x`` for a control).
    """
    rows = []
    for (cell, *_), own in study.done("final", "baseline").groupby(CONFIGURATION, sort=True):
        first, facts = dicts(own)[0], study.facts(str(cell))
        fields = {**study.records[first["run"]].run.method, **first["params"]}
        if "predicted" in facts:
            about, over = _settled(fields, facts), mean(by_dense_model(own, "sparsity"))
        else:
            about, over = _part(first, fields, facts), accuracy(by_dense_model(own, "test_top1"))
        whose = {**{k: first[k] for k in WHOSE}, "label": label(first)}
        rows.append({**whose, **about, **over.columns("value")})
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values(["model", "series", "name", "order", "x"], ignore_index=True)


def _settled(fields: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """A variant with constant probabilities and a predicted fixed point."""
    rule = RULES.get(fields.get("rule", ""), str(fields.get("rule")))
    order = {"order": fields.get("order", ""), "predicted": facts["predicted"]}
    return {"series": SPARSITY, "name": rule, "x": facts["back"], **order}


def _part(entry: Mapping[str, Any], fields: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """A variant with one part of the method, or with both; or a control."""
    name = PARTS.get(fields.get("parts", ""), entry["variant"])
    if entry["kind"] == "baseline":
        name = ""
    return {"series": TOP1, "name": name, "x": facts.get("target", math.nan)}


def farthest(table: pd.DataFrame) -> str:
    """A sentence on the largest distance between the measured sparsity and the predicted one."""
    rows = table[table["series"] == SPARSITY]
    if not len(rows):
        return "No variant with a prediction has a result yet."
    distance = (rows["value"] - rows["predicted"]).abs()
    worst = dicts(rows)[int(distance.argmax())]
    inside = int(((rows["low"] <= rows["predicted"]) & (rows["predicted"] <= rows["high"])).sum())
    several = int(rows["low"].notna().sum())
    told = (
        f"The largest difference between a mean and its prediction, of {len(rows)}, is {100 * distance.max():.2f} points of "
        f"sparsity ({worst['label']} on {worst['model']})"
    )
    if several:
        told += f"; {inside} of the {several} intervals contain the prediction"
    return f"{told}."


def draw(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """Draws for each model a panel per rule, and one for the accuracy of the parts."""
    shown = table[(table["series"] == SPARSITY) | (table["name"] != "")]
    keys = shown.drop_duplicates(["model", "series", "name"]).query("series == @SPARSITY")[["model", "name"]]
    plans = [(model, name, SPARSITY) for model, name in zip(keys["model"], keys["name"], strict=True)]
    plans += [(model, "accuracy of the parts", TOP1) for model in shown.loc[shown["series"] == TOP1, "model"].unique()]
    plans.sort(key=lambda plan: (plan[0], plan[2] == TOP1))
    several = table["model"].nunique() > 1
    figure, grid = style.panels(len(plans), wide, height=2.5)
    for (axes,), (model, name, series) in zip(grid, plans, strict=True):
        rows = table[(table["model"] == model) & (table["series"] == series)]
        if series == SPARSITY:
            rows = rows[rows["name"] == name]
        named = PANELS[series](axes, rows, looks)
        style.title(axes, f"{model}: {name}" if several else name, named)
    style.legend(figure, _handles(table, looks), wide)
    return figure


def _sparsities(axes: Axes, rows: pd.DataFrame, looks: Looks) -> list[Line2D]:
    """Draws measured points with intervals, and the predicted fixed points joined by a line, for each order of the drops."""
    named = []
    for (order, own), (marker, dash) in zip(rows.groupby("order", sort=True), STYLES, strict=False):
        colour, hollow = looks[own["method"].iloc[0]].colour, dash != "-"
        axes.plot(own["x"], 100 * own["predicted"], color=INK, linestyle=dash, linewidth=0.9)
        half = 100 * (own["high"] - own["value"]).fillna(0)
        face = ink(color=colour, marker=marker, markerfacecolor=style.fill(colour, hollow=hollow), zorder=3)
        axes.errorbar(own["x"], 100 * own["value"], half, linestyle="none", capsize=2, elinewidth=0.8, **face)
        named.append(key(str(order), linestyle=dash, color=INK, **_marker(marker, colour, hollow=hollow)))
    style.log_axis(axes.xaxis)
    axes.set_xticks(sorted(rows["x"].unique()))
    axes.set_xlabel("Drop-back probability")
    axes.set_ylabel("Sparsity (%)")
    return named


def _accuracies(axes: Axes, rows: pd.DataFrame, looks: Looks) -> list[Line2D]:
    """Draws test top-1 of each part over the target, slightly shifted so that intervals do not hide each other."""
    parts, named = rows[rows["name"] != ""], []
    for i, ((name, own), (marker, dash)) in enumerate(zip(parts.groupby("name", sort=True), STYLES, strict=False)):
        look, half = looks[own["method"].iloc[0]], (own["high"] - own["value"]).fillna(0)
        aside = 100 * own["x"] + 0.35 * (i - 1)
        line = ink(color=look.colour, linestyle=dash, **_marker(marker, look.colour, hollow=dash != "-"))
        axes.errorbar(aside, own["value"], half, capsize=2, elinewidth=0.8, linewidth=1, **line)
        named.append(key(str(name), **line))
    for control in dicts(rows[rows["method"] == CONTROL]):
        style.control_line(axes, control["value"], control["low"], control["high"])
    targets = sorted(100 * parts["x"].dropna().unique())
    axes.set_xticks(targets, [f"{t:g}" for t in targets])
    if targets:
        axes.set_xlim(targets[0] - 3, targets[-1] + 3)
    axes.set_xlabel("Wanted sparsity (%)")
    axes.set_ylabel("Test top-1 (%)")
    return named


PANELS = {SPARSITY: _sparsities, TOP1: _accuracies}
"""The function that draws a panel of each series."""


def _marker(marker: str, colour: str, *, hollow: bool) -> dict[str, object]:
    return ink(marker=marker, markeredgecolor=colour, markerfacecolor=style.fill(colour, hollow=hollow))


def _handles(table: pd.DataFrame, looks: Looks) -> list[Line2D]:
    row = dicts(table[table["method"] != CONTROL].head(1))[0]
    found = [key(f"{called(row)}, measured", color=looks[row["method"]].colour, marker="o", linestyle="none")]
    if (table["series"] == SPARSITY).any():
        found.append(key("predicted fixed point", color=INK, linewidth=0.9))
    if (table["method"] == CONTROL).any():
        found.append(style.control_key())
    return found

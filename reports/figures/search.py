"""The figures of tuning: history of the trials, importances of the parameters, and slices (accuracy over each parameter)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from reports.figures import style
from reports.figures.style import INK, Looks, ink, key
from reports.load.records import Study, called_cell, dicts
from reports.statistics.summary import hypervolume, pareto_front

PATTERNS = ("", "//////", "......")
KNOBS = 4  # tuned parameters of a cell that are drawn
PANELS = 12  # maximum number of panels in one figure


@dataclass(frozen=True)
class Reached:
    """What the history shows besides single trials: in the ``caption``, in the ``legend``, and in how many ``rows``."""

    caption: str
    legend: str
    rows: int
    colour: str


REACHED = {
    False: Reached("the best so far", "best so far", 1, INK),
    True: Reached(
        "the share of the accuracy–size rectangle that all trials so far dominate",
        "share of the accuracy–size plane dominated so far",
        2,
        "#777777",
    ),
}
"""By whether the study is a Pareto study."""


def history(study: Study) -> pd.DataFrame:
    """Returns one row per ended trial of each cell, by trial number.

    ``accuracy`` is its validation top-1 (NaN: it failed), ``reached`` the result of all trials up to it: the best accuracy,
    or (with two objectives) the share of the accuracy-size rectangle that they dominate, both in per cent.
    """
    rows, nothing = [], 0.0 if study.pareto else math.nan
    for cell, trials in study.entries[study.entries["kind"] == "trial"].groupby("cell", sort=True):
        best, reached = list[list[float]](), nothing
        for trial in dicts(trials[trials["state"].isin(("finished", "failed"))]):
            values = _values(trial)
            if values and not _beaten(values, best):
                best = _best([*best, values], study.pareto)
                reached = _reached(best, study.pareto)
            rows.append(_told(str(cell), trial, values, reached))
    return pd.DataFrame(rows, columns=HISTORY)


def _values(trial: Mapping[str, Any]) -> list[float]:
    """The objectives' values of a trial; empty where it has not finished."""
    if trial["state"] != "finished":
        return []
    return list(trial["values"])


WHOSE = ["model", "method", "reconstruction", "said", "number", "state"]
HISTORY = ["cell", *WHOSE, "accuracy", "size", "reached"]


def _told(cell: str, trial: dict[str, Any], values: list[float], reached: float) -> dict[str, Any]:
    accuracy, size = [*values, math.nan, math.nan][:2]
    whose = {key: trial[key] for key in WHOSE}
    return {"cell": cell, **whose, "accuracy": accuracy, "size": size, "reached": reached}


def _beaten(values: list[float], best: list[list[float]]) -> bool:
    """Whether one of the best trials is as good in all objectives. Only these few are compared, to keep the cost low."""
    return any(b[0] >= values[0] and b[1:] <= values[1:] for b in best)


def _best(told: list[list[float]], pareto: bool) -> list[list[float]]:
    """The Pareto-optimal values of these; with one objective, the best."""
    if pareto:
        return [told[i] for i in pareto_front([v[1] for v in told], [v[0] for v in told])]
    return [max(told)]


def _reached(best: list[list[float]], pareto: bool) -> float:
    if pareto:
        return 100 * hypervolume([v[1] for v in best], [v[0] for v in best])
    return best[0][0]


def importances(study: Study) -> pd.DataFrame:
    """Returns Optuna's importance (share, 0 to 1) of each parameter for each objective, as recorded at the end of the study."""
    rows = [
        {
            **{"cell": cell, "method": facts.method, "reconstruction": facts.reconstruction},
            **{"objective": objective, "parameter": name, "share": share},
        }
        for cell, facts in sorted(study.declared.cells.items())
        for objective, shares in (facts.importances or {}).items()
        for name, share in sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    ]
    return pd.DataFrame(rows, columns=["cell", "method", "reconstruction", "objective", "parameter", "share"])


def drawn(table: pd.DataFrame, each: int = 1) -> list[str]:
    """The cells that are drawn: the first ones that fit in `PANELS`, with ``each`` panels per cell."""
    return list(table["cell"].unique())[: PANELS // each]


def left_out(table: pd.DataFrame, each: int = 1) -> str:
    """A caption's sentence about the cells that are not drawn; "" where all are."""
    cells, shown = table["cell"].nunique(), len(drawn(table, each))
    if shown == cells:
        return ""
    return f" The figure shows the first {shown} of {cells} cells; the CSV file has all."


def draw_history(table: pd.DataFrame, pareto: bool, looks: Looks, wide: bool) -> Figure:
    """Draws a panel per cell with the accuracy of each trial and the best so far; of a Pareto study, a second row of axes
    shows the dominated share."""
    told = REACHED[pareto]
    cells = drawn(table, told.rows)
    figure, grid = style.panels(len(cells), wide, rows=told.rows, height=2.2)
    for axes, cell in zip(grid, cells, strict=True):
        rows = table[table["cell"] == cell]
        look = looks[rows["method"].iloc[0]]
        lost = rows[rows["accuracy"].isna()]
        face = ink(linestyle="none", color=look.colour, marker=look.marker, rasterized=style.dense(rows))
        axes[0].plot(rows["number"], rows["accuracy"], **face)
        axes[0].plot(lost["number"], [0.03] * len(lost), "x", color=INK, transform=axes[0].get_xaxis_transform())
        colour = look.colour if pareto else INK
        axes[-1].plot(rows["number"], rows["reached"], drawstyle="steps-mid", color=colour)
        axes[-1].set_xlabel("Trial")
        axes[-1].set_xticks(_whole(int(rows["number"].max())))
        style.accuracy_axis(axes[0], "Val. top-1 (%)")
        if pareto:
            axes[0].sharex(axes[1])
            axes[0].tick_params(labelbottom=False)
            style.label_y(axes[1], "Dominated (%)")
        style.title(axes[0], called_cell(dicts(rows.head(1))[0]))
    _history_legend(figure, told, bool(table["accuracy"].isna().any()), wide)
    return figure


def _whole(last: int) -> range:
    """Ticks at whole numbers from 0 to ``last``, nine at most."""
    return range(0, last + 1, max(1, math.ceil(last / 8)))


def _history_legend(figure: Figure, told: Reached, failed: bool, wide: bool) -> None:
    handles = [key("trial", color="#777777", marker="o", linestyle="none")]
    if failed:
        handles.append(key("failed trial", color=INK, marker="x", linestyle="none"))
    style.legend(figure, [*handles, key(told.legend, color=told.colour)], wide)


def draw_importances(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """Draws a panel per cell with a bar per parameter and objective; objectives differ by their hatching."""
    cells, objectives = drawn(table), list(table["objective"].unique())
    most = int(table.groupby("cell")["parameter"].nunique().max())
    figure, grid = style.panels(len(cells), wide, height=0.8 + 0.2 * most, most=2)
    for (axes,), cell in zip(grid, cells, strict=True):
        rows = table[table["cell"] == cell]
        _bars(axes, rows, objectives, looks)
        axes.set_xlabel("Importance (%)")
        style.title(axes, called_cell(dicts(rows.head(1))[0]))
    named = [Patch(label=o.replace("_", " "), **_face(i, "#777777")) for i, o in enumerate(objectives)]
    style.legend(figure, named, wide)
    return figure


def _bars(axes: Axes, rows: pd.DataFrame, objectives: list[str], looks: Looks) -> None:
    names, colour = list(rows["parameter"].unique()), looks[rows["method"].iloc[0]].colour
    thick = 0.8 / len(objectives)
    for i, objective in enumerate(objectives):
        own = rows[rows["objective"] == objective].set_index("parameter")["share"].reindex(names)
        where = [position + (i - (len(objectives) - 1) / 2) * thick for position in range(len(names))]
        axes.barh(where, 100 * own.fillna(0), height=0.92 * thick, **_face(i, colour))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def _face(index: int, colour: str) -> dict[str, Any]:
    """Settings of a bar: the first objective is filled, the others are hatched."""
    filled, hatch = style.fill(colour, hollow=index > 0), PATTERNS[index % len(PATTERNS)]
    return ink(facecolor=filled, hatch=hatch, edgecolor=colour, linewidth=0.7)


SLICES = ["cell", "method", "reconstruction", "said", "parameter", "rank", "log", "number", "value", "x"]
SLICES += ["accuracy", "chosen"]


def slices(study: Study) -> pd.DataFrame:
    """Returns one row per ended trial and tuned parameter of its cell, with its ``value`` and validation top-1 (NaN: failed).

    ``x`` is its coordinate: the value, or its index among the choices. ``rank`` numbers the parameters of a cell from 0, by
    Optuna's importance for the accuracy where that is known, else in the order of the space; ``chosen``: the trial was
    selected for the finals.
    """
    rows, ended = list[dict[str, Any]](), study.entries[study.entries["state"].isin(("finished", "failed"))]
    for name, cell in sorted(study.declared.cells.items()):
        trials = dicts(ended[(ended["kind"] == "trial") & (ended["cell"] == name)])
        taken = set(ended.loc[(ended["kind"] == "final") & (ended["cell"] == name), "number"])
        shares = (cell.importances or {}).get("accuracy", {})
        for rank, parameter in enumerate(sorted(cell.space, key=lambda p: -shares.get(p, 0))):
            space = _space(cell.space[parameter])
            about = {"cell": name, "parameter": parameter, "rank": rank, "log": bool(space.get("log"))}
            for trial in trials:
                if parameter in trial["params"]:
                    own = {"chosen": trial["number"] in taken, **_point(trial, parameter, space)}
                    rows.append({**about, **own})
    return pd.DataFrame(rows, columns=SLICES)


def _space(text: str) -> dict[str, Any]:
    """The attributes of a declared distribution, such as ``log`` or ``choices``."""
    found: dict[str, Any] = json.loads(text).get("attributes", {})
    return found


def _point(trial: Mapping[str, Any], parameter: str, space: Mapping[str, Any]) -> dict[str, Any]:
    """One trial in the slice of one parameter."""
    whose = {key: trial[key] for key in ("method", "reconstruction", "said", "number")}
    value = trial["params"][parameter]
    accuracy, *_ = [*_values(trial), math.nan]
    return {**whose, "value": value, "x": _where(value, space), "accuracy": accuracy}


def _where(value: Any, space: Mapping[str, Any]) -> float:
    choices = space.get("choices", ())
    if value in choices:
        return float(choices.index(value))
    return float(value)


def draw_slices(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """Draws a panel for each of the first parameters of each cell, with a point per trial; later trials are darker."""
    shown = table[(table["rank"] < KNOBS) & table["cell"].isin(drawn(table, KNOBS))]
    parts = [own for _, own in shown.groupby(["cell", "rank"], sort=True)]
    figure, grid = style.panels(len(parts), wide, height=1.8, most=KNOBS - (len(parts) > style.MANY))
    for (axes,), rows in zip(grid, parts, strict=True):
        of_cell = shown[shown["cell"] == rows["cell"].iloc[0]]
        _slice(axes, rows, style.worth(of_cell["accuracy"]), int(of_cell["number"].max()), looks)
        axes.set_xlabel(rows["parameter"].iloc[0])
        style.title(axes, called_cell(dicts(rows.head(1))[0]))
    grey = ink(marker="o", linestyle="none", markeredgewidth=0.4, markeredgecolor=INK)
    handles = [
        key(name, color=style.shade("#777777", i, 2), **grey) for i, name in enumerate(("first trial", "last trial"))
    ]
    handles.append(key("selected", marker="o", linestyle="none", color="white", markeredgecolor=INK, markersize=7))
    if table["accuracy"].isna().any():
        handles.append(key("failed trial", color=INK, marker="x", linestyle="none"))
    style.legend(figure, handles, wide)
    return figure


def _slice(axes: Axes, rows: pd.DataFrame, lowest: float, last: int, looks: Looks) -> None:
    look, seen = looks[rows["method"].iloc[0]], rows[rows["accuracy"] >= lowest]
    chosen, lost = seen[seen["chosen"]], rows[rows["accuracy"].isna()]
    axes.plot(chosen["x"], chosen["accuracy"], "o", color="white", markeredgecolor=INK, markersize=7)
    colours = [style.shade(look.colour, number, last + 1) for number in seen["number"]]
    face = ink(
        c=colours, marker=look.marker, s=16, edgecolors=INK, linewidths=0.4, zorder=2, rasterized=style.dense(seen)
    )
    axes.scatter(seen["x"], seen["accuracy"], **face)
    style.below(axes, rows.loc[rows["accuracy"] < lowest, "x"], lowest, look.colour)
    axes.plot(lost["x"], [0.03] * len(lost), "x", color=INK, transform=axes.get_xaxis_transform())
    limit = lowest if (rows["accuracy"] < lowest).any() else None
    style.accuracy_axis(axes, "Val. top-1 (%)", limit)
    _slice_axis(axes, rows)


def _slice_axis(axes: Axes, rows: pd.DataFrame) -> None:
    """The x axis of a slice: logarithmic, named choices, or plain numbers."""
    if rows["log"].any():
        style.log_axis(axes.xaxis)
    elif (rows["value"].map(str) != rows["x"].map(str)).any() and not pd.api.types.is_numeric_dtype(rows["value"]):
        names = rows.drop_duplicates("x").sort_values("x")
        axes.set_xticks(names["x"].tolist(), [str(value) for value in names["value"]], fontsize=6)
        axes.set_xlim(-0.6, float(rows["x"].max()) + 0.6)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))

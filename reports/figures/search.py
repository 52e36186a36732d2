"""How the tuning went: what each trial reached, which parameters mattered, and what it reached at which of their values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
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
KNOBS = 4  # tuned parameters that are drawn of a cell
PANELS = 12  # that one figure has at most


def history(study: Study) -> pd.DataFrame:
    """One row per ended trial of each cell, in the order of asking.

    ``accuracy`` is the validation top-1 it was told with (NaN: it failed), ``reached`` what all trials up to it have come
    to: the best accuracy, or (with two objectives) the share of the accuracy-size rectangle that they dominate, both in
    per cent.
    """
    rows = []
    for cell, trials in study.entries[study.entries["kind"] == "trial"].groupby("cell", sort=True):
        best, reached = list[list[float]](), math.nan if not study.pareto else 0.0
        for trial in dicts(trials):
            ended = trial["state"] in ("finished", "failed")
            values = trial["values"] if trial["state"] == "finished" else []
            if values and not _beaten(values, best):
                best = _best([*best, values], study.pareto)
                reached = _reached(best, study.pareto)
            rows += [_told(str(cell), trial, values, reached)] if ended else []
    return pd.DataFrame(rows, columns=HISTORY)


WHOSE = ["model", "method", "reconstruction", "said", "number", "state"]
HISTORY = ["cell", *WHOSE, "accuracy", "size", "reached"]


def _told(cell: str, trial: dict[str, Any], values: list[float], reached: float) -> dict[str, Any]:
    accuracy, size = [*values, math.nan, math.nan][:2]
    whose = {key: trial[key] for key in WHOSE}
    return {"cell": cell, **whose, "accuracy": accuracy, "size": size, "reached": reached}


def _beaten(values: list[float], best: list[list[float]]) -> bool:
    """Whether one of the best is as good in all respects; so most trials cost a look at a few others, however many there
    were."""
    return any(b[0] >= values[0] and b[1:] <= values[1:] for b in best)


def _best(told: list[list[float]], pareto: bool) -> list[list[float]]:
    """Those that no other beats."""
    if pareto:
        return [told[i] for i in pareto_front([v[1] for v in told], [v[0] for v in told])]
    return [max(told)]


def _reached(best: list[list[float]], pareto: bool) -> float:
    if pareto:
        return 100 * hypervolume([v[1] for v in best], [v[0] for v in best])
    return best[0][0]


def importances(study: Study) -> pd.DataFrame:
    """Optuna's importance (share, 0 to 1) of each parameter for each objective, as the study noted it when it ended."""
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
    """The cells that a figure has room for, with so many panels ``each``: the first of them, where they are too many."""
    return list(table["cell"].unique())[: PANELS // each]


def left_out(table: pd.DataFrame, each: int = 1) -> str:
    """What a caption says of the cells that are not drawn; "" where all are."""
    cells, shown = table["cell"].nunique(), len(drawn(table, each))
    return f" Drawn are the first {shown} of {cells} cells; the CSV file has all." if shown < cells else ""


def draw_history(table: pd.DataFrame, pareto: bool, looks: Looks, wide: bool) -> Figure:
    """A panel per cell: accuracy of each trial above what all have reached; on a ladder both are one."""
    cells = drawn(table, 2 if pareto else 1)
    figure, grid = style.panels(len(cells), wide, rows=2 if pareto else 1, height=2.2)
    for axes, cell in zip(grid, cells, strict=True):
        rows = table[table["cell"] == cell]
        look = looks[rows["method"].iloc[0]]
        lost = rows[rows["accuracy"].isna()]
        face = ink(linestyle="none", color=look.colour, marker=look.marker, rasterized=style.dense(rows))
        axes[0].plot(rows["number"], rows["accuracy"], **face)
        axes[0].plot(lost["number"], [0.03] * len(lost), "x", color=INK, transform=axes[0].get_xaxis_transform())
        axes[-1].plot(rows["number"], rows["reached"], drawstyle="steps-mid", color=INK if not pareto else look.colour)
        axes[-1].set_xlabel("Trial")
        axes[-1].set_xticks(_whole(int(rows["number"].max())))
        style.accuracy_axis(axes[0], "Val. top-1 (%)")
        if pareto:
            axes[0].sharex(axes[1])
            axes[0].tick_params(labelbottom=False)
            axes[1].set_ylabel("Dominated (%)" if style.leftmost(axes[1]) else "")
        style.title(axes[0], called_cell(dicts(rows.head(1))[0]))
    _history_legend(figure, pareto, bool(table["accuracy"].isna().any()), wide)
    return figure


def _whole(last: int) -> range:
    return range(0, last + 1, max(1, math.ceil(last / 8)))


def _history_legend(figure: Figure, pareto: bool, failed: bool, wide: bool) -> None:
    handles = [key("trial", color="#777777", marker="o", linestyle="none")]
    if failed:
        handles.append(key("failed trial", color=INK, marker="x", linestyle="none"))
    words = "share of the accuracy–size plane dominated so far" if pareto else "best so far"
    style.legend(figure, [*handles, key(words, color="#777777" if pareto else INK)], wide)


def draw_importances(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """A panel per cell, a bar per parameter and objective; objectives differ by their hatching."""
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
    """The first objective is filled, the others are hatched."""
    return ink(
        facecolor="white" if index else colour, hatch=PATTERNS[index % len(PATTERNS)], edgecolor=colour, linewidth=0.7
    )


SLICES = [
    "cell",
    "method",
    "reconstruction",
    "said",
    "parameter",
    "rank",
    "log",
    "number",
    "value",
    "x",
    "accuracy",
    "chosen",
]


def slices(study: Study) -> pd.DataFrame:
    """One row per ended trial and tuned parameter of its cell: the ``value`` against validation top-1 (NaN: it failed).

    ``x`` is where it is drawn: the value, or its place among the choices. ``rank`` counts the parameters of a cell from 0, by
    Optuna's importance for the accuracy where that is known, else in the order of the space; ``chosen``: the trial went to
    the finals.
    """
    rows, ended = list[dict[str, Any]](), study.entries[study.entries["state"].isin(("finished", "failed"))]
    for name, cell in sorted(study.declared.cells.items()):
        trials = dicts(ended[(ended["kind"] == "trial") & (ended["cell"] == name)])
        taken = set(ended.loc[(ended["kind"] == "final") & (ended["cell"] == name), "number"])
        shares = (cell.importances or {}).get("accuracy", {})
        for rank, parameter in enumerate(sorted(cell.space, key=lambda p: -shares.get(p, 0))):
            space = _space(cell.space[parameter])
            about = {"cell": name, "parameter": parameter, "rank": rank, "log": bool(space.get("log"))}
            rows += [
                {
                    **{**about, **{key: trial[key] for key in ("method", "reconstruction", "said", "number")}},
                    **{"value": trial["params"][parameter], "x": _where(trial["params"][parameter], space)},
                    "accuracy": trial["values"][0] if trial["state"] == "finished" and trial["values"] else math.nan,
                    "chosen": trial["number"] in taken,
                }
                for trial in trials
                if parameter in trial["params"]
            ]
    return pd.DataFrame(rows, columns=SLICES)


def _space(text: str) -> dict[str, Any]:
    """What a declared range says of itself: ``log``, or its ``choices``."""
    found: dict[str, Any] = json.loads(text).get("attributes", {})
    return found


def _where(value: Any, space: Mapping[str, Any]) -> float:
    return float(space["choices"].index(value)) if value in space.get("choices", ()) else float(value)


def draw_slices(table: pd.DataFrame, looks: Looks, wide: bool) -> Figure:
    """A panel for each of the first parameters of each cell, a point per trial: the later it was asked for, the darker."""
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
    handles.append(key("chosen", marker="o", linestyle="none", color="white", markeredgecolor=INK, markersize=7))
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
    style.accuracy_axis(axes, "Val. top-1 (%)", lowest if (rows["accuracy"] < lowest).any() else None)
    if rows["log"].any():
        style.log_axis(axes.xaxis)
    elif (rows["value"].map(str) != rows["x"].map(str)).any() and not pd.api.types.is_numeric_dtype(rows["value"]):
        names = rows.drop_duplicates("x").sort_values("x")
        axes.set_xticks(names["x"].tolist(), [str(value) for value in names["value"]], fontsize=6)
        axes.set_xlim(-0.6, float(rows["x"].max()) + 0.6)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))

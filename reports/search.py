"""How the tuning went: what each trial reached, and which parameters mattered."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from reports import style
from reports.load import Study, called_cell, dicts
from reports.stats import hypervolume
from reports.style import INK, Looks, ink, key

PATTERNS = ("", "//////", "......")


def history(study: Study) -> pd.DataFrame:
    """One row per ended trial of each cell, in the order of asking.

    ``accuracy`` is the validation top-1 it was told with (NaN: it failed), ``reached`` what all trials up to it have come
    to: the best accuracy, or (with two objectives) the share of the accuracy-size rectangle that they dominate, both in
    per cent.
    """
    rows = []
    for cell, trials in study.entries[study.entries["kind"] == "trial"].groupby("cell", sort=True):
        told: list[list[float]] = []
        for trial in dicts(trials):
            ended = trial["state"] in ("finished", "failed")
            values = trial["values"] if trial["state"] == "finished" else []
            told += [values] if values else []
            rows += [_told(str(cell), trial, values, _reached(told, study.pareto))] if ended else []
    return pd.DataFrame(rows, columns=HISTORY)


WHOSE = ["model", "method", "reconstruction", "said", "number", "state"]
HISTORY = ["cell", *WHOSE, "accuracy", "size", "reached"]


def _told(cell: str, trial: dict[str, Any], values: list[float], reached: float) -> dict[str, Any]:
    accuracy, size = [*values, math.nan, math.nan][:2]
    whose = {key: trial[key] for key in WHOSE}
    return {"cell": cell, **whose, "accuracy": accuracy, "size": size, "reached": reached}


def _reached(told: list[list[float]], pareto: bool) -> float:
    if pareto:
        return 100 * hypervolume([v[1] for v in told], [v[0] for v in told])
    return max((v[0] for v in told), default=math.nan)


def importances(study: Study) -> pd.DataFrame:
    """Optuna's importance (share, 0 to 1) of each parameter for each objective, as the study noted it when it ended."""
    rows = [
        {
            **{"cell": cell, "method": facts["method"], "reconstruction": study.cell_reconstructed(facts)},
            **{"objective": objective, "parameter": name, "share": share},
        }
        for cell, facts in sorted(study.declared.get("cells", {}).items())
        for objective, shares in facts.get("importances", {}).items()
        for name, share in sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    ]
    return pd.DataFrame(rows, columns=["cell", "method", "reconstruction", "objective", "parameter", "share"])


def draw_history(table: pd.DataFrame, pareto: bool, looks: Looks, wide: bool) -> Figure:
    """A panel per cell: accuracy of each trial above what all have reached; on a ladder both are one."""
    cells = list(table["cell"].unique())
    figure, grid = style.panels(len(cells), wide, rows=2 if pareto else 1, height=2.2)
    for axes, cell in zip(grid, cells, strict=True):
        rows = table[table["cell"] == cell]
        look = looks[rows["method"].iloc[0]]
        lost = rows[rows["accuracy"].isna()]
        axes[0].plot(rows["number"], rows["accuracy"], linestyle="none", color=look.colour, marker=look.marker)
        axes[0].plot(lost["number"], [0.03] * len(lost), "x", color=INK, transform=axes[0].get_xaxis_transform())
        axes[-1].plot(rows["number"], rows["reached"], drawstyle="steps-mid", color=INK if not pareto else look.colour)
        axes[-1].set_xlabel("Trial")
        axes[-1].set_xticks(_whole(int(rows["number"].max())))
        style.accuracy_axis(axes[0], "Val. top-1 (%)")
        if pareto:
            axes[0].sharex(axes[1])
            axes[0].tick_params(labelbottom=False)
            axes[1].set_ylabel("Dominated (%)" if style.leftmost(axes[1]) else "")
        style.title(axes[0], called_cell(rows.iloc[0]))
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
    cells, objectives = list(table["cell"].unique()), list(table["objective"].unique())
    most = int(table.groupby("cell")["parameter"].nunique().max())
    figure, grid = style.panels(len(cells), wide, height=0.8 + 0.2 * most, most=2)
    for (axes,), cell in zip(grid, cells, strict=True):
        rows = table[table["cell"] == cell]
        _bars(axes, rows, objectives, looks)
        axes.set_xlabel("Importance (%)")
        style.title(axes, called_cell(rows.iloc[0]))
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

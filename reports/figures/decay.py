"""Sweeps of the settings of decay pruning: accuracy, and how many channels were released, over the steps of a decay and over
the thresholds of release.

The swept values are facts of the variants that the study declared: ``steps``, or the thresholds ``rate`` and ``length``.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from reports.figures import style
from reports.figures.catalog import Figure, if_empty, numbers
from reports.figures.hosts import policy
from reports.figures.style import CONTROL_DASH, INK, LINES, MARKERS, Looks, ink, key
from reports.load.published import SMOOTH
from reports.load.records import CONFIGURATION, CONTROL, Study, called, dicts, label
from reports.load.units import by_dense_model
from reports.statistics.summary import accuracy, mean

WHOSE = ["model", "method", "reconstruction", "said"]
COUNTS = ["released", "stayed"]
COLUMNS = [*WHOSE, "label", "sweep", "name", "x", "accuracy", "low", "high", "n"]
COLUMNS += [f"{name}{end}" for name in COUNTS for end in ("", "_low", "_high")]
STEPS, RATE, LENGTH = "steps", "rate", "length"
AXES = {STEPS: "N, steps of a decay", RATE: "Threshold of C_rate", LENGTH: "Threshold of C_len"}


def decay(study: Study) -> pd.DataFrame:
    """Returns one row per variant and sweep that contains it, and one per control (sweep ""): means with 95 % t intervals.

    ``accuracy`` is test top-1 (per cent), over ``x``; ``name`` is the policy where N is swept, else the interpretation of
    C_len. ``released``: how many releases of a channel there were; ``stayed``: how many of these channels are in the final
    model.
    """
    rows, least = list[dict[str, Any]](), _least(study)
    for (cell, *_), own in study.done("final", "baseline").groupby(CONFIGURATION, sort=True):
        first, facts = dicts(own)[0], study.facts(str(cell))
        row = {**{name: first[name] for name in WHOSE}, "label": label(first), "sweep": "", "name": "", "x": math.nan}
        row |= accuracy(by_dense_model(own, "test_top1")).columns("accuracy") | _counts(study, own)
        reading = str(first["params"].get("leave.variant", ""))
        if first["method"] == CONTROL:
            rows.append(row)
        elif STEPS in facts:
            rows.append({**row, "sweep": STEPS, "name": policy(first["params"]), "x": facts[STEPS]})
        for sweep, other in ((RATE, LENGTH), (LENGTH, RATE)):
            if sweep in facts and facts.get(other) == least.get((reading, other)):
                rows.append({**row, "sweep": sweep, "name": reading, "x": facts[sweep]})
    table = pd.DataFrame(rows, columns=COLUMNS)
    place = table["sweep"].map(["", STEPS, RATE, LENGTH].index)
    return table.assign(place=place).sort_values(["model", "place", "name", "x"], ignore_index=True)[COLUMNS]


def _least(study: Study) -> dict[tuple[str, str], float]:
    """The lowest threshold of each kind, by interpretation of C_len: its value while the other threshold is swept."""
    found: dict[tuple[str, str], float] = {}
    for cell, declared in study.declared.cells.items():
        params, facts = dict(setting.split("=", 1) for setting in declared.settings or ()), study.facts(cell)
        for name in facts.keys() & {RATE, LENGTH}:
            at = (params.get("leave.variant", ""), name)
            found[at] = min(facts[name], found.get(at, math.inf))
    return found


def _counts(study: Study, own: pd.DataFrame) -> dict[str, float]:
    """The method's counters at the end of its runs, mean over the runs; NaN where it has no such counter."""
    found: dict[str, float] = {}
    for name in COUNTS:
        ends = [study.curves(run).get(f"method/{name}", pd.Series(dtype=float)).dropna() for run in own["run"]]
        found |= mean(float(end.iloc[-1]) for end in ends if len(end)).prefixed(name)
    return found


def figure(study: Study) -> Figure:
    """The figure of accuracy and released channels over each sweep."""
    table = decay(study)
    swept = table[table["sweep"] != ""]
    caption = (
        f"Above: test top-1, means over {numbers(swept['n'])} seeds with 95 % t intervals (none for one seed), over the steps "
        "N of a decay, for smooth pruning (+SP) and with self-rectifying (+SR), and over each threshold of self-rectifying, "
        "for each interpretation of C_len, with the other threshold at its lowest value. Grey line and band: the host alone, "
        "which equals +SP with N = 1; dashed: the dense control. Below: the number of releases of a channel (filled; a channel "
        f"can be released several times), and how many of these channels are in the final model (hollow). {_told(swept)} No "
        "number here is from a paper."
    )
    missing = if_empty(swept, "no variant has a result yet")
    title = "Decay: number of steps, and released channels"
    return Figure("decay", title, caption, table, partial(draw, table), missing)


def _told(rows: pd.DataFrame) -> str:
    """A sentence on how many variants released channels."""
    own = rows.drop_duplicates(["model", "label"])
    some = own[own["released"] > 0]
    kept = int((some["stayed"] > 0).sum())
    return f"Of {len(own)} variants {len(some)} released channels, and {kept} of these kept some of them to the end."


def draw(table: pd.DataFrame, looks: Looks, wide: bool) -> Canvas:
    """Draws for each model a column per sweep: accuracy above, channels below."""
    swept = table[table["sweep"] != ""]
    plans = swept[swept.groupby(["model", "sweep"])["x"].transform("nunique") > 1]
    if not len(plans):  # no sweep has two values yet
        plans = swept
    plans = plans[["model", "sweep"]].drop_duplicates()
    several = table["model"].nunique() > 1
    titles = {STEPS: "steps", RATE: "release: rate", LENGTH: "release: length"}
    figure, grid = style.panels(len(plans), wide, rows=2, height=2.6)
    for (above, beneath), (model, sweep) in zip(grid, plans.itertuples(index=False), strict=True):
        rows = table[table["model"] == model]
        own = rows[rows["sweep"] == sweep]
        _lines(above, rows)
        named = [_accuracy(above, some, i, looks) for i, (_, some) in enumerate(own.groupby("name", sort=True))]
        for i, (_, some) in enumerate(own.groupby("name", sort=True)):
            _channels(beneath, some, i, looks)
        beneath.set_ylim(bottom=-0.05 * max(1.0, beneath.get_ylim()[1]), top=max(1.0, beneath.get_ylim()[1]))
        for axes in (above, beneath):
            if sweep != RATE and (own["x"] > 0).all():
                style.log_axis(axes.xaxis)
        beneath.set_xlabel(AXES[sweep])
        style.label_y(above, "Test top-1 (%)")
        style.label_y(beneath, "Channels")
        name = f"{model}: {titles[sweep]}" if several else titles[sweep]
        style.title(above, name, named)
    style.legend(figure, _handles(table, looks), wide)
    return figure


def _lines(axes: Axes, rows: pd.DataFrame) -> None:
    """Draws the references of the sweeps: the host alone, and the dense control."""
    for row in dicts(rows[(rows["sweep"] == STEPS) & (rows["name"] == SMOOTH) & (rows["x"] == 1)]):
        axes.axhline(row["accuracy"], color="#777777", linewidth=0.9)
        if not math.isnan(row["low"]):
            axes.axhspan(row["low"], row["high"], color="#777777", alpha=0.15, linewidth=0)
    for row in dicts(rows[rows["sweep"] == ""]):
        axes.axhline(row["accuracy"], color=INK, linestyle=CONTROL_DASH, linewidth=0.9)


def _face(rows: pd.DataFrame, index: int, looks: Looks) -> dict[str, Any]:
    """Marker, dashes and shade of a policy or an interpretation of C_len."""
    colour = style.shade(looks[rows["method"].iloc[0]].colour, 2 - index % 3, 3)
    return ink(color=colour, marker=MARKERS[index % len(MARKERS)], linestyle=LINES[index % len(LINES)], markersize=4)


def _accuracy(axes: Axes, rows: pd.DataFrame, index: int, looks: Looks) -> Line2D:
    half, line = (rows["high"] - rows["accuracy"]).fillna(0), _face(rows, index, looks)
    axes.errorbar(rows["x"], rows["accuracy"], half, capsize=2, elinewidth=0.8, linewidth=1, **line)
    return key(str(rows["name"].iloc[0]), linewidth=1, **line)


def _channels(axes: Axes, rows: pd.DataFrame, index: int, looks: Looks) -> None:
    line = _face(rows, index, looks)
    for name, filled, size in zip(COUNTS, (line["color"], "white"), (6, 3.2), strict=True):
        half, face = (rows[f"{name}_high"] - rows[name]).fillna(0), ink(markerfacecolor=filled, markersize=size)
        axes.errorbar(rows["x"], rows[name], half, capsize=2, elinewidth=0.8, linewidth=1, **line | face)


def _handles(table: pd.DataFrame, looks: Looks) -> list[Line2D]:
    row = dicts(table[table["sweep"] != ""].sort_values("reconstruction", ascending=False).head(1))[0]
    colour = looks[row["method"]].colour
    face = ink(marker="o", color=colour, linestyle="none")
    found = [
        key(f"{called(row)}, released", **face),
        key("of these, in the final model", markerfacecolor="white", **face),
    ]
    found.append(key("host alone", color="#777777", linewidth=0.9))
    if (table["sweep"] == "").any():
        found.append(style.control_key())
    return found

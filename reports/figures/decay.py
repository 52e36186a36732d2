"""How long a channel takes to leave, when it is given back, and what becomes of those that were: sweeps of decay's settings.

A sweep is what its study declared as facts of its variants: ``steps``, or the thresholds ``rate`` and ``length``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from bench.records.study_record import CellRecord
from reports.figures import style
from reports.figures.catalog import Figure, numbers
from reports.figures.hosts import policy
from reports.figures.style import CONTROL_DASH, INK, LINES, MARKERS, Looks, ink, key
from reports.load.published import SMOOTH
from reports.load.records import CONFIGURATION, CONTROL, Study, called, dicts, label
from reports.statistics.summary import mean

WHOSE = ["model", "method", "reconstruction", "said"]
COUNTS = ["released", "stayed"]
COLUMNS = [*WHOSE, "label", "sweep", "name", "x", "accuracy", "low", "high", "n"]
COLUMNS += [f"{name}{end}" for name in COUNTS for end in ("", "_low", "_high")]
STEPS, RATE, LENGTH = "steps", "rate", "length"
AXES = {STEPS: "N, steps of a decay", RATE: "Threshold of C_rate", LENGTH: "Threshold of C_len"}


def decay(study: Study) -> pd.DataFrame:
    """One row per variant and sweep that it is part of, and one per control (sweep ""): means with 95 % t intervals.

    ``accuracy`` is test top-1 (per cent), over ``x``; ``name`` is the policy where N is swept, and elsewhere the reading of
    C_len. ``released``: how often a channel was given back, ``stayed``: how many of those channels are there in the end.
    """
    cells, rows = study.declared.cells, list[dict[str, Any]]()
    least = _least(study)
    for (cell, *_), own in study.done("final", "baseline").groupby(CONFIGURATION, sort=True):
        first, facts = dicts(own)[0], _facts(cells.get(str(cell)))
        over = mean(own["test_top1"])
        row = {**{name: first[name] for name in WHOSE}, "label": label(first), "sweep": "", "name": "", "x": math.nan}
        row |= {"accuracy": over.mean, "low": over.low, "high": over.high, "n": over.n} | _counts(study, own)
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
    """The lowest threshold of each kind for each reading: where the other one is swept, it stands at this."""
    found: dict[tuple[str, str], float] = {}
    for cell in study.declared.cells.values():
        params, facts = dict(setting.split("=", 1) for setting in cell.settings or ()), _facts(cell)
        for name in (RATE, LENGTH):
            if name in facts:
                at = (params.get("leave.variant", ""), name)
                found[at] = min(facts[name], found.get(at, math.inf))
    return found


def _facts(cell: CellRecord | None) -> Mapping[str, float]:
    return {} if cell is None else cell.facts or {}


def _counts(study: Study, own: pd.DataFrame) -> dict[str, float]:
    """What the method counted up to the end of its runs, mean over them; NaN where it counts nothing."""
    found: dict[str, float] = {}
    for name in COUNTS:
        ends = [study.curves(run).get(f"method/{name}", pd.Series(dtype=float)).dropna() for run in own["run"]]
        over = mean(float(end.iloc[-1]) for end in ends if len(end))
        found |= {name: over.mean, f"{name}_low": over.low, f"{name}_high": over.high}
    return found


def figure(study: Study) -> Figure:
    """Accuracy and released channels over each sweep."""
    table = decay(study)
    swept = table[table["sweep"] != ""]
    caption = (
        f"Above: test top-1, means over {numbers(swept['n'])} seeds with 95 % t intervals (none for one seed), over the steps "
        "N of a decay, for smooth pruning (+SP) and self-rectifying too (+SR), and over each threshold of self-rectifying in "
        "each reading of C_len, the other threshold at its lowest. Grey line and band: the host alone, which N = 1 of +SP is; "
        "dashed: the dense control. Below: how often a channel was given back (filled; each time counts), and how many of "
        f"these are there in the end (hollow). {_told(swept)} No number here is from a paper."
    )
    missing = "" if len(swept) else "no variant has a result yet"
    return Figure("decay", "Decay: its steps, and what is released", caption, table, partial(draw, table), missing)


def _told(rows: pd.DataFrame) -> str:
    """In how many variants channels were released, in one sentence."""
    own = rows.drop_duplicates(["model", "label"])
    some = own[own["released"] > 0]
    kept = int((some["stayed"] > 0).sum())
    return f"Of {len(own)} variants {len(some)} released channels, and in {kept} of these some stayed."


def draw(table: pd.DataFrame, looks: Looks, wide: bool) -> Canvas:
    """For each model a column per sweep: accuracy above, channels below."""
    swept = table[table["sweep"] != ""]
    plans = swept[
        swept.groupby(["model", "sweep"])["x"].transform("nunique") > 1
    ]  # of one value there is nothing to see
    plans = (plans if len(plans) else swept)[["model", "sweep"]].drop_duplicates()
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
        above.set_ylabel("Test top-1 (%)" if style.leftmost(above) else "")
        beneath.set_ylabel("Channels" if style.leftmost(beneath) else "")
        style.title(above, f"{model}: {titles[sweep]}" if several else titles[sweep], named)
    style.legend(figure, _handles(table, looks), wide)
    return figure


def _lines(axes: Axes, rows: pd.DataFrame) -> None:
    """What the sweeps are compared with: the host alone, and the dense control."""
    for row in dicts(rows[(rows["sweep"] == STEPS) & (rows["name"] == SMOOTH) & (rows["x"] == 1)]):
        axes.axhline(row["accuracy"], color="#777777", linewidth=0.9)
        if not math.isnan(row["low"]):
            axes.axhspan(row["low"], row["high"], color="#777777", alpha=0.15, linewidth=0)
    for row in dicts(rows[rows["sweep"] == ""]):
        axes.axhline(row["accuracy"], color=INK, linestyle=CONTROL_DASH, linewidth=0.9)


def _face(rows: pd.DataFrame, index: int, looks: Looks) -> dict[str, Any]:
    """One look per policy or reading: marker, dashes and shade."""
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
    found = [key(f"{called(row)}, released", **face), key("of these, left in the end", markerfacecolor="white", **face)]
    found.append(key("host alone", color="#777777", linewidth=0.9))
    if (table["sweep"] == "").any():
        found.append(key(CONTROL, color=INK, linestyle=CONTROL_DASH, linewidth=0.9))
    return found

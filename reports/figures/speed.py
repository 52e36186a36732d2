"""Measured latency against MACs left, of physically smaller models. Masked models are not shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from bench.records.speed_record import SpeedRow
from reports.figures import style
from reports.figures.catalog import Figure, if_empty
from reports.figures.style import COLOURS, CONTROL_DASH, INK, MARKERS, Looks, ink, key
from reports.load.records import CONFIGURATION, CONTROL, Study, called, dicts, label
from reports.tables.columns import Column, Table, fixed, percent, text

WHOSE = ["model", "method", "reconstruction", "label", "group", "run"]
HOW = ["device", "precision", "wanted", "mode", "batch", "threads"]
COLUMNS = [*WHOSE, *HOW, "macs_left", "theoretical", "latency", "low", "high"]
COLUMNS += ["ratio", "ratio_q1", "ratio_q3", "rounds", "thrown", "dense_ms", "pruned_ms", "images_per_s", "busy"]
BUSY = 0.1  # share of the processors used by other work, above which a time is unreliable
DASHED: style.Dash = (0, (4, 1.5))
TITLES = {"threads": "{} threads"}  # of panels, by the column that distinguishes them
BATCHES = {"1": "one image", "auto": "best batch"}


def speed(study: Study) -> pd.DataFrame:
    """Returns one row per run and setting in which it was timed, for models that are physically smaller.

    ``latency`` is the median time as a share of the dense model's (1 / ratio) with quartiles ``low`` and ``high`` over the
    rounds; ``macs_left`` is a share too (0 to 1). ``thrown`` is the number of blocks, of both models, that were discarded
    because the GPU's clock was low.
    """
    found = list[dict[str, Any]]()
    for entry in dicts(study.done("final")):
        value = study.folder.speed(entry["run"])
        if value is None or not value.smaller or entry["method"] == CONTROL:
            continue
        whose = {**{name: entry[name] for name in (*CONFIGURATION, *WHOSE) if name in entry}, "label": label(entry)}
        for dense, pruned in value.pairs():
            row = {**whose, **{name: getattr(pruned, name) for name in HOW}, **_numbers(dense, pruned)}
            found.append({**row, "macs_left": entry["macs_left"], "theoretical": value.speedup_theoretical})
    table = pd.DataFrame(found, columns=COLUMNS)
    return table.sort_values(["model", *HOW[:4], "group", "macs_left"], kind="stable", ignore_index=True)


def _numbers(dense: SpeedRow, pruned: SpeedRow) -> dict[str, Any]:
    """The numbers of a pair of rows; the lower quartile of a ratio is the upper quartile of its inverse."""
    same = {name: getattr(pruned, name) for name in ("ratio", "ratio_q1", "ratio_q3", "rounds", "images_per_s", "busy")}
    return {
        **same,
        **{"latency": 1 / pruned.ratio, "low": 1 / pruned.ratio_q3, "high": 1 / pruned.ratio_q1},
        **{"thrown": dense.thrown + pruned.thrown},
        **{"dense_ms": dense.median_ms, "pruned_ms": pruned.median_ms},
    }


def masked(study: Study) -> int:
    """How many timed finals have the dense model's shapes, so that their speed-up is only theoretical."""
    values = [study.folder.speed(run) for run in study.done("final")["run"]]
    return sum(1 for value in values if value is not None and not value.smaller)


def realised(table: pd.DataFrame) -> str:
    """A sentence on how many comparisons are faster, are slower, and save as much time as MACs."""
    faster, slower = int((table["ratio_q1"] > 1).sum()), int((table["ratio_q3"] < 1).sum())
    busy = int((table["busy"] > BUSY).sum())
    kept = int((table["high"] <= table["macs_left"]).sum())
    told = (
        f"Of {len(table)} comparisons {faster} are faster and {slower} slower than the dense model in three quarters of their "
        f"rounds, and {kept} save as much time as MACs."
    )
    if busy:
        told += (
            f" Just before {busy} of them, other work used more than a tenth of the processors: these are unreliable."
        )
    return told


def figure(study: Study) -> Figure:
    """The figure of measured time over MACs left."""
    table, hidden = speed(study), masked(study)
    devices = ", ".join(sorted(set(table["device"])))
    caption = (
        "Measured: time of one forward pass of the finished model as a share of its dense model's, both timed alternately in "
        "one process, median over rounds with quartiles (error bars may extend beyond the panel). The best batch is that at "
        f"which the dense model processes the most images per second. Device: {devices}. Dashed: latency in proportion to "
        f"MACs; below the thin line the pruned model is faster. {realised(table)}"
    )
    if hidden:
        caption += f" {hidden} masked models are not shown: they are not faster, and their speed-up is theoretical."
    missing = if_empty(table, "no smaller model has been timed yet; run `bench speed`")
    title = "Measured latency over MACs left"
    return Figure("speed", title, caption, table, partial(draw, table), missing)


def listing(study: Study) -> Table:
    """The table of all comparisons."""
    frame = speed(study)

    def ratio(row: Mapping[str, Any]) -> str:
        return f"{row['ratio']:.2f} ({row['ratio_q1']:.2f} to {row['ratio_q3']:.2f})"

    columns = (
        Column("model", "model", text("model")),
        Column("variant", "label", text("label")),
        Column("MACs left %", "macs_left", percent("macs_left"), number=True),
        Column("precision", "precision", text("precision")),
        Column("mode", "mode", text("mode")),
        Column("batch", "batch", fixed("batch", 0), number=True),
        Column("dense ms", "dense_ms", fixed("dense_ms", 3), number=True),
        Column("pruned ms", "pruned_ms", fixed("pruned_ms", 3), number=True),
        Column("measured ratio", "ratio", ratio, number=True),
        Column("theoretical", "theoretical", fixed("theoretical", 2), number=True),
        Column("rounds", "rounds", fixed("rounds", 0), number=True),
        Column("discarded", "thrown", fixed("thrown", 0), number=True),
        Column("other work %", "busy", percent("busy"), number=True, paper=False),
    )
    caption = (
        "Measured ratio: time of the dense model over that of the pruned one, median over rounds (quartiles); theoretical: "
        "ratio of their MACs. Times are medians of single calls. Discarded: blocks in which the GPU's clock was below 95 % of "
        "its highest. Other work: share of the processors that other processes used just before, which makes times unreliable."
    )
    return Table("speed", "Speed", caption, frame, columns)


def draw(table: pd.DataFrame, looks: Looks, wide: bool) -> Canvas:
    """Draws a panel for each model (and precision, device and threads, where there are several) with a row for each batch."""
    several = [name for name in ("precision", "device", "threads") if table[name].nunique() > 1]
    by = ["model", *several]
    panels = [(names, own) for names, own in table.groupby(by, sort=True)]
    kinds = sorted(table["wanted"].unique())
    figure, grid = style.panels(len(panels), wide, rows=len(kinds), height=2.6)
    groups = sorted(table["group"].unique(), key=lambda text: [_by_number(part) for part in text.split("=")])
    faces = {group: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, group in enumerate(groups)}
    for column, (names, own) in zip(grid, panels, strict=True):
        for axes, kind in zip(column, kinds, strict=True):
            _panel(axes, own[own["wanted"] == kind], faces, 100 * float(table["macs_left"].min()))
            if style.leftmost(axes):
                axes.set_ylabel(f"Time, {BATCHES.get(kind, f'batch {kind}')} (%)")
        told = [TITLES.get(name, "{}").format(part) for name, part in zip(by, names, strict=True)]
        style.title(column[0], ", ".join(told))
        column[-1].set_xlabel("MACs left (%)")
    style.legend(figure, _handles(table, faces), wide)
    return figure


def _by_number(text: str) -> tuple[float, str]:
    """Sort key: numbers by value, then other text."""
    if text.isdecimal():
        return (float(text), "")
    return (math.inf, text)


def _mode(mode: str) -> dict[str, Any]:
    """Settings of a line: compiled models have hollow markers and dashes."""
    if mode == "compiled":
        return ink(markerfacecolor="white", linestyle=DASHED)
    return ink(linestyle="-")


def _panel(axes: Axes, rows: pd.DataFrame, faces: dict[str, tuple[str, str]], least: float) -> None:
    for (group, mode), own in rows.groupby(["group", "mode"], sort=True):
        colour, marker = faces[str(group)]
        bars = [100 * (own["latency"] - own["low"]), 100 * (own["high"] - own["latency"])]
        line = ink(color=colour, marker=marker, linewidth=0.9, elinewidth=0.7, capsize=1.5, markersize=4)
        axes.errorbar(100 * own["macs_left"], 100 * own["latency"], bars, **line, **_mode(str(mode)))
    axes.plot([0, 100], [0, 100], color=INK, linestyle=CONTROL_DASH, linewidth=0.8)
    axes.axhline(100, color=INK, linewidth=0.5)
    style.percent_axis(axes, max(0.0, least - 5), log=False)
    axes.set_ylim(0, max([110.0, *(115 * rows["latency"])]))


def _handles(table: pd.DataFrame, faces: dict[str, tuple[str, str]]) -> list[Line2D]:
    method = ", ".join(dict.fromkeys(called(row) for row in dicts(table.drop_duplicates("method"))))
    found = [key(f"{method} {g}".rstrip(), color=c, marker=m, linestyle="none") for g, (c, m) in faces.items()]
    found += [key(mode, color="#777777", marker="o", **_mode(mode)) for mode in sorted(table["mode"].unique())]
    return [*found, key("proportional to MACs", color=INK, linestyle=CONTROL_DASH, linewidth=0.8)]

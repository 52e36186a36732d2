"""Hosts with and without decay, in the manner of the Decay Pruning Method's first table (arXiv:2406.03879).

Each host alone, with smooth pruning (+SP) and with self-rectifying too (+SR): accuracy before and after recovery, what is left,
what the time really is, and the difference to the host alone, run by run. The paper's numbers stand beside ours and enter
nothing.
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

from bench.records.run_record import RunRecord
from reports.figures import costs, speed, style
from reports.figures.catalog import Figure, numbers
from reports.figures.style import CONTROL_DASH, INK, Looks, ink, key
from reports.load.published import ALONE, DECAY, DPM, POLICIES, RECTIFIED, SMOOTH
from reports.load.records import CONFIGURATION, CONTROL, DAGGER, DENSE, Study, dicts
from reports.statistics.summary import mean
from reports.tables.columns import Column, Table, fixed, interval, percent, text
from reports.tables.comparison import signed

SEEDS = [DENSE, "seed"]
WHOSE = ["host", "policy", "method", "model", "reconstruction", "said"]
MEASURED = ["top1", "difference", "before"]
COLUMNS = ["claim", *WHOSE, "n", *(f"{name}{end}" for name in MEASURED for end in ("", "_half", "_n"))]
COLUMNS += ["macs", "parameters", "ratio", "source", "runs"]
STYLES = dict(zip(POLICIES, ("o", "s", "^"), strict=True))
LABELS = {
    "top1": "Test top-1 (%)",
    "difference": "… less that of\nthe host alone",
    "before": "Val. top-1 before\nrecovery (%)",
}


def hosts(study: Study) -> pd.DataFrame:
    """One row per host, model and policy, and one per model of the paper's; ``claim`` tells them apart.

    ``top1`` (test) and ``before`` (validation, right after the last removal) are means in per cent with half widths of 95 % t
    intervals; ``difference`` is that of top-1 to the host alone, of pairs with one seed. ``macs`` and ``parameters`` are the
    shares left (0 to 1), ``ratio`` the dense model's time over this one's where that was measured.
    """
    runs = finals(study)
    rows = [_row(study, own, runs) for _, own in runs.groupby(CONFIGURATION, sort=True)]
    seen = {(row["host"], row["policy"]): row for row in rows}
    for point in DECAY:
        if (point.host, ALONE) in seen:
            alone = next(p.top1 for p in DECAY if (p.host, p.policy) == (point.host, ALONE))
            whose = {"claim": True, "host": point.host, "policy": point.policy, "model": point.model, "source": DPM}
            whose |= {"top1": point.top1, "macs": point.macs, "parameters": point.parameters, "runs": []}
            whose |= {"difference": round(point.top1 - alone, 2) if point.policy != ALONE else None}
            rows.append({**whose, "method": seen[point.host, ALONE]["method"], "reconstruction": False, "said": ""})
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"claim": bool})
    first: Any = runs.groupby("group")["order"].min() if len(runs) else {}
    places = {"first": table["host"].map(first), "place": table["policy"].map(POLICIES.index)}
    by = ["first", "claim", "model", "place"]
    return table.assign(**places).sort_values(by, kind="stable", ignore_index=True)[COLUMNS]


def finals(study: Study) -> pd.DataFrame:
    """The finished finals, each with its policy and with what was measured before recovery."""
    runs = study.done("final")
    return runs.assign(
        policy=[policy(row["params"]) for row in dicts(runs)],
        before=[before(study.records[run]) for run in runs["run"]],
    )


def policy(params: Mapping[str, Any]) -> str:
    """How channels leave, from a variant's settings."""
    if str(params.get("leave.how", "")) != "decay":
        return ALONE
    return RECTIFIED if str(params.get("leave.rectify", "")).lower() == "true" else SMOOTH


def before(record: RunRecord) -> float:
    """Validation top-1 (per cent) right after the last removal, before what is left was trained on; NaN where not noted."""
    found = [phase.after_val_top1 for phase in record.phases if not math.isnan(phase.after_val_top1)]
    return found[-1] if found else math.nan


def _row(study: Study, own: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Any]:
    first, records = dicts(own)[0], [study.records[run] for run in own["run"]]
    alone = runs[(runs["group"] == first["group"]) & (runs["model"] == first["model"]) & (runs["policy"] == ALONE)]
    pairs = own.set_index(SEEDS)["test_top1"] - alone.set_index(SEEDS)["test_top1"]
    means = {"top1": mean(own["test_top1"]), "before": mean(own["before"])}
    means["difference"] = mean([] if first["policy"] == ALONE else pairs)
    found = {"claim": False, "host": first["group"], **{name: first[name] for name in WHOSE if name in first}}
    for name, over in means.items():
        found |= {name: over.mean, f"{name}_half": over.half, f"{name}_n": over.n}
    left = [r.metrics.params_all / r.metrics.params_reference for r in records]
    timed = costs.timed(study)
    return {
        **{**found, "n": len(own), "macs": own["macs_left"].mean(), "parameters": mean(left).mean},
        **{
            "ratio": mean(1 / timed[run] for run in own["run"] if run in timed).mean,
            "runs": own["run"].tolist(),
            "source": "",
        },
    }


def listing(study: Study) -> Table:
    """All of it, with the paper's rows in italics."""
    chosen = costs.setting(study)
    how = (
        f"{speed.BATCHES.get(chosen['wanted'], chosen['wanted'])}, {chosen['precision']}, {chosen['mode']}"
        if chosen
        else ""
    )
    caption = (
        "Top-1 in per cent: on validation right after the last removal, and on test after recovery, mean over n seeds ± half "
        "the width of the 95 % t interval (none for one seed); versus alone: the mean difference to the host alone in pairs of "
        "one seed. MACs and parameters left are shares of the dense model's, in per cent. Time: that of the dense model over "
        f"that of this one{f', measured ({how})' if how else '; not measured yet'}. Italic rows are the paper's, in its own "
        "setting: no part of any statistic, and their differences are between single numbers."
    )
    columns = (
        Column("host", "host", text("host")),
        Column("channels leave", "policy", lambda row: f"{row['policy']}{DAGGER if row['reconstruction'] else ''}"),
        Column("model", "model", text("model")),
        Column("n", "n", fixed("n", 0), number=True),
        Column("before recovery", "before", interval("before", "before_half"), number=True),
        Column("test top-1", "top1", interval("top1", "top1_half"), number=True),
        Column("vs. alone", "difference", signed("difference", "difference_half"), number=True),
        Column("MACs left", "macs", percent("macs"), number=True),
        Column("parameters left", "parameters", percent("parameters"), number=True),
        Column("time ratio", "ratio", fixed("ratio", 2), number=True),
        Column(
            "runs or source",
            "source",
            lambda row: row["source"] or " ".join(row["runs"]),
            runs=True,
            long=True,
            paper=False,
        ),
    )
    return Table("hosts", "Hosts", caption, hosts(study), columns)


def figure(study: Study) -> Figure:
    """Accuracy after recovery, its difference to the host alone, and accuracy before recovery."""
    table = hosts(study)
    own = table[~table["claim"]]
    dense = study.done("baseline")
    lines = {
        str(model): mean(rows["test_top1"]).mean for model, rows in dense[dense["method"] == CONTROL].groupby("model")
    }
    caption = (
        f"Each host alone, with smooth pruning (+SP) and self-rectifying too (+SR): means over {numbers(own['n'])} seeds with "
        "95 % t intervals (none for one seed). Middle: differences in pairs of one seed; an interval that holds zero shows no "
        "effect. Dashed: the dense control. Hollow diamonds: the paper's numbers, drawn only on the paper's model and task. "
        "The table of hosts has what is left of the models, and their measured time."
    )
    missing = "" if len(own) else "no final has a result yet"
    paper = study.declared.task == "cifar10"
    title = "What decay adds to its hosts"
    return Figure("hosts", title, caption, table, partial(draw, table, lines, paper), missing)


def draw(table: pd.DataFrame, dense: Mapping[str, float], paper: bool, looks: Looks, wide: bool) -> Canvas:
    """The hosts side by side in three rows; where a host is on several models, each model has its own."""
    own = table[~table["claim"]]
    alike = own.groupby("host")["model"].nunique().max() == 1
    parts = [own] if alike else [rows for _, rows in own.groupby("model", sort=True)]
    claims = table[table["claim"]] if paper else table[:0]
    figure, grid = style.panels(len(parts), wide, rows=3, height=2.3, most=2)
    for axes, rows in zip(grid, parts, strict=True):
        for panel, name in zip(axes, MEASURED, strict=True):
            _panel(panel, rows, claims, name, dense, looks)
        style.title(axes[0], ", ".join(rows["model"].unique()))
    style.legend(figure, _handles(table, claims, dense), wide)
    return figure


def _panel(
    axes: Axes, rows: pd.DataFrame, claims: pd.DataFrame, name: str, dense: Mapping[str, float], looks: Looks
) -> None:
    """One row of the figure: hosts from left to right, their policies beside each other."""
    names = list(rows["host"].unique())
    for row in dicts(rows[rows[name].notna()]):
        place = names.index(row["host"]) + 0.22 * (POLICIES.index(row["policy"]) - 1)
        half, colour = row[f"{name}_half"], looks[row["method"]].colour
        face = ink(fmt=STYLES[row["policy"]], color=colour, markeredgecolor=INK, markeredgewidth=0.6, markersize=5)
        axes.errorbar(
            [place], [row[name]], [0 if math.isnan(half) else half], ecolor=INK, elinewidth=0.8, capsize=2, **face
        )
        beside = claims[(claims["host"] == row["host"]) & (claims["model"] == row["model"])]
        said = beside.loc[beside["policy"] == row["policy"], name].dropna()
        axes.plot([place + 0.1] * len(said), said, "D", color="white", markeredgecolor="#555555", markersize=4)
        if name == "top1" and row["model"] in dense and row["policy"] == ALONE:
            ends = [names.index(row["host"]) - 0.45, names.index(row["host"]) + 0.45]
            axes.plot(ends, [dense[row["model"]]] * 2, color=INK, linestyle=CONTROL_DASH, linewidth=0.9)
    if name == "difference":
        axes.axhline(0, color=INK, linewidth=0.5)
    axes.set_xticks(
        range(len(names)), [n.replace("_", "\n").replace(" ", "\n", 1) for n in names] if name == "before" else []
    )
    axes.set_xlim(-0.55, len(names) - 0.45)
    axes.set_ylabel(LABELS[name] if style.leftmost(axes) else "")


def _handles(table: pd.DataFrame, claims: pd.DataFrame, dense: Mapping[str, float]) -> list[Line2D]:
    grey = ink(color="#999999", markeredgecolor=INK, linestyle="none")
    ours = table[~table["claim"]]
    daggers = set(ours.loc[ours["reconstruction"], "policy"])
    found = [key(f"{name}{DAGGER if name in daggers else ''}", marker=STYLES[name], **grey) for name in POLICIES]
    if len(claims):
        found.append(
            key("paper's", marker="D", color="white", markeredgecolor="#555555", linestyle="none", markersize=4)
        )
    return [*found, key(CONTROL, color=INK, linestyle=CONTROL_DASH, linewidth=0.9)] if dense else found

"""Hosts with and without decay, after the first table of the Decay Pruning Method (arXiv:2406.03879).

Each host alone, with smooth pruning (+SP) and with self-rectifying (+SR): accuracy before and after recovery, MACs and
parameters left, measured time, and the paired difference to the host alone. The paper's numbers are listed separately and
enter no statistic.
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
from reports.figures import costs, style
from reports.figures.catalog import Figure, if_empty, numbers
from reports.figures.style import CONTROL_DASH, INK, Looks, ink, key
from reports.load.published import ALONE, DECAY, DPM, POLICIES, RECTIFIED, SMOOTH, Left
from reports.load.records import CONFIGURATION, CONTROL, DAGGER, DENSE, Study, dicts
from reports.load.units import by_dense_model
from reports.statistics.summary import accuracy, mean
from reports.tables.columns import RUNS_OR_SOURCE, Column, Row, Table, fixed, interval, percent, text
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
    """Returns one row per host, model and policy, and one per model of the paper (``claim``).

    ``top1`` (test) and ``before`` (validation, right after the last removal) are means in per cent with half widths of 95 % t
    intervals; ``difference`` is the difference of top-1 to the host alone, of pairs with the same seed. ``macs`` and
    ``parameters`` are the shares left (0 to 1), ``ratio`` is the dense model's time over this one's, where it was measured.
    """
    runs = finals(study)
    rows = [_row(study, own, runs) for _, own in runs.groupby(CONFIGURATION, sort=True)]
    hosts_ = {row["host"]: row["method"] for row in rows if row["policy"] == ALONE}
    rows += [_published(point, hosts_[point.host]) for point in DECAY if point.host in hosts_]
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"claim": bool})
    first = dict(runs.groupby("group")["order"].min())
    places = {"first": table["host"].map(first), "place": table["policy"].map(POLICIES.index)}
    by = ["first", "claim", "model", "place"]
    return table.assign(**places).sort_values(by, kind="stable", ignore_index=True)[COLUMNS]


def _published(point: Left, method: str) -> dict[str, Any]:
    """The row of a model of the paper, drawn in the look of the ``method`` that is its host."""
    alone = next(p.top1 for p in DECAY if (p.host, p.policy) == (point.host, ALONE))
    row = {"claim": True, "host": point.host, "policy": point.policy, "model": point.model, "source": DPM}
    row |= {"top1": point.top1, "macs": point.macs, "parameters": point.parameters, "runs": [], "difference": None}
    if point.policy != ALONE:
        row["difference"] = round(point.top1 - alone, 2)
    return {**row, "method": method, "reconstruction": False, "said": ""}


def finals(study: Study) -> pd.DataFrame:
    """Returns the finished finals, each with its policy and its accuracy before recovery."""
    runs = study.done("final")
    return runs.assign(
        policy=[policy(row["params"]) for row in dicts(runs)],
        before=[before(study.records[run]) for run in runs["run"]],
    )


def policy(params: Mapping[str, Any]) -> str:
    """The policy by which channels are removed, from a variant's settings."""
    if str(params.get("leave.how", "")) != "decay":
        return ALONE
    if str(params.get("leave.rectify", "")).lower() == "true":
        return RECTIFIED
    return SMOOTH


def before(record: RunRecord) -> float:
    """Validation top-1 (per cent) right after the last removal, before recovery; NaN where it was not recorded."""
    found = [phase.after_val_top1 for phase in record.phases if not math.isnan(phase.after_val_top1)]
    return [math.nan, *found][-1]


def _row(study: Study, own: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Any]:
    first, records = dicts(own)[0], [study.records[run] for run in own["run"]]
    alone = runs[(runs["group"] == first["group"]) & (runs["model"] == first["model"]) & (runs["policy"] == ALONE)]
    pairs = (own.set_index(SEEDS)["test_top1"] - alone.set_index(SEEDS)["test_top1"]).dropna()
    means = {name: accuracy(by_dense_model(own, key)) for name, key in (("top1", "test_top1"), ("before", "before"))}
    means["difference"] = mean(pairs.groupby(level=0).mean())
    if first["policy"] == ALONE:
        means["difference"] = mean([])
    found = {"claim": False, "host": first["group"], **{name: first[name] for name in WHOSE if name in first}}
    for name, over in means.items():
        found |= {name: over.mean, f"{name}_half": over.half, f"{name}_n": over.n}
    left = [r.metrics.params_all / r.metrics.params_reference for r in records]
    timed = costs.timed(study)
    ratio = mean(1 / timed[run] for run in own["run"] if run in timed).mean
    shares = {"n": len(own), "macs": own["macs_left"].mean(), "parameters": mean(left).mean, "ratio": ratio}
    return {**found, **shares, "runs": own["run"].tolist(), "source": ""}


def listing(study: Study) -> Table:
    """The table of hosts, with the paper's rows in italics."""
    chosen = costs.setting(study)
    measured = "not measured yet"
    if chosen is not None:
        measured = f"measured ({chosen.batch}, {chosen.precision}, {chosen.mode})"
    caption = (
        "Top-1 in per cent: on validation right after the last removal, and on test after recovery, mean over n seeds ± half "
        "the width of the 95 % t interval (none for one seed); vs. alone: mean difference to the host alone, of pairs with the "
        "same seed. MACs and parameters left are shares of the dense model's, in per cent. Time ratio: time of the dense model "
        f"over time of this one; {measured}. Italic rows are the paper's, in its own setting: they enter no statistic, and "
        "their differences are between single numbers."
    )
    columns = (
        Column("host", "host", text("host")),
        Column("policy", "policy", _policy),
        Column("model", "model", text("model")),
        Column("n", "n", fixed("n", 0), number=True),
        Column("before recovery", "before", interval("before", "before_half"), number=True),
        Column("test top-1", "top1", interval("top1", "top1_half"), number=True),
        Column("vs. alone", "difference", signed("difference", "difference_half"), number=True),
        Column("MACs left", "macs", percent("macs"), number=True),
        Column("parameters left", "parameters", percent("parameters"), number=True),
        Column("time ratio", "ratio", fixed("ratio", 2), number=True),
        RUNS_OR_SOURCE,
    )
    return Table("hosts", "Hosts", caption, hosts(study), columns)


def _policy(row: Row) -> str:
    if row["reconstruction"]:
        return f"{row['policy']}{DAGGER}"
    return str(row["policy"])


def figure(study: Study) -> Figure:
    """The figure of accuracy after recovery, its difference to the host alone, and accuracy before recovery."""
    table = hosts(study)
    own = table[~table["claim"]]
    dense = study.done("baseline")
    lines = {
        str(model): mean(rows["test_top1"]).mean for model, rows in dense[dense["method"] == CONTROL].groupby("model")
    }
    caption = (
        f"Each host alone, with smooth pruning (+SP) and with self-rectifying (+SR): means over {numbers(own['n'])} seeds with "
        "95 % t intervals (none for one seed). Middle: differences of pairs with the same seed; an interval that contains zero "
        "shows no effect. Dashed: the dense control. Hollow diamonds: the paper's numbers, drawn only on the paper's model and "
        "task. The table of hosts lists MACs and parameters left, and the measured time."
    )
    missing = if_empty(own, "no final has a result yet")
    paper = study.declared.task == "cifar10"
    title = "Effect of decay on its hosts"
    return Figure("hosts", title, caption, table, partial(draw, table, lines, paper), missing)


def draw(table: pd.DataFrame, dense: Mapping[str, float], paper: bool, looks: Looks, wide: bool) -> Canvas:
    """Draws the hosts side by side in three rows; where a host ran on several models, a panel for each model."""
    own = table[~table["claim"]]
    parts = [own]
    if own.groupby("host")["model"].nunique().max() > 1:
        parts = [rows for _, rows in own.groupby("model", sort=True)]
    claims = table[table["claim"] & paper]
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
    """Draws one row of the figure: hosts from left to right, their policies side by side."""
    names = list(rows["host"].unique())
    for row in dicts(rows[rows[name].notna()].fillna({f"{name}_half": 0})):
        place = names.index(row["host"]) + 0.22 * (POLICIES.index(row["policy"]) - 1)
        colour = looks[row["method"]].colour
        face = ink(fmt=STYLES[row["policy"]], color=colour, markeredgecolor=INK, markeredgewidth=0.6, markersize=5)
        axes.errorbar([place], [row[name]], [row[f"{name}_half"]], ecolor=INK, elinewidth=0.8, capsize=2, **face)
        beside = claims[(claims["host"] == row["host"]) & (claims["model"] == row["model"])]
        said = beside.loc[beside["policy"] == row["policy"], name].dropna()
        axes.plot([place + 0.1] * len(said), said, "D", color="white", markeredgecolor="#555555", markersize=4)
        if name == "top1" and row["model"] in dense and row["policy"] == ALONE:
            ends = [names.index(row["host"]) - 0.45, names.index(row["host"]) + 0.45]
            axes.plot(ends, [dense[row["model"]]] * 2, color=INK, linestyle=CONTROL_DASH, linewidth=0.9)
    if name == "difference":
        axes.axhline(0, color=INK, linewidth=0.5)
    lines = []  # only the lowest row names the hosts
    if name == "before":
        lines = [n.replace("_", "\n").replace(" ", "\n", 1) for n in names]
    axes.set_xticks(range(len(names)), lines)
    axes.set_xlim(-0.55, len(names) - 0.45)
    style.label_y(axes, LABELS[name])


def _handles(table: pd.DataFrame, claims: pd.DataFrame, dense: Mapping[str, float]) -> list[Line2D]:
    grey = ink(color="#999999", markeredgecolor=INK, linestyle="none")
    ours = table[~table["claim"]]
    names = {name: name for name in POLICIES} | {p: f"{p}{DAGGER}" for p in ours.loc[ours["reconstruction"], "policy"]}
    found = [key(name, marker=STYLES[policy], **grey) for policy, name in names.items()]
    if len(claims):
        hollow = ink(color="white", markeredgecolor="#555555", linestyle="none", markersize=4)
        found.append(key("paper's", marker="D", **hollow))
    if dense:
        found.append(style.control_key())
    return found

"""Accuracy against all that a smaller model may save: weights, MACs, bytes, time, and the time that its training took.

Everything is a share of the dense model's. What was not measured is not drawn: a masked model is as slow as the dense one,
whatever its MACs promise, and so it has no latency here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from reports.figures import accuracy, speed, style
from reports.figures.catalog import Figure, numbers
from reports.figures.style import CONTROL_DASH, INK, Looks, key
from reports.load.records import CONFIGURATION, CONTROL, Study, dicts, label
from reports.statistics.summary import mean
from reports.tables import ledger

AXES = {
    "weights_left": "Weights left (%)",
    "macs_left": "MACs left (%)",
    "bytes_left": "Bytes left, sparse (%)",
    "latency": "Measured latency (%)",
    "training": "Training MACs (%)",
    "seconds": "Training time (%)",
}
COLUMNS = [*accuracy.WHOSE, "label", "series", "split", "cost", "size", "accuracy", "low", "high", "n", "front"]
CHARGED = ["model", "plain", "samples", "macs", "seconds"]
SETTING = ["device", "threads", "precision", "wanted", "mode"]
WIDE = 5  # the ratio of an axis' ends above which it is logarithmic


def costs(study: Study) -> pd.DataFrame:
    """One row per configuration (finals, controls) and cost that is known of it.

    ``size`` is the cost as a share of the dense model's, mean over the seeds; ``accuracy`` is top-1 in per cent with its 95 %
    t interval, of the ``split``; ``front``: no other configuration of the model is at least as accurate at a lower cost.
    """
    rows = []
    for _, own in accuracy.grouped(entries(study), study).groupby(CONFIGURATION, sort=True):
        first, split = dicts(own)[0], "test" if own["test_top1"].notna().any() else "validation"
        over = mean(own["test_top1" if split == "test" else "val_top1"])
        whose = {**{name: first[name] for name in accuracy.WHOSE}, "label": label(first), "split": split}
        whose |= {"series": "control" if first["method"] == CONTROL else "final", "front": False}
        whose |= {"accuracy": over.mean, "low": over.low, "high": over.high, "n": over.n}
        rows += [{**whose, "cost": cost, "size": own[cost].mean()} for cost in AXES if own[cost].notna().any()]
    table = pd.DataFrame(rows, columns=COLUMNS).dropna(subset="accuracy", ignore_index=True)
    table["front"] = accuracy.beaten_by_none(table, ["model", "cost"], table.index)
    place = table["cost"].map(list(AXES).index)
    return table.assign(place=place).sort_values(["model", "place", "method"], kind="stable", ignore_index=True)[
        COLUMNS
    ]


def entries(study: Study) -> pd.DataFrame:
    """The finished finals and controls of a study, but for those derived from another run, with what each costs as a share of
    the dense model's (NaN: unknown).

    Training is what the ledger charges (`reports.tables.ledger`), as a share of the longest training of a dense control.
    """
    rows = accuracy.underived(study)
    dense = rows["method"] == CONTROL
    whole = rows.loc[dense, "bytes_sparse"].groupby(rows["model"]).mean()
    known = rows["run"].map(lambda run: study.records[run].metrics.bytes_reference).astype(float)
    times = timed(study)
    latency = rows["run"].map(times).astype(float).mask(dense & bool(times), 1.0)
    charged = pd.DataFrame([_charged(study, entry) for entry in dicts(rows)], columns=CHARGED, index=rows.index)
    plain = charged[charged["plain"].astype(bool)]
    longest = plain[plain["samples"] == plain.groupby("model")["samples"].transform("max")]
    usual = longest.groupby("model")[["samples", "seconds"]].mean()
    return rows.assign(
        bytes_left=rows["bytes_sparse"] / known.fillna(rows["model"].map(whole)),
        latency=latency,
        training=charged["macs"] / rows["model"].map(usual["samples"]),
        seconds=charged["seconds"] / rows["model"].map(usual["seconds"]),
    )


def _charged(study: Study, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is charged; records that do not say how large the dense model is are not."""
    unknown = math.isnan(study.records[entry["run"]].metrics.params_reference)
    return {"plain": False} if unknown else ledger.charge(study, entry)


def setting(study: Study) -> dict[str, Any]:
    """The setting in which most finals were timed; of several the best batch, uncompiled, in fp32. Empty where none was."""
    counts = speed.speed(study).groupby(SETTING, sort=True)["run"].nunique()
    if not len(counts):
        return {}
    most = counts[counts == counts.max()].reset_index()
    rank = (most["wanted"] != "auto").astype(int) * 4 + (most["mode"] != "eager") * 2 + (most["precision"] != "fp32")
    return dicts(most.loc[[rank.idxmin()], SETTING])[0]


def timed(study: Study) -> dict[str, float]:
    """The latency of each timed run that has become smaller, as a share of the dense model's."""
    table, chosen = speed.speed(study), setting(study)
    for name, value in chosen.items():
        table = table[table[name] == value]
    return dict(zip(table["run"], table["latency"], strict=True))


def figure(study: Study) -> Figure:
    """Accuracy against every cost."""
    table, chosen = costs(study), setting(study)
    caption = (
        "Test top-1 of finals and of the dense control (dashed, shaded), mean over "
        f"{numbers(table['n'])} seeds with 95 % t intervals (none for one seed), against what each costs as a share of the "
        f"dense model's; to the right is cheaper. {accuracy.DRAWN} Bytes: 4 for "
        "each non-zero weight and for positions the smaller of a bit mask and 4-bit indices. Training is counted with the "
        "dense model that a run starts from, over the longest training of a dense control: MACs (masks save none), and "
        "seconds, blurred where several runs shared the machine. "
    )
    if chosen:
        batch = speed.BATCHES.get(chosen["wanted"], f"batch {chosen['wanted']}")
        caption += (
            f"Latency: measured in turns with the dense model, {batch}, {chosen['precision']}, {chosen['mode']}, on "
            f"{chosen['device']} with {chosen['threads']} threads; where others were timed, the figure of speed has them. "
        )
    missing = "" if (table["series"] == "final").any() else "no final has a result yet"
    title = "Accuracy against every cost"
    return Figure("costs", title, caption + _untimed(study), table, partial(draw, table), missing)


def _untimed(study: Study) -> str:
    """How many finals have no latency, and why, as a sentence."""
    masked, finals = speed.masked(study), study.done("final")
    finals = finals[finals["method"] != CONTROL]
    missing = len(finals) - int(finals["run"].isin(timed(study)).sum()) - masked
    told = [f"{masked} masked ones are as slow as the dense model"] if masked else []
    told += [f"{missing} were not timed"] if missing else []
    return f"Without a latency: {' and '.join(told)}." if told else ""


def draw(table: pd.DataFrame, looks: Looks, wide: bool) -> Canvas:
    """A panel per cost that has no figure of its own; for several models a column of panels each."""
    models, faces = list(table["model"].unique()), accuracy.markers(table, looks)
    known = [cost for cost in AXES if (table.loc[table["series"] == "final", "cost"] == cost).any()]
    shown = [cost for cost in known if cost not in accuracy.SIZES] or known
    if len(models) == 1:
        figure, grid = style.panels(len(shown), wide, height=1.9, most=2, narrow=2)
        places = [(axes, models[0], cost) for (axes,), cost in zip(grid, shown, strict=True)]
    else:
        figure, grid = style.panels(len(models), wide, rows=len(shown), height=2.3 if wide else 2.1, narrow=2)
        places = [(axes, m, c) for own, m in zip(grid, models, strict=True) for axes, c in zip(own, shown, strict=True)]
    for axes, model, cost in places:
        _panel(axes, table[(table["model"] == model) & (table["cost"] == cost)], looks, faces)
        axes.set_xlabel(AXES[cost])
        if cost == shown[0]:
            style.title(axes, model)
    handles = accuracy.named(table, looks, faces)
    handles.append(key("Pareto front", **accuracy.FRONT))
    if (table["series"] == "control").any():
        handles.append(key(CONTROL, color=INK, linestyle=CONTROL_DASH, linewidth=0.9))
    style.legend(figure, handles, wide)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, looks: Looks, faces: Mapping[tuple[str, str], str]) -> None:
    accuracy.staircase(axes, rows[rows["front"]])
    for _, control in rows[rows["series"] == "control"].iterrows():
        accuracy.control(axes, control)
    lowest = style.worth(rows["accuracy"])
    accuracy.every_final(axes, rows[rows["series"] == "final"], lowest, looks, faces)
    _cost_axis(axes, rows["size"])
    style.accuracy_axis(axes, "Top-1 accuracy (%)", lowest if (rows["accuracy"] < lowest).any() else None)


def _cost_axis(axes: Axes, sizes: pd.Series) -> None:
    """From the dearest on the left, which is the dense model or more, to the cheapest on the right."""
    low, high = 100 * float(sizes.min()) if len(sizes) else 0.0, max(100.0, 100 * float(sizes.max() or 0))
    log = 0 < low < high / WIDE
    style.percent_axis(axes, low if log else min(low, 90.0), log=log)
    axes.set_xlim(left=1.12 * high if log else high + 0.03 * (high - low) + 0.5)

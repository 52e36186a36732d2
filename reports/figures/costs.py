"""Accuracy against several costs of a model: weights, MACs, bytes, latency, and the MACs and time of its training.

Each cost is a share of the dense model's. Costs that were not measured are not drawn: a masked model is as slow as the dense
one, whatever its MACs, and has no latency here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from reports.figures import accuracy, speed, style
from reports.figures.catalog import Figure, if_empty, numbers
from reports.figures.style import Looks, key
from reports.load.records import CONFIGURATION, CONTROL, Study, dicts, label
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
WIDE = 5  # ratio of the ends of an axis above which it is logarithmic
TRAINED = ["model", "plain", "samples", "macs", "seconds"]


@dataclass(frozen=True)
class Setting:
    """How runs were timed; ``wanted`` is the requested batch: a number, or "auto" for the best."""

    device: str
    threads: int
    precision: str
    wanted: str
    mode: str

    @property
    def batch(self) -> str:
        """The requested batch in words."""
        return speed.BATCHES.get(self.wanted, f"batch {self.wanted}")


SETTING = [field.name for field in fields(Setting)]


def costs(study: Study) -> pd.DataFrame:
    """Returns one row per configuration (finals, controls) and known cost.

    ``size`` is the cost as a share of the dense model's, mean over the seeds; ``accuracy`` is top-1 in per cent with its 95 %
    t interval, on the ``split``; ``front``: no other configuration of the model is at least as accurate at a lower cost.
    """
    rows = []
    for _, own in accuracy.grouped(entries(study), study).groupby(CONFIGURATION, sort=True):
        first = dicts(own)[0]
        whose = {**{name: first[name] for name in accuracy.WHOSE}, "label": label(first), "front": False}
        whose |= {"series": accuracy.series_of(first["method"]), **accuracy.top1(own)}
        rows += [{**whose, "cost": cost, "size": own[cost].mean()} for cost in AXES if own[cost].notna().any()]
    table = pd.DataFrame(rows, columns=COLUMNS).dropna(subset="accuracy", ignore_index=True)
    table["front"] = accuracy.pareto_optimal(table, ["model", "cost"], table.index)
    by, place = ["model", "place", "method"], table["cost"].map(list(AXES).index)
    return table.assign(place=place).sort_values(by, kind="stable", ignore_index=True)[COLUMNS]


def entries(study: Study) -> pd.DataFrame:
    """Returns the finished finals and controls of a study, without those derived from another run, with their costs as shares
    of the dense model's (NaN: unknown).

    Training costs are those of the cost ledger (`reports.tables.ledger`), relative to the longest training of a dense control.
    """
    rows = accuracy.underived(study)
    dense = rows["method"] == CONTROL
    whole = rows.loc[dense, "bytes_sparse"].groupby(rows["model"]).mean()
    known = rows["run"].map(lambda run: study.records[run].metrics.bytes_reference).astype(float)
    times = timed(study)
    latency = rows["run"].map(times).astype(float).mask(dense & bool(times), 1.0)
    trained = _training_costs(study, rows)
    plain = trained[trained["plain"].eq(True)]
    longest = plain[plain["samples"] == plain.groupby("model")["samples"].transform("max")]
    usual = longest.groupby("model")[["samples", "seconds"]].mean()
    return rows.assign(
        bytes_left=rows["bytes_sparse"] / known.fillna(rows["model"].map(whole)),
        latency=latency,
        training=trained["macs"] / rows["model"].map(usual["samples"]),
        seconds=trained["seconds"] / rows["model"].map(usual["seconds"]),
    )


def _training_costs(study: Study, rows: pd.DataFrame) -> pd.DataFrame:
    """Training costs of the runs of these entries; NaN where a record lacks the size of the dense model."""
    known = [run for run in rows["run"] if study.records[run].metrics.measured("params_reference")]
    some = rows[rows["run"].isin(known)]
    found = [ledger.training_cost(study, entry) for entry in dicts(some)]
    return pd.DataFrame(found, columns=TRAINED, index=some.index).reindex(rows.index)


def setting(study: Study) -> Setting | None:
    """Returns the setting in which most finals were timed; of several, preferably the best batch, uncompiled, fp32. None where
    nothing was timed."""
    counts = speed.speed(study).groupby(SETTING, sort=True)["run"].nunique()
    if not len(counts):
        return None
    most = counts[counts == counts.max()].reset_index()
    rank = (most["wanted"] != "auto").astype(int) * 4 + (most["mode"] != "eager") * 2 + (most["precision"] != "fp32")
    return Setting(**dicts(most.loc[[rank.idxmin()], SETTING])[0])


def timed(study: Study) -> dict[str, float]:
    """Returns the latency of each timed run with a physically smaller model, as a share of the dense model's, by run."""
    table, chosen = speed.speed(study), setting(study)
    if chosen is None:
        return {}
    for name, value in asdict(chosen).items():
        table = table[table[name] == value]
    return dict(zip(table["run"], table["latency"], strict=True))


def figure(study: Study) -> Figure:
    """The figure of accuracy against every cost."""
    table, chosen = costs(study), setting(study)
    caption = (
        "Test top-1 of finals and of the dense control (dashed, shaded), mean over "
        f"{numbers(table['n'])} seeds with 95 % t intervals (none for one seed), against several costs, as shares of the dense "
        f"model's; cheaper models are on the right. {accuracy.DRAWN} Bytes: 4 for each non-zero weight, and for the positions "
        "the smaller of a bit mask and 4-bit indices. Training costs include the dense model that a run starts from, and are "
        "relative to the longest training of a dense control: MACs (masks save none), and seconds (inexact where several runs "
        "shared the machine). "
    )
    if chosen is not None:
        caption += (
            f"Latency: measured alternately with the dense model, {chosen.batch}, {chosen.precision}, {chosen.mode}, on "
            f"{chosen.device} with {chosen.threads} threads; the figure of speed shows other settings that were timed. "
        )
    missing = if_empty(table[table["series"] == "final"], "no final has a result yet")
    title = "Accuracy against every cost"
    return Figure("costs", title, caption + _untimed(study), table, partial(draw, table), missing)


def _untimed(study: Study) -> str:
    """A sentence on how many finals have no latency, and why."""
    masked, finals = speed.masked(study), study.done("final")
    finals = finals[finals["method"] != CONTROL]
    missing = len(finals) - int(finals["run"].isin(timed(study)).sum()) - masked
    reasons = {"masked models, which are as slow as the dense model": masked, "models that were not timed": missing}
    told = [f"{count} {reason}" for reason, count in reasons.items() if count]
    if not told:
        return ""
    return f"Finals without a latency: {'; '.join(told)}."


def draw(table: pd.DataFrame, looks: Looks, wide: bool) -> Canvas:
    """Draws a panel per cost, except for those with a figure of their own; for several models, a column of panels each."""
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
        handles.append(style.control_key())
    style.legend(figure, handles, wide)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, looks: Looks, faces: Mapping[tuple[str, str], str]) -> None:
    accuracy.staircase(axes, rows[rows["front"]])
    for _, control in rows[rows["series"] == "control"].iterrows():
        accuracy.control(axes, control)
    lowest = style.worth(rows["accuracy"])
    accuracy.every_final(axes, rows[rows["series"] == "final"], lowest, looks, faces)
    _cost_axis(axes, rows["size"])
    limit = lowest if (rows["accuracy"] < lowest).any() else None
    style.accuracy_axis(axes, "Top-1 accuracy (%)", limit)


def _cost_axis(axes: Axes, sizes: pd.Series) -> None:
    """Sets up the x axis, from the highest cost on the left (that of the dense model, or more) to the lowest on the right."""
    low, high = 0.0, 100.0
    if len(sizes):
        low, high = 100 * float(sizes.min()), max(100.0, 100 * float(sizes.max()))
    if 0 < low < high / WIDE:
        style.percent_axis(axes, low, log=True)
        axes.set_xlim(left=1.12 * high)
    else:
        style.percent_axis(axes, min(low, 90.0), log=False)
        axes.set_xlim(left=high + 0.03 * (high - low) + 0.5)

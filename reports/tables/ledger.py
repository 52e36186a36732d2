"""The training cost of each method of a study (the cost ledger), relative to dense training.

The cost of a run includes that of the dense model that it starts from. MACs of training are counted in samples of the dense
model: one sample costs three times its MACs (one forward pass, and twice that for the backward pass). Masks save no MACs,
because masked weights are multiplied too; a physically smaller model costs less from the step at which it became smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import pandas as pd

from bench.records.run_record import Cost, Metrics, RunRecord
from reports.load.records import CONTROL, Study, called, dicts
from reports.tables.columns import Column, Row, Table, count_or_dash, fixed, text

OVER = 1.01  # times the cost of dense training: above this a run is an overrun
SMALLER = 1e-3  # tolerance of the share of weights left


def ledger(study: Study) -> pd.DataFrame:
    """Returns one row per method, and then one per added baseline and control.

    ``samples`` and ``macs`` (in dense samples) are means over all finals, with the dense model that they start from;
    ``*_share`` are relative to the longest training of a dense control of the architecture; ``tuning_share`` is the same for
    the sum over all trials of the method; ``seconds`` are of training, ``all_seconds`` of all finals and trials; ``energy`` is
    in joules, NaN where it was not measured; ``over``: number of runs that cost over 1 % more than dense training.
    """
    costs = [training_cost(study, entry) for entry in dicts(study.done("trial", "final", "baseline"))]
    frame = pd.DataFrame(costs, columns=[field.name for field in fields(TrainingCost)])
    plain = frame[frame["plain"].astype(bool)].groupby("model")["samples"].max()
    frame["budget"] = frame["model"].map(plain).astype(float)
    for key in ("samples", "macs"):
        frame[f"{key}_share"] = frame[key] / frame["budget"]
    rows = [_row(str(name), own) for name, own in frame.groupby("method", sort=True)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values(["place", "method"], ignore_index=True)


COLUMNS = ["method", "finals", "trials", "samples", "samples_share", "macs", "macs_share", "tuning_share"]
COLUMNS += ["seconds", "all_seconds", "energy", "over", "place"]


@dataclass(frozen=True)
class TrainingCost:
    """The training cost of one run with the dense model that it starts from.

    ``plain``: it is a dense control; ``macs`` are in ``samples`` (training images) of the dense model, ``energy`` in joules,
    NaN where it was not measured.
    """

    method: str
    model: str
    kind: str
    plain: bool
    samples: float
    macs: float
    seconds: float
    energy: float


def training_cost(study: Study, entry: Row) -> TrainingCost:
    """Returns the training cost of the run of an entry."""
    record = study.records[entry["run"]]
    cost, run = record.cost, record.run
    samples = float(cost.samples or cost.steps)
    if not cost.start_known:
        samples = math.nan  # the training of external weights is unknown, and not 0
    begun = samples * cost.start_steps / max(1, cost.steps)
    start = study.records.get(run.start.partition(":")[2])
    costs = [known.cost for known in (record, start) if known is not None]
    plain = (run.method_name or entry["method"]) == CONTROL and not run.shape
    return TrainingCost(
        method=called(entry),
        model=entry["model"],
        kind=entry["kind"],
        plain=plain and entry["kind"] == "baseline",
        samples=samples + begun,
        macs=samples * training_share(study, record) + begun,
        seconds=math.fsum(known.train_seconds for known in costs),
        energy=math.fsum(map(_joules, costs)),
    )


def _joules(cost: Cost) -> float:
    if cost.energy_joules is None:
        return math.nan
    return cost.energy_joules


def training_share(study: Study, record: RunRecord) -> float:
    """Returns the MACs of a run's own training as a share of as many steps of the dense model: 1 while no channel is removed.

    A model that was built smaller is smaller in every step. Where channels were removed during training, the curves show
    when: then fewer weights are left than the zeros explain. From there on, MACs are assumed to fall as the weights do.
    """
    metrics = record.metrics
    if record.architecture != record.run.model:
        return metrics.macs_fraction
    if not metrics.params_all < metrics.params_reference:
        return 1.0
    rows = dicts(study.curves(record.id))
    steps = [0, *(row["step"] for row in rows)]
    if not steps[-1]:
        return 1.0
    shares = [_share(row, metrics) for row in rows]
    parts = [(b - a) * share for (a, b), share in zip(pairwise(steps), shares, strict=True)]
    return float(sum(parts) / steps[-1])


def _share(row: Row, metrics: Metrics) -> float:
    """The MACs of the model that was trained up to a row of the curves, as a share of the dense model's."""
    gone, last = 1 - row["weights_left"], 1 - metrics.weights_left
    if gone <= row["sparsity"] + SMALLER or last <= 0:  # no channel is removed: zeros explain all missing weights
        return 1.0
    return float(1 - (1 - metrics.macs_fraction) * min(1.0, gone / last))


def _row(method: str, own: pd.DataFrame) -> dict[str, Any]:
    finals, trials = own[own["kind"] != "trial"], own[own["kind"] == "trial"]
    shares = own[["samples_share", "macs_share"]]
    means = {key: finals[key].mean() for key in ("samples", "samples_share", "macs", "macs_share", "seconds", "energy")}
    return {
        "method": method,
        "finals": len(finals),
        "trials": len(trials),
        **means,
        "tuning_share": trials["samples_share"].sum(),
        "all_seconds": own["seconds"].sum(),
        "over": int((shares.max(axis=1) > OVER).sum()),
        "place": int(not (own["kind"] == "final").any()),
    }


def table(study: Study) -> Table:
    """The table of training costs."""
    frame, energy, told = ledger(study), list[Column](), "not measured on this machine"
    if frame["energy"].notna().any():
        energy, told = [Column("energy (J)", "energy", fixed("energy", 0), number=True)], "as measured"
    columns = (
        Column("method", "method", text("method")),
        Column("finals", "finals", fixed("finals", 0), number=True),
        Column("trials", "trials", fixed("trials", 0), number=True),
        Column("samples (10³)", "samples", fixed("samples", 1, 1e-3), number=True),
        Column("samples / dense", "samples_share", fixed("samples_share", 2), number=True),
        Column("MACs / dense", "macs_share", fixed("macs_share", 2), number=True),
        Column("tuning / dense", "tuning_share", fixed("tuning_share", 1), number=True),
        Column("seconds", "seconds", fixed("seconds", 1), number=True),
        Column("all seconds", "all_seconds", fixed("all_seconds", 0), number=True),
        *energy,
        Column("overruns", "over", count_or_dash("over"), number=True, bold="over"),
    )
    over = int(frame["over"].sum())
    caption = (
        "Training cost of a run of each method, mean over all models, budgets and seeds: training images seen and MACs of "
        "training, both with the dense model that the run starts from, and as shares of the longest training of a dense "
        "control. Masks save no MACs of training; a physically smaller model does, from the step at which it became smaller. "
        "Tuning: cost of all trials of the method, in such dense trainings. Seconds: training time with that of the dense "
        "model, inexact where runs shared the machine; all seconds: of all runs of the method. Overruns: runs that cost over "
        f"1 % more than dense training ({over} in all). Energy: {told}."
    )
    if any(not record.cost.start_known for record in study.records.values()):
        caption += " No cost is given for runs from external weights, because the training of those is unknown."
    return Table("ledger", "Training costs", caption, frame.drop(columns="place"), columns)

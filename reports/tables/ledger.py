"""The ledger: what each method of a study was charged, and whether that is more than dense training was.

A run is charged with its own training and with that of the dense model that it starts from. Training arithmetic is counted
in samples of the dense model: three times its MACs for each image (forward, and twice that backward). Masks save none of it,
as masked weights are multiplied all the same; a model that is smaller is charged less from the moment that it is.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pandas as pd

from bench.records.run_record import Cost, Metrics, RunRecord
from reports.load.records import CONTROL, Study, called, dicts
from reports.tables.columns import Column, Row, Table, fixed, text

OVER = 1.01  # of dense training: above that is an overrun
SMALLER = 1e-3  # of the weights: what counting may be off by


def ledger(study: Study) -> pd.DataFrame:
    """One row per method, baseline and control, those with most at stake first: methods, then what was injected.

    ``samples`` and ``macs`` are of a final with its start, mean over all finals, the latter in dense samples too; ``*_share``
    are relative to the dense model trained on (its longest training, where there are several), by architecture;
    ``tuning_share`` is what all trials of the method were charged, so too; ``seconds`` are of training, ``all_seconds`` of all
    finals and trials; ``energy`` in joules, NaN where it was not read; ``over``: runs above dense training by more than 1 %.
    """
    charged = [charge(study, entry) for entry in dicts(study.done("trial", "final", "baseline"))]
    frame = pd.DataFrame(charged, columns=CHARGED)
    plain = frame[frame["plain"].astype(bool)].groupby("model")["samples"].max()
    frame["budget"] = frame["model"].map(plain).astype(float)
    for key in ("samples", "macs"):
        frame[f"{key}_share"] = frame[key] / frame["budget"]
    rows = [_row(str(name), own) for name, own in frame.groupby("method", sort=True)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values(["place", "method"], ignore_index=True)


CHARGED = ["method", "model", "kind", "plain", "samples", "macs", "seconds", "energy"]
COLUMNS = ["method", "finals", "trials", "samples", "samples_share", "macs", "macs_share", "tuning_share"]
COLUMNS += ["seconds", "all_seconds", "energy", "over", "place"]


def charge(study: Study, entry: Row) -> dict[str, Any]:
    """What one run is charged, with the dense model that it starts from; MACs in samples of the dense model."""
    record = study.records[entry["run"]]
    cost, run = record.cost, record.run
    samples = float(cost.samples or cost.steps)
    begun = samples * cost.start_steps / max(1, cost.steps)
    start = study.records.get(run.start.partition(":")[2])
    plain = (run.method_name or entry["method"]) == CONTROL and not run.shape
    return {
        "method": called(entry),
        "model": entry["model"],
        "kind": entry["kind"],
        "plain": plain and entry["kind"] == "baseline",
        "samples": samples + begun,
        "macs": samples * training_share(study, record) + begun,
        "seconds": cost.train_seconds + (start.cost.train_seconds if start else 0.0),
        "energy": _joules(cost) + (_joules(start.cost) if start else 0.0),
    }


def _joules(cost: Cost) -> float:
    return math.nan if cost.energy_joules is None else cost.energy_joules


def training_share(study: Study, record: RunRecord) -> float:
    """What a run's own training cost in MACs, as a share of the same steps of the dense model: 1 while nothing is removed.

    A model that was built smaller is so in every step. Of one that lost channels on its way the curves tell when: a smaller
    one has fewer weights than its zeros explain. In between, MACs are taken to fall as the weights do.
    """
    metrics = record.metrics
    if record.architecture != record.run.model:
        return metrics.macs_fraction
    if not metrics.params_all < metrics.params_reference:
        return 1.0
    rows = dicts(study.curves(record.id))
    steps = [0, *(row["step"] for row in rows)]
    shares = [_share(row, metrics) for row in rows]
    parts = [(b - a) * share for (a, b), share in zip(pairwise(steps), shares, strict=True)]
    return float(sum(parts) / steps[-1]) if steps[-1] else 1.0


def _share(row: Row, metrics: Metrics) -> float:
    """The MACs of the model that was trained up to a row of the curves, as a share of the dense model's."""
    gone, last = 1 - row["weights_left"], 1 - metrics.weights_left
    if gone <= row["sparsity"] + SMALLER or last <= 0:  # as large as it was; at most its zeros are gone
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
        "place": 0 if (own["kind"] == "final").any() else 1,
    }


def table(study: Study) -> Table:
    """The ledger as a table."""
    frame = ledger(study)
    energy = (Column("energy (J)", "energy", fixed("energy", 0), number=True),) if frame["energy"].notna().any() else ()
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
        Column("overruns", "over", _overruns, number=True, bold="over"),
    )
    over = int(frame["over"].sum())
    caption = (
        "What a run of each method was charged, mean over all models, budgets and seeds: training images seen and MACs spent "
        "in training, both with the dense model that it starts from, and as shares of the dense model trained on for as many "
        "steps. Masks save no training arithmetic; a model that is physically smaller does, from then on. Tuning: what all "
        "trials of the method were charged, in such dense trainings. Seconds of training with its start, blurred by runs side "
        f"by side; all seconds: of all its runs. Overruns: runs charged more than 1 % above dense training ({over} in all). "
        f"Energy: {'as it was read' if len(energy) else 'not read on this machine'}."
    )
    return Table("ledger", "Ledger", caption, frame.drop(columns="place"), columns)


def _overruns(row: Row) -> str:
    return str(row["over"]) if row["over"] else "–"

"""The damage of pruning besides top-1: loss, calibration, worst class, agreement with the dense model, empty layers."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from reports.load.records import CONFIGURATION, Study, dicts, label
from reports.statistics.summary import mean
from reports.tables.columns import Column, Table, fixed, text

METRICS = {
    "top1": "test_top1",
    "top5": "test_top5",
    "loss": "test_loss",
    "ece": "test_ece",
    "worst_class": "test_worst_class",
    "agreement": "test_agreement",
    "class_drop": "test_class_drop",
    "val_best": "val_best_top1",
    "pruned": "val_top1_pruned",
    "reestimated": "val_top1_bn",
    "val_top1": "val_top1",
    "collapsed": "layers_collapsed",
    "disconnected": "weights_disconnected",
}
"""Columns, and the metrics of a record whose means they hold; top-1, top-5, classes and agreement are in per cent."""
COLUMNS = ["model", "label", "n", *METRICS, "empty", "runs"]
SHOWN = {
    "top1": ("top-1", 2),
    "top5": ("top-5", 2),
    "loss": ("loss", 3),
    "ece": ("ECE", 3),
    "worst_class": ("worst class", 1),
    "class_drop": ("class drop", 1),
    "agreement": ("agreement", 1),
    "pruned": ("pruned", 2),
    "reestimated": ("re-estimated", 2),
    "val_top1": ("last", 2),
    "val_best": ("best", 2),
    "empty": ("empty", 1),
    "collapsed": ("collapsed", 1),
    "disconnected": ("disconnected", 1),
}
"""The head of each column, and its number of decimals."""


def damage(study: Study) -> pd.DataFrame:
    """Returns one row per finished configuration, each number a mean over its runs; NaN where a run lacks it.

    ``empty``: number of layers without any weight; ``collapsed``: number of layers through which no signal passes;
    ``pruned``: validation top-1 after pruning, before any recovery.
    """
    rows = []
    for _, own in study.done("final", "baseline").groupby(CONFIGURATION, sort=True):
        entries = dicts(own)
        found = [study.records[entry["run"]] for entry in entries]
        row: dict[str, Any] = {"model": entries[0]["model"], "label": label(entries[0]), "n": len(entries)}
        for name, key in METRICS.items():
            values = [getattr(record.metrics, key) for record in found]
            row[name] = math.nan
            if not any(map(math.isnan, values)):
                row[name] = mean(values).mean
        row["empty"] = sum(layer.nonzero == 0 for record in found for layer in record.layers) / len(found)
        rows.append({**row, "runs": own["run"].tolist()})
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(["model", "label"], kind="stable", ignore_index=True)


def table(study: Study) -> Table:
    """The table of damage; a metric that no run has is left out."""
    frame = damage(study)
    columns = (
        Column("model", "model", text("model")),
        Column("method", "label", text("label")),
        Column("n", "n", fixed("n", 0), number=True),
        *(
            Column(head, key, fixed(key, digits), number=True)
            for key, (head, digits) in SHOWN.items()
            if frame[key].notna().any()
        ),
    )
    caption = (
        "Means over n runs, in per cent except for losses and counts. Test split: top-1, top-5, cross entropy, expected "
        "calibration error (0 to 1), top-1 of the worst class, the largest loss of one class compared with the dense model "
        "that the run started from, and the share of images for which both models predict the same class. Validation: top-1 "
        "right after pruning (pruned; where a recovery followed), after re-estimating the batch-norm statistics, at the last "
        "epoch, and at the best epoch (which is used for no selection). Empty: layers without any weight; collapsed: layers "
        "through which little or no signal passes; disconnected: non-zero weights on no path from the image to an output. "
        "Metrics that no run has are left out."
    )
    return Table("damage", "Damage beyond top-1", caption, frame, columns)

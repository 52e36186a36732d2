"""What pruning did besides the accuracy that it cost: of each configuration, on the test split and on validation."""

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
"""Columns, and the fields of `Metrics` that they are means of; top-1, top-5, classes and agreement are in per cent."""
COLUMNS = ["model", "label", "n", *METRICS, "empty", "runs"]


def damage(study: Study) -> pd.DataFrame:
    """One row per configuration that has finished, each number a mean over its runs; NaN where not all have it.

    ``empty``: layers without any weight, ``collapsed``: layers through which nothing passes, both the mean count;
    ``pruned``: validation top-1 as the method left the model, before any recovery.
    """
    rows = []
    for _, own in study.done("final", "baseline").groupby(CONFIGURATION, sort=True):
        entries = dicts(own)
        found = [study.records[entry["run"]] for entry in entries]
        row: dict[str, Any] = {"model": entries[0]["model"], "label": label(entries[0]), "n": len(entries)}
        for name, key in METRICS.items():
            values = [getattr(record.metrics, key) for record in found]
            row[name] = mean(values).mean if not any(map(math.isnan, values)) else math.nan
        row["empty"] = sum(layer.nonzero == 0 for record in found for layer in record.layers) / len(found)
        rows.append({**row, "runs": own["run"].tolist()})
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(["model", "label"], kind="stable", ignore_index=True)


def table(study: Study) -> Table:
    """The damage as a table; what no run has been measured for has no column."""
    frame = damage(study)
    numbers = {
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
        "disconnected": ("cut off", 1),
    }
    columns = (
        Column("model", "model", text("model")),
        Column("method", "label", text("label")),
        Column("n", "n", fixed("n", 0), number=True),
        *(
            Column(head, key, fixed(key, digits), number=True)
            for key, (head, digits) in numbers.items()
            if frame[key].notna().any()
        ),
    )
    caption = (
        "Means over n runs, in per cent but for losses and counts. Test split: top-1, top-5, cross entropy, expected "
        "calibration error (0 to 1), the class with the lowest top-1, the most that one class lost against the dense model "
        "that the run started from, and the share of images for which both predict the same. Validation: top-1 as pruning left "
        "the model (where a recovery followed), with batch-norm statistics estimated anew for it, at the last epoch and at "
        "the best, which chooses and reports nothing. Layers without any weight, and layers through which little or nothing "
        "passes; weights that are not zero and lie on no path from the image to an output. What no run was measured for has no "
        "column."
    )
    return Table("damage", "Damage beyond top-1", caption, frame, columns)

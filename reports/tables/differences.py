"""The differences of one configuration between two sets of records, with tests against noise."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from reports.load.units import by_dense_model
from reports.statistics.paired import t_test
from reports.statistics.samples import Welch
from reports.statistics.summary import LEVEL, mean

METRICS = {
    "test_top1": ("test top-1", 1.0),
    "val_top1": ("val. top-1", 1.0),
    "weights_left": ("weights left %", 100.0),
    "macs_left": ("MACs left %", 100.0),
    "bytes_sparse": ("kB, sparse", 1e-3),
    "seconds": ("seconds", 1.0),
}
"""The compared columns: name, and factor to the unit that is shown."""

SIZES = ("weights left %", "MACs left %", "kB, sparse")
"""Metrics that the configuration determines where they are equal for all seeds: then any difference is a change."""

SCORES = ("test top-1", "val. top-1")
"""Metrics of accuracy: the family over which tests are corrected. Sizes with a spread are another; seconds are not tested."""

FAMILIES = (SCORES, SIZES)
FAILED = "failed runs"


def measured(old: pd.DataFrame, new: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns a row per metric that both sets have, and a row for failures where there are any."""
    ended = [rows[rows["state"] == "finished"] for rows in (old, new)]
    rows = list[dict[str, Any]]()
    for key, (name, unit) in METRICS.items():
        values = [unit * by_dense_model(own, key) for own in ended]
        if all(map(len, values)):
            rows.append({"metric": name, **_difference(*values, exact=name in SIZES)})
    lost = [len(rows) - len(own) for rows, own in zip((old, new), ended, strict=True)]
    if any(lost):
        counts = {"n_old": len(old), "n_new": len(new), "old": lost[0], "new": lost[1], "difference": lost[1] - lost[0]}
        rows.append({"metric": FAILED, **counts, "half": math.nan, "test": "count", "p": math.nan, "beyond": "–"})
    return rows


def _difference(old: pd.Series, new: pd.Series, *, exact: bool) -> dict[str, Any]:
    """New minus old: by the paired t test where both have the same seeds, else by Welch's test; no interval for one seed."""
    before, after = mean(old), mean(new)
    found: dict[str, Any] = {"n_old": before.n, "n_new": after.n, "old": before.mean, "new": after.mean}
    found |= {"difference": after.mean - before.mean, "half": math.nan, "test": "–", "p": math.nan, "beyond": ""}
    if min(before.n, after.n) < 2:
        return found | {"beyond": "one seed"}
    spread = max(before.std, after.std) > 1e-9 * max(1.0, abs(before.mean), abs(after.mean))
    if exact and not spread:
        changed = not math.isclose(before.mean, after.mean, rel_tol=1e-9)
        return found | {"half": 0.0, "test": "no spread", "beyond": "yes" if changed else "no"}
    if set(old.index) == set(new.index):
        paired = new.sort_index() - old.sort_index()
        return found | {"half": mean(paired).half, "test": "paired t", "p": t_test(paired.to_numpy())}
    if not spread:
        return found | {"beyond": "no spread"}
    between = Welch.of(new, old)
    return found | {"half": between.half(LEVEL), "test": "Welch", "p": between.two_sided}

"""The unit of replication: the dense model. Prunings of one dense model are averaged before anything else is computed."""

from __future__ import annotations

import pandas as pd

from reports.load.records import DENSE


def by_dense_model(rows: pd.DataFrame, key: str) -> pd.Series:
    """Returns the mean of a column over the runs of each dense model, by its seed; runs without a value are left out."""
    return rows.dropna(subset=key).groupby(DENSE, sort=True)[key].mean().astype(float)

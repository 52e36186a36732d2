"""Performance profiles."""

from __future__ import annotations

from reports.figures import profiles
from tests.reports.frames import frame, simulated


def test_the_profile_begins_at_all_runs_and_ends_at_none() -> None:
    table = profiles.profiles(simulated(2, cells=5, seeds=5))
    for _, own in table.groupby("label"):
        assert (own["share"].iloc[0], own["share"].iloc[-1]) == (1.0, 0.0)
        assert own["share"].is_monotonic_decreasing
        assert ((own["low"] <= own["share"]) & (own["share"] <= own["high"])).all()


def test_a_run_that_collapsed_is_counted_below_the_axis() -> None:
    values = [93.0 + 0.1 * i for i in range(8)]
    table = profiles.profiles(frame({"net": {"a": [10.0, *values[1:]], "b": values}})).set_index("label")
    assert table["tau"].min() > 90
    assert (table.loc["a", "share"].iloc[0], table.loc["b", "share"].iloc[0]) == (7 / 8, 1.0)

"""The critical-difference diagram."""

from __future__ import annotations

from reports.figures import ranking
from tests.reports.frames import simulated


def test_groups_of_the_diagram_are_the_statistics() -> None:
    made = ranking.figure(simulated(8, cells=8, gap=0.35))
    first, last = made.table.iloc[0], made.table.iloc[-1]
    assert (first["label"], last["label"]) == ("gradual", "small_dense")
    assert not set(first["groups"]) & set(last["groups"])
    assert "bars join methods that do not differ significantly by Nemenyi's test" in made.caption


def test_budgets_of_one_model_have_no_diagram() -> None:
    tidy = simulated(3, cells=6).assign(pair="digits/net")
    assert ranking.figure(tidy).missing.endswith("but there are 1 and 3")


def test_too_few_cells_have_no_diagram() -> None:
    assert ranking.figure(simulated(3, cells=4)).missing.endswith("but there are 4 and 3")

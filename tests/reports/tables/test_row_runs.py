"""Rows of tables and the runs that they are computed from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.records.folder import Folder
from reports.load.records import load
from reports.tables import finals
from reports.tables.row_runs import traced
from tests.reports import homes


def test_rows_lead_to_the_runs_that_their_names_stand_for(tmp_path: Path) -> None:
    study = load(Folder(homes.full(tmp_path)), "pareto-sap")
    made = finals.finals(study)
    without = made.frame.drop(columns=["runs", "claim"])[~made.frame["claim"].astype(bool)]
    found = traced(replace(made, frame=without), study).frame["runs"]
    assert [sorted(runs) for runs in found] == [sorted(runs) for runs in made.frame["runs"] if runs]

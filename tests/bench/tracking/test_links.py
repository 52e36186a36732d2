"""Addresses of runs in MLflow, from a real store."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import tracking
from bench.errors import BenchError
from bench.records.home import Home
from bench.tracking import links
from tests.reports import homes

pytestmark = pytest.mark.filterwarnings("ignore")  # of mlflow's own imports


@pytest.mark.slow
def test_every_synced_run_has_the_address_of_its_page(tmp_path: Path) -> None:
    home = Home(path=homes.full(tmp_path, trials=2, seeds=(1000,), models=["test_vit"]))
    tracking.sync_study(home, "pareto-sap")
    found = links.addresses(home, "http://127.0.0.1:5000/", ["pareto-sap"])
    listed = {entry.run for entry in home.records.entries("pareto-sap")}
    assert set(found) == {"pareto-sap"}
    assert set(found["pareto-sap"]) == listed
    client = tracking.connect(home)
    for run, address in found["pareto-sap"].items():
        front, _, own = address.rpartition("/runs/")
        known = client.get_run(own)
        assert known.data.tags["bench.run"] == run
        assert front == f"http://127.0.0.1:5000/#/experiments/{known.info.experiment_id}"


def test_only_addresses_of_the_web_are_linked(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="begins with http"):
        links.addresses(Home(path=tmp_path), "javascript:alert(1)")

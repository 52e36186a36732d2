"""The creation of the SQLite store."""

from __future__ import annotations

import pytest

from bench.records.home import Home
from bench.tracking import sync_study
from tests.bench.tracking.studies import STUDY, view

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of mlflow's own imports


@pytest.mark.slow
def test_a_store_whose_making_was_cut_off_is_made_anew(home: Home) -> None:
    (home.path / "mlflow.db").unlink()
    (home.path / ".mlflow.db.tmp").write_bytes(b"half a database")
    sync_study(home, STUDY)
    assert view(home)["parent"][0] == "KILLED"
    assert (home.path / "mlflow.db").exists()
    assert not (home.path / ".mlflow.db.tmp").exists()

"""Records to MLflow and back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.records.home import Home
from bench.tracking import fetch, sync_study
from tests.bench.tracking.studies import STUDY, entry

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of mlflow's own imports


def test_records_come_back_from_the_store(home: Home, tmp_path: Path) -> None:
    sync_study(home, STUDY)
    assert fetch(home, tmp_path / "fetched") == [STUDY]
    back = Home(path=tmp_path / "fetched").records
    assert back.study(STUDY) == home.records.study(STUDY)
    assert list(back.entries(STUDY)) == [entry(0, "aaa", "finished")]
    assert back.record("aaa") == home.records.record("aaa")
    assert len(back.curves("aaa")) == 2


def test_another_machines_folder_syncs_into_this_store(
    home: Home, made_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_study(home, STUDY)
    here = Home(path=tmp_path / "here")
    here.path.mkdir()
    shutil.copy(made_store, here.path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", here.tracking_uri)
    assert sync_study(home, STUDY) == 2
    assert sync_study(home, STUDY) == 1  # only the unfinished one is looked at again

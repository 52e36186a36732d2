"""A home with a small study."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.records.home import Home
from tests.bench.tracking.studies import STUDY, entry, make_run
from tests.records import study_record


@pytest.fixture
def home(own_place: Path, made_store: Path) -> Home:
    home = Home()
    home.path.mkdir()
    shutil.copy(made_store, home.path)
    home.records.write_study(study_record(STUDY))
    make_run(home, "aaa", [10, 20], ended=True)
    make_run(home, "bbb", [10], ended=False)
    home.records.write_entry(STUDY, entry(0, "aaa", "finished"))
    home.records.write_entry(STUDY, entry(1, "bbb", "running"))
    return home

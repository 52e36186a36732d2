"""What earlier versions wrote is read as what it meant then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.records.files import read_json
from bench.records.folder import Folder
from bench.records.imported import bring
from bench.records.reading import from_json
from bench.records.run_record import RunRecord
from bench.records.study_record import StudyRecord

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "reports" / "golden"
ADDED = {"collapsed", "test_opened"}
"""Keys that the golden records, of an earlier version, do not have."""


def lost(old: Any, new: Any, where: str = "") -> list[str]:
    """Where a record that was read and written again says anything else than before."""
    if isinstance(old, dict):
        return [line for key in old for line in lost(old[key], new.get(key, "nothing"), f"{where}/{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [line for one, other in zip(old, new, strict=True) for line in lost(one, other, f"{where}[]")]
    return [] if old == new else [f"{where}: {old!r}, now {new!r}"]


def test_golden_records_are_read_and_nothing_of_them_is_lost() -> None:
    folder = Folder(GOLDEN)
    for run in folder.run_ids():
        old, record = read_json(folder.run(run) / "record.json"), folder.record(run)
        assert record is not None
        assert lost(old, record.to_json()) == []
        assert record.to_json().keys() - old.keys() == ADDED
        assert record.architecture == record.run.model
    (name,) = folder.studies()
    assert lost(read_json(GOLDEN / "studies" / name / "study.json"), folder.study(name).to_json()) == []
    for entry in folder.entries(name):
        assert lost(read_json(folder.entry_file(name, entry)), entry.to_json()) == []


def test_the_records_of_the_gallery_are_read(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    (file,) = (ROOT / "reports" / "gallery").glob("*.parquet")
    found = bring(folder, file)
    assert (found.runs, found.studies) == (84, 1)
    assert all(record.finished for run in folder.run_ids() if (record := folder.record(run)) is not None)


def test_a_record_without_an_architecture_built_the_model_that_it_names() -> None:
    value = read_json(next(GOLDEN.glob("runs/*/record.json")))
    del value["architecture"]
    assert from_json(RunRecord, value, "here").architecture == value["run"]["model"]


@pytest.mark.parametrize(("reconstructions", "expected"), [({"sap": "what is ours"}, True), ({}, False)])
def test_a_method_was_a_reconstruction_as_a_whole(reconstructions: dict[str, str], expected: bool) -> None:
    value = read_json(next(GOLDEN.glob("studies/*/study.json")))
    cell = {"method": "sap", "model": "test_vit", "target": None, "space": {}, "importances": {}}
    old = {key: one for key, one in value.items() if key != "topic"}
    declared = from_json(StudyRecord, {**old, "cells": {"a": cell}, "reconstructions": reconstructions}, "here")
    assert declared.topic == ""
    assert declared.cells["a"].reconstruction is expected

"""Entries, cells and declarations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.claims import Claim
from bench.records.reading import from_json
from bench.records.study_record import CellRecord, Entry, StudyRecord
from tests.reports import homes


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (Entry("trial", "sap/test_vit", 3, 0, "a"), "trial-sap-test_vit-0003-s0"),
        (Entry("final", "gradual/test_vit@0.9", 0, 1000, "a"), "final-gradual-test_vit@0.9-0000-s1000"),
        (
            Entry("final", "drop/test_vit:away only", 2, 1001, "a", dense_seed=7),
            "final-drop-test_vit-away only-0002-s1001-d7",
        ),
    ],
)
def test_the_name_of_an_entry_tells_it_from_all_others(entry: Entry, name: str) -> None:
    assert entry.name == name


def test_an_entry_has_the_keys_that_it_always_had() -> None:
    plain = {"kind": "trial", "cell": "a/b", "number": 0, "seed": 1, "run": "x", "params": {"p": 0.5}}
    plain |= {"values": [90.0, 0.1], "state": "finished", "reason": None}
    assert Entry.from_json(plain).to_json() == plain
    assert list(Entry.from_json(plain).to_json()) == list(plain)
    assert Entry.from_json(plain).values == (90.0, 0.1)
    derived = {**plain, "of": "a/b@0.9", "dense_seed": 4}
    assert Entry.from_json(derived).to_json() == derived


def test_states_of_an_entry() -> None:
    states = {state: Entry("trial", "a/b", 0, 0, "x", state=state) for state in ("running", "finished", "failed")}
    assert [states[state].ended for state in states] == [False, True, True]
    assert [states[state].finished for state in states] == [False, True, False]


def test_a_declaration_survives_json() -> None:
    declared = from_json(StudyRecord, homes.declaration(), "here")
    assert declared.methods == ("sap",)
    assert declared.claims["sap"][0] == Claim(**homes.declaration()["claims"]["sap"][0])
    assert declared.cells["sap/test_vit"].importances is not None
    assert StudyRecord.from_json(declared.to_json()) == declared


def test_the_cell_of_an_entry_is_its_own_or_that_of_its_final() -> None:
    declared = from_json(StudyRecord, homes.declaration(), "here")
    own, beside = declared.cells["sap/test_vit"], CellRecord("random", "test_vit", runs="oneshot")
    declared = StudyRecord.from_json({**declared.to_json(), "baselines": {"random/test_vit": beside.to_json()}})
    assert declared.cell_of(Entry("final", "sap/test_vit", 0, 0, "x")) == own
    assert declared.cell_of(Entry("baseline", "random/test_vit", 0, 0, "x")) == beside
    assert declared.cell_of(Entry("baseline", "reinit/test_vit:sap", 0, 0, "x", of="sap/test_vit")) == own
    assert declared.cell_of(Entry("baseline", "dense/test_vit", 0, 0, "x")) is None


def test_cells_write_what_their_kind_of_study_has() -> None:
    tuned = CellRecord("sap", "test_vit", space={"p": "{}"}, importances={})
    assert list(tuned.to_json()) == ["method", "model", "target", "reconstruction", "space", "importances"]
    variant = CellRecord("sap", "test_vit", variant="", group="g", number=0, settings=(), facts={"predicted": 0.75})
    assert {"variant", "group", "number", "settings", "facts"} <= variant.to_json().keys()


@pytest.mark.parametrize(
    ("kind", "trials", "told"),
    [
        ("pareto", 8, (True, False, True)),
        ("ladder", 8, (False, False, True)),
        ("ladder", 0, (False, False, False)),
        ("grid", 0, (False, True, False)),
    ],
)
def test_a_declaration_says_what_kind_it_is_of(kind: str, trials: int, told: tuple[bool, bool, bool]) -> None:
    declared = replace(from_json(StudyRecord, homes.declaration(), "here"), kind=kind, trials=trials)
    assert (declared.pareto, declared.grid, declared.tuned) == told

"""What is known of starting weights, from records of all versions and from a file's own words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.errors import Corrupt
from bench.records.run_record import UNSAFE, Cost, Images, Provenance, RunRecord, StartingWeights
from bench.records.starting_weights import after, danger, from_text, of_record, to_text, unknown, with_start
from tests.records import run_record

DATA = Provenance(data={"digest": "abcd"})
COST = Cost(steps=10)


def record(run_id: str, start: str) -> RunRecord:
    """A record of the first version, which says only what it starts from."""
    identity = {"start": "sha256:12"} if start.endswith("safetensors") else {}
    return run_record(run_id, run={"start": start}, provenance=DATA, cost=COST, identity=identity)


def test_what_a_file_says_of_itself_is_read_again() -> None:
    seen = after(None, "digits", "abcd", 7)
    assert seen == StartingWeights("", (Images("digits", "abcd", "train"),), complete=True, steps=7)
    assert from_text(to_text(seen), "sha256:12") == replace(seen, root="sha256:12")
    for text in ("{", "[]", "{}"):
        with pytest.raises(Corrupt):
            from_text(text, "sha256:12")


def test_what_is_not_declared_is_a_danger_and_its_steps_are_unknown() -> None:
    later = after(unknown("timm"), "digits", "abcd", 7)
    assert (later.root, later.complete, later.steps) == ("timm", False, None)
    assert "do not declare" in danger(later, "digits", "abcd")
    assert danger(None, "digits") == danger(after(None, "digits", "abcd", 7), "digits", "abcd") == ""
    held = StartingWeights("sha256:12", (Images("digits", "abcd", "validation"),), complete=True, steps=7)
    assert (
        danger(held, "digits", "abcd")
        == danger(held, "digits")
        == "they were trained on the validation images of digits"
    )
    assert danger(held, "digits", "another") == danger(held, "mnist") == ""


def test_older_records_are_traced_to_the_file_that_they_began_with() -> None:
    known = {r.id: r for r in (record("a", "weights.safetensors"), record("b", "run:a"), record("c", ""))}
    pruned = record("d", "run:b")
    found = of_record(pruned, known.get)
    assert found is not None
    assert (found.root, found.complete, found.steps) == ("sha256:12", False, None)
    ours = of_record(record("e", "run:c"), known.get)
    assert ours == after(None, "digits", "abcd", 10)
    today = with_start(replace(pruned, label="masked channels"), known.get)
    assert (today.label, today.cost.start_known) == (f"masked channels, {UNSAFE}", False)
    assert with_start(known["c"], known.get) == known["c"]
    assert with_start(today, known.get) == today

"""Typed records: what is checked, and what goes to JSON and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import pytest

from bench.errors import Corrupt
from bench.records.part import Part, part


@dataclass(frozen=True)
class Inner(Part):
    name: str
    top1: float = part("val/top1")


@dataclass(frozen=True)
class Outer(Part):
    count: int
    inner: tuple[Inner, ...] = ()
    by_name: Mapping[str, Inner] = field(default_factory=dict)
    reason: str | None = None
    commit: str | None = part(default=None)
    flag: bool = False


@dataclass(frozen=True)
class Open(Part):
    top1: float = part("val/top1")
    more: Mapping[str, float] = field(default_factory=dict)


FULL = {
    "count": 3,
    "inner": [{"name": "a", "val/top1": 90.5}, {"name": "b"}],
    "by_name": {"c": {"name": "c", "val/top1": 1}},
    "reason": "why",
    "commit": "abc",
    "flag": True,
}


def test_a_record_survives_json() -> None:
    record = Outer.from_json(FULL)
    assert record.inner[0].top1 == 90.5
    assert record.by_name["c"].name == "c"
    assert record.to_json() == FULL
    assert Outer.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_what_was_not_measured_is_nan_and_has_no_key() -> None:
    record = Outer.from_json({"count": 1, "inner": [{"name": "b"}]})
    assert math.isnan(record.inner[0].top1)
    assert record.to_json() == {
        "count": 1, "inner": [{"name": "b"}], "by_name": {}, "reason": None, "flag": False
    }  # fmt: skip
    assert record == Outer.from_json(record.to_json())


def test_a_record_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Inner("a").name = "b"  # type: ignore[misc]


def test_unknown_keys_are_ignored_or_kept_by_more() -> None:
    assert Inner.from_json({"name": "a", "later": 1}) == Inner("a")
    record = Open.from_json({"val/top1": 1.0, "params/tables": 4.0})
    assert record.more == {"params/tables": 4.0}
    assert record.to_json() == {"val/top1": 1.0, "params/tables": 4.0}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"count": "3"}, "`count` of a Outer must be a whole number, but got '3'"),
        ({"count": True}, "`count` of a Outer must be a whole number"),
        ({"flag": 1}, "`flag` of a Outer must be true or false"),
        ({"reason": 4}, "`reason` of a Outer must be text or null"),
        ({"inner": {"name": "a"}}, "must be a list in JSON"),
        ({"inner": [{"val/top1": 1.0}]}, "a Inner must have the key 'name'"),
        ({"inner": [{"name": "a", "val/top1": "high"}]}, "`val/top1` of a Inner must be a number, but got 'high'"),
        ({"by_name": []}, "must be an object in JSON"),
        ({"by_name": {"c": 1}}, "a Inner must be an object in JSON, but got 1"),
    ],
)
def test_wrong_types_are_refused_in_one_line(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(Corrupt, match=told) as error:
        Outer.from_json({**FULL, **changes})
    assert "\n" not in str(error.value)


def test_fields_are_checked_when_a_record_is_made_in_code_too() -> None:
    with pytest.raises(Corrupt, match="`inner` of a Outer must be a list, each a Inner"):
        Outer(1, inner=[Inner("a")])  # type: ignore[arg-type]

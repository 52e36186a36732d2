"""The words of the evaluation card."""

from __future__ import annotations

from reports.card.evidence import MET, UNMET, also, judged, lacking, listed


def test_a_few_names_are_listed_and_the_others_counted() -> None:
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert listed([]) == ""


def test_a_clause_is_left_out_where_there_is_nothing_to_say() -> None:
    assert also(2, "have no requested size") == "; 2 have no requested size"
    assert also(0, "have no requested size") == ""
    assert lacking([], "missing", "complete") == "complete"
    assert lacking(["data", "command"], "missing", "complete") == "missing: data, command"


def test_a_verdict_is_met_or_not() -> None:
    assert [judged(met, "").state for met in (True, False)] == [MET, UNMET]

"""The runs of a study other than its trials."""

from __future__ import annotations

import hashlib
import json

import pytest

from bench import registry
from bench.records.study_record import Entry
from bench.study import planned
from bench.study.declaration import declaration
from bench.study.planned import PlannedRun
from bench.study.study import Study

RUNS = {
    "architectures": (26, "3916bdc3ab3d"),
    "compare": (9, "d7024c205356"),
    "decay_hosts": (13, "cabfc34d0cdf"),
    "decay_steps": (9, "0bbf99f2a9f6"),
    "defaults": (9, "fe4971363bac"),
    "drop_ablation": (12, "b2db49c745ad"),
    "headline": (9, "5b611938b149"),
    "ladder": (3, "f6ec02418e28"),
    "large_sparse_small_dense": (10, "8427d28dff4a"),
    "pareto": (2, "a774fec94ec9"),
    "real_speed": (4, "cd00aedd4b70"),
    "sap_phases": (5, "2710fa42bef1"),
}
"""Of the small size of each study: how many runs it has besides its trials, and a digest of them and their order, as the
version before computed them. Trial 3 of each cell is chosen, with the method's defaults."""

FROZEN = {False: "76c7fa1f8e9b", True: "a4ad4a0c1c66"}
"""By size, what `compare` freezes since gradual and rigl spare depthwise convolutions: with another digest it refuses to go
on."""


def declared(name: str, *, smoke: bool = True) -> Study:
    methods = ("sap",) if name in ("pareto", "ladder") else ()
    study: Study = registry.load(registry.STUDIES, name).study(methods, smoke=smoke)
    return study


def runs(study: Study) -> list[PlannedRun]:
    chosen = {cell.key: [Entry("trial", cell.key, 3, study.seed, "")] for cell in study.cells()}
    dense = planned.dense_runs(study, tuned=True) if study.dense is not None else ()
    return [*planned.finals(study, chosen), *dense]


@pytest.mark.parametrize("name", registry.names(registry.STUDIES))
def test_the_runs_of_a_study_are_those_of_before(name: str) -> None:
    """If this fails, a study that was begun computes runs again, or other ones."""
    rows = [(n.kind, n.cell, n.number, n.seeds, n.run.id, n.label) for n in runs(declared(name))]
    assert (len(rows), hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]) == RUNS[name]


@pytest.mark.parametrize("smoke", [False, True])
def test_a_comparison_of_before_goes_on(smoke: bool) -> None:
    assert declaration(declared("compare", smoke=smoke), {}, state="running").frozen == FROZEN[smoke]


def test_what_a_run_is_called() -> None:
    run = runs(declared("pareto"))[0].run
    assert PlannedRun("trial", "sap/net", 2, run, {}, (0, 0)).label == "sap/net trial 2"
    assert PlannedRun("final", "sap/net", 2, run, {}, (7, 7)).label == "sap/net final 2 seed 7"
    assert PlannedRun("final", "sap/net", 2, run, {}, (7, 8)).label == "sap/net final 2 seed 8 of dense 7"

"""The plan of a study and its cost."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

import studies.architectures
import studies.compare
import studies.ladder
import studies.pareto
import studies.sap_phases
from bench.errors import BenchError
from bench.records.home import Home
from bench.run import Run, new_run
from bench.study import dry_run
from bench.study.study import Study


def test_a_few_real_steps_are_timed() -> None:
    run = new_run("dense", ("epochs=1", "batch=256", "model=test_resnet", "threads=1", "device=cpu"))
    steps, seconds = dry_run.step_seconds(run, Home())
    assert steps == 4
    assert 0 < seconds < 60


def printed(study: Study, monkeypatch: pytest.MonkeyPatch, *, jobs: int = 2) -> tuple[dry_run.CostPlan, str]:
    """The plan and what is printed, as if each run had 100 steps of 36 ms; each run that is timed is timed once."""
    seen: list[tuple[Any, ...]] = []

    def timed(run: Run, home: Home) -> tuple[int, float]:
        seen.append((run.method.name, run.model, run.recipe, run.epochs))
        return 100, 0.036

    monkeypatch.setattr(dry_run, "step_seconds", timed)
    console = Console(record=True, width=200, quiet=False)
    dry_run.plan(console, study, "cpu", jobs)
    made = dry_run.cost_plan(Console(quiet=True), study, "cpu", jobs)
    assert len(seen) == 2 * len(set(seen))
    return made, console.export_text()


def test_trials_and_finals_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    study = studies.pareto.study(("sap",), trials=5, finals=2)
    made, text = printed(study, monkeypatch)
    assert made.runs == 2 * (5 + 2 * 3)
    assert made.hours == pytest.approx(22 * 100 * 0.036 / 2 / 3600)
    assert {(row.cell, row.trials, row.finals) for row in made.rows} == {
        ("sap/test_efficientnet", 5, 6),
        ("sap/test_resnet", 5, 6),
    }
    assert "22 runs" in text
    assert "6 runs of controls" in text


def test_targets_that_cost_the_same_have_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    study = studies.ladder.study(("gradual",), models=("test_resnet",), targets=(0.5, 0.9))
    made, text = printed(study, monkeypatch)
    assert list(made.rows.values()) == [["0.5", "0.9"]]
    assert made.runs == 2 * (8 + 3)
    assert "gradual/test_resnet @0.5, 0.9" in text
    assert "one row for targets that cost the same" in text


def test_a_variant_that_repeats_another_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made, text = printed(studies.sap_phases.study((), models=("test_resnet",), task="digits"), monkeypatch)
    repeated = [row for row in made.rows if row.hours == "as above"]
    assert len(repeated) == 4  # the paper's own point is in each of the five ablations
    assert made.runs == 3 * (len(made.rows) - 4)
    assert "as above" in text


def test_a_comparison_says_what_it_charges(monkeypatch: pytest.MonkeyPatch) -> None:
    study = studies.compare.study(("gradual", "rigl"), models=("test_resnet",), targets=(0.5,))
    made, text = printed(study, monkeypatch)
    rows = {row.cell: (row.trials, row.finals) for row in made.rows}
    assert rows["dense/test_resnet, to start from"] == (0, 3)
    assert rows["dense_on/test_resnet"] == (0, 3)
    assert "random_ratios: up to 6 runs each" in text
    assert (
        "ledger: gradual: each 10 + 6 epochs a run (dense start + own), in 3 finals and 0 trials 48 epochs in all"
        in text
    )
    assert "ledger: rigl: each 0 + 16 epochs a run" in text


def test_a_model_that_cannot_be_built_fails_in_a_lenient_study_only(monkeypatch: pytest.MonkeyPatch) -> None:
    study = studies.architectures.study((), models=("test_vit",), task="digits", settings=("image_size=20",))
    made, text = printed(study, monkeypatch)
    assert made.runs == 0
    assert "fails: " in text
    strict = studies.pareto.study(("gradual",), models=("test_vit",), settings=("image_size=20",))
    with pytest.raises(BenchError, match="cannot process"):
        dry_run.cost_plan(Console(quiet=True), strict, "cpu", 1)

"""The evaluation card: what the records show, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.records.files import read_json, write_json
from bench.records.folder import Folder
from bench.records.openings import Opening, note
from reports.build import build
from reports.card import card
from reports.card.evidence import MET, NONE, UNMET
from reports.load.records import load
from reports.page.facts import warnings
from reports.tables import damage, finals, ledger
from reports.tables import finals as tables
from tests.reports import homes
from tests.reports.looking import Page

NAME = "pareto-sap"


def made(home: Path, name: str = NAME) -> dict[int, tuple[str, str]]:
    """Verdict and evidence of each rule."""
    study = load(Folder(home), name)
    shown = [make(study) for make in (finals.finals, damage.table, finals.configurations, finals.failures, finals.runs)]
    frame = card.table(study, shown, ["layers", "accuracy-weights-left"]).frame
    assert frame["number"].tolist() == list(range(1, 34))
    return {row["number"]: (row["verdict"], row["evidence"]) for row in frame.to_dict("records")}


def change(home: Path, kind: str, edit: Callable[[dict[str, Any]], object], name: str = NAME) -> None:
    """Edit the records of all runs of a kind."""
    folder = Folder(home)
    for path in [folder.run(entry.run) / "record.json" for entry in folder.entries(name) if entry.kind == kind]:
        if path.exists():
            record = read_json(path)
            edit(record)
            write_json(path, record)


def test_a_study_by_hand(tmp_path: Path) -> None:
    found = made(homes.full(tmp_path))
    by_state = {state: {number for number, (verdict, _) in found.items() if verdict == state} for state in (MET, NONE)}
    assert by_state[NONE] == {15, 23}
    assert by_state[MET] == {8, 9, 10, 17, 19, 22, 28, 29, 30, 31, 32, 33}
    assert found[9][1] == "8 trials in each of 2 cells, sampler tpe; tuned fields: sap 2"
    assert found[10][1] == "opened once by 18 runs, more than once by 0, by 0 of 14 trials"
    assert found[17][1].startswith("n = 3 at least, enough to screen, a headline needs 5")
    assert found[22][1] == "tuning: seed 0; finals: 1000, 1001, 1002"
    assert found[31][1] == "2 of 34 runs failed, 0 without a reason"
    assert found[32][1] == "6 of 6 means computed twice with the same result"


def test_nothing_is_met_before_there_are_results(tmp_path: Path) -> None:
    homes.declare(tmp_path, cells={}, claims={})
    homes.write_entry(tmp_path, NAME, "trial", "sap/test_vit", 0, state="running")
    found = made(tmp_path)
    assert MET not in {verdict for verdict, _ in found.values()}
    assert found[1] == (NONE, "no final has a result yet")


def _moved(record: dict[str, Any]) -> None:
    record["provenance"] = {**record["provenance"], "commit": "f" * 40}


def _unknown(record: dict[str, Any]) -> None:
    record["provenance"] = {**record["provenance"], "command": None}


def _timed(record: dict[str, Any]) -> None:
    record["metrics"] |= {"params/reference": 1}


BROKEN: list[tuple[int, str, Callable[[dict[str, Any]], object], str]] = [
    (10, "trial", lambda r: r.update(test_openings=1), "by 7 of 7 trials"),
    (10, "final", lambda r: r.update(test_openings=2), "more than once by 6"),
    (19, "final", lambda r: r["run"].update(seed=7), "6 records name another seed"),
    (23, "final", _timed, "0 of 2 configurations"),
    (28, "final", _moved, "2 different: commit"),
    (29, "final", _unknown, "missing: command"),
    (30, "trial", lambda r: r.update(protocol="2"), "version 1, 2 in the declaration"),
]


@pytest.mark.parametrize(("rule", "kind", "edit", "says"), BROKEN)
def test_what_is_broken_in_the_records_is_not_met(
    tmp_path: Path, rule: int, kind: str, edit: Callable[[dict[str, Any]], object], says: str
) -> None:
    home = homes.full(tmp_path, models=["test_vit"])
    change(home, kind, edit)
    verdict, evidence = made(home)[rule]
    assert verdict == UNMET
    assert says in evidence


MENDED: list[tuple[int, Callable[[dict[str, Any]], object], str]] = [
    (1, lambda r: r.update(identity={"start": "run:0123456789ab"}), "one start in each of 3 pairs of model and seed"),
    (6, lambda r: r["run"].update(recovery="lr"), "recovery of all 6 finals: lr"),
    (7, lambda r: r["run"].update(recipe={"optimizer": "sgd", "lr": 0.1}), "one recipe in 6 finals"),
    (11, lambda r: r["metrics"].update({"val_best/top1": 99.0}), "both in table damage"),
    (14, lambda r: r["metrics"].update({"speedup/theoretical": 2.0}), "6 of 6 finals"),
    (15, lambda r: r["run"].update(method={"final": r["metrics"]["sparsity/prunable"]}), "0 of 6 finals miss"),
    (16, lambda r: r["metrics"].update({"test/top5": 99.0}), "in table damage"),
]


@pytest.mark.parametrize(("rule", "edit", "says"), MENDED)
def test_what_the_records_show_is_met(
    tmp_path: Path, rule: int, edit: Callable[[dict[str, Any]], object], says: str
) -> None:
    home = homes.full(tmp_path, models=["test_vit"])
    assert made(home)[rule][0] != MET
    change(home, "final", edit)
    verdict, evidence = made(home)[rule]
    assert verdict == MET
    assert says in evidence


def test_starts_that_differ_between_methods_are_not_the_same_start(tmp_path: Path) -> None:
    home = homes.full(tmp_path, models=["test_vit"])
    change(home, "final", lambda r: r.update(identity={"start": f"run:{r['metrics']['weights_left']}"}))
    verdict, evidence = made(home)[1]
    assert (verdict, evidence[:40]) == (UNMET, "methods start from different weights: te")


def test_unequal_training_is_not_equal_compute(tmp_path: Path) -> None:
    """A final has 80 steps; those of the smaller size, with 80 more of their start, twice as many."""
    home = homes.full(tmp_path, models=["test_vit"])
    assert made(home)[8][0] == MET
    change(home, "final", lambda r: r["cost"].update(start_steps=80 if r["metrics"]["weights_left"] < 0.1 else 0))
    verdict, evidence = made(home)[8]
    assert verdict == UNMET
    assert "by up to 2.00x" in evidence
    assert made(home)[2] == (UNMET, "no dense control was trained for as long as the methods on test_vit")
    change(home, "baseline", lambda r: r["cost"].update(steps=160))
    assert made(home)[2][0] == MET


def test_a_recomputed_mean_that_differs_is_found(tmp_path: Path) -> None:
    study = load(Folder(homes.full(tmp_path, models=["test_vit"])), NAME)
    finals = tables.finals(study)
    finals.frame.loc[0, "test_top1"] += 0.001
    frame = card.table(study, [finals], []).frame
    assert tuple(frame.loc[31, ["verdict", "evidence"]]) == (
        UNMET,
        "2 of 3 means computed twice with the same result",
    )


@pytest.mark.slow
def test_every_verdict_leads_to_its_evidence_on_the_page(tmp_path: Path) -> None:
    text = build(homes.full(tmp_path, models=["test_vit"]), tmp_path / "out").read_text()
    page = Page(text)
    study = load(Folder(tmp_path), NAME)
    frame = card.table(study, [tables.finals(study)], []).frame
    assert set("study-1-" + frame["link"]) <= set(page.ids)
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)
    assert "Of 33 rules" in text


def test_later_evaluations_of_a_final_are_counted(tmp_path: Path) -> None:
    """The record of a final says 1 for ever; two evaluations after it are in the journal of the home."""
    home = homes.full(tmp_path, models=["test_vit"])
    final = next(e.run for e in Folder(home).entries(NAME) if e.kind == "final")
    for run in (final, final, final, ""):
        note(home, Opening("digits", "abcd", 3.0, 1, run, "bench evaluate"))
    verdict, evidence = made(home)[10]
    assert verdict == UNMET
    assert "more than once by 1," in evidence
    assert evidence.endswith("1 openings of this data set in this home are of other runs and files")


def _external(record: dict[str, Any]) -> None:
    record["run"] = {**record["run"], "start": "weights.safetensors"}
    record["identity"] = {"start": "sha256:0123456789abcdef"}


def test_weights_that_do_not_say_what_they_saw_mark_every_number(tmp_path: Path) -> None:
    """Their training is unknown, not zero; and what was trained from one file is one dense model."""
    home = homes.full(tmp_path, models=["test_vit"])
    for kind in ("baseline", "final"):
        change(home, kind, _external)
    found = made(home)
    assert found[1] == (UNMET, "6 of 6 finals start from weights that may have seen validation or test")
    assert found[8] == (UNMET, "the training of the external weights that 6 finals start from is unknown")
    study = load(Folder(home), NAME)
    finals = study.done("final", "baseline")
    assert set(finals["dense_seed"]) == {1000}
    assert set(finals["said"]) == {"unsafe start"}
    assert set(finals["seed"]) == {1000, 1001, 1002}
    costs = ledger.ledger(study)
    assert costs.loc[costs["finals"] > 0, "samples"].isna().all()
    assert any("marked as 'unsafe start'" in text for text in warnings(study))


def test_a_dense_model_that_knows_the_validation_split_is_found(tmp_path: Path) -> None:
    home = homes.full(tmp_path, models=["test_vit"])
    numbers = {"val/top1": 99.4, "test/top1": 91.5, "val/n": 5000, "test/n": 10000, "sparsity/all": 0.0}
    change(home, "baseline", lambda r: r["metrics"].update(numbers))
    verdict, evidence = made(home)[10]
    assert verdict == UNMET
    assert "3 dense models are far better on validation than on test" in evidence
    assert any("exceeds 91.50 % on test by 19.4 binomial" in text for text in warnings(load(Folder(home), NAME)))


@pytest.mark.parametrize("trials", [0, 8])
def test_a_baseline_that_is_not_tuned_is_found(tmp_path: Path, trials: int) -> None:
    """Equal trials are those of everything in the table; the number of tuned fields stands beside them."""
    home = homes.full(tmp_path)
    cell = {
        "method": "magnitude_uniform",
        "model": "test_vit",
        "runs": "oneshot",
        "space": {"recipe.lr": "{}"} if trials else {},
    }
    homes.declare(
        home, models=["test_vit"], baselines={"magnitude_uniform/test_vit": cell}, baseline="magnitude_uniform"
    )
    for number in range(trials):
        homes.write_entry(home, NAME, "trial", "magnitude_uniform/test_vit", number, state="failed", reason="diverged")
    verdict, evidence = made(home)[9]
    if trials:
        assert (verdict, evidence) == (
            MET,
            "8 trials in each of 3 cells, sampler tpe; tuned fields: sap 2, magnitude_uniform 1",
        )
    else:
        assert verdict == UNMET
        assert evidence.endswith("not tuned: magnitude_uniform")

"""The ledger, the sizes that were attained, and methods beside the controls of their own shapes: from records, by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.records.files import read_json, write_json
from bench.records.folder import Folder
from bench.records.run_record import Metrics
from bench.records.study_record import Entry
from reports.load.records import Study, load
from reports.tables import comparison, ledger, sanity
from tests.reports import homes

MODEL = "test_vit"
BATCH, STEPS, BEGUN = 10, 20, 40  # of a run, and of the dense model that it starts from


def declare(home: Path) -> dict[str, Any]:
    cells = {f"{m}/{MODEL}@0.5": {"method": m, "model": MODEL, "target": 0.5, "space": {}} for m in ("sap", "cut")}
    beside = {f"uniform/{MODEL}@0.5": {"method": "uniform", "runs": "oneshot", "model": MODEL, "target": 0.5}}
    kind: dict[str, Any] = {"kind": "ladder", "trials": 0, "targets": [0.5], "methods": ["sap", "cut"]}
    return homes.declare(
        home, name="compare", models=[MODEL], cells=cells, baselines=beside, baseline="uniform", **kind
    )


def ran(home: Path, kind: str, cell: str, seed: int, test: float, **change: Any) -> str:
    """A run of `STEPS` steps that began with a dense model, as a method of its cell's name would leave it."""
    run = homes.run_id("compare", kind, cell, 0, seed)
    homes.write_run(home, run, model=MODEL, val=90.0, left=change.pop("left", 0.5), test=test, rounds=1)
    entry = {"params": change.pop("params", {}), **change.pop("entry", {})}
    homes.write_entry(home, "compare", kind, cell, 0, seed, **entry)
    path = Folder(home).run(run) / "record.json"
    record = read_json(path)
    method = change.pop("method", {"name": cell.partition("/")[0], "final": 0.5})
    record["run"] |= {"method": method, "recipe": {"batch": BATCH}, "start": "run:0", "shape": change.pop("shape", "")}
    record["cost"] |= {"steps": STEPS, "samples": BATCH * STEPS, "start_steps": change.pop("begun", BEGUN)}
    record["metrics"] |= {"params/reference": record["metrics"]["params/all"], "macs/fraction": 0.5}
    curves = pd.DataFrame({"step": [5, 10, 15, 20], "weights_left": 1.0, "sparsity": 0.0})
    if change.pop("smaller", False):
        record["metrics"]["params/reference"] *= 2
        curves["weights_left"] = [1.0, 0.5, 0.5, 0.5]
    curves["sparsity"] = change.pop("sparsity", 0.0)
    curves.to_parquet(Folder(home).run(run) / "curves.parquet")
    assert not change
    write_json(path, record)
    return run


@pytest.fixture
def study(tmp_path: Path) -> Study:
    declare(tmp_path)
    plain = {"name": "dense"}
    for seed, more in zip(homes.SEEDS, (0.0, 0.1, 0.3), strict=True):
        ran(tmp_path, "baseline", f"dense/{MODEL}", seed, 95.0, left=1.0, begun=0, method=plain)
        ran(tmp_path, "baseline", f"dense_on/{MODEL}", seed, 96.0, left=1.0, method=plain)
        own = ran(tmp_path, "final", f"sap/{MODEL}@0.5", seed, 90.0 + more)
        entry = {"of": f"sap/{MODEL}@0.5"}
        cell, test = f"random_ratios/{MODEL}:sap@0.5", 89.0
        shuffled = {"shape": f"shuffled:{own}", "method": plain, "params": {"of": own}, "entry": entry}
        ran(tmp_path, "baseline", cell, seed, test, **shuffled)
        ran(
            tmp_path,
            "final",
            f"cut/{MODEL}@0.5",
            seed,
            91.0,
            smaller=True,
            method={"name": "cut", "final": 0.5, "budget": "params"},
        )
        ran(tmp_path, "baseline", f"uniform/{MODEL}@0.5", seed, 92.0, begun=2 * BEGUN, left=0.4)
    return load(Folder(tmp_path), "compare")


def test_a_run_is_charged_with_its_start(study: Study) -> None:
    rows = ledger.ledger(study).set_index("method")
    assert rows.index.tolist()[:2] == ["cut", "sap"]  # methods, then what was injected
    assert rows.loc["sap", "samples"] == BATCH * (STEPS + BEGUN)
    assert rows.loc["dense", "samples_share"] == pytest.approx(STEPS / (STEPS + BEGUN))
    assert rows.loc["sap", ["samples_share", "macs_share", "over"]].tolist() == [1, 1, 0]  # masks save no arithmetic
    assert rows.loc["sap", "finals"] == 3


def test_a_smaller_model_is_charged_less_from_when_it_is(study: Study) -> None:
    """Of 20 steps 5 of the whole model and 15 at half its MACs, after 40 dense ones."""
    row = ledger.ledger(study).set_index("method").loc["cut"]
    assert row["macs_share"] == pytest.approx((BEGUN + 5 + 15 * 0.5) / (BEGUN + STEPS))
    assert row["samples_share"] == 1


def test_zeros_that_wait_for_their_removal_save_nothing() -> None:
    metrics = Metrics(weights_left=0.5, macs_fraction=0.4)
    assert ledger._share({"weights_left": 0.5, "sparsity": 0.55}, metrics) == 1
    assert ledger._share({"weights_left": 0.5, "sparsity": 0.0}, metrics) == pytest.approx(0.4)
    assert ledger._share({"weights_left": 0.75, "sparsity": 0.0}, metrics) == pytest.approx(0.7)


def test_overruns_are_flagged(study: Study) -> None:
    assert ledger.ledger(study).set_index("method").loc["uniform", "over"] == 3
    table = ledger.table(study)
    (row,) = (r for r in table.rows() if r["method"] == "uniform")
    assert table.columns[-1].strong(row)
    assert "(3 in all)" in table.caption


def test_a_ledger_of_nothing_is_empty(tmp_path: Path) -> None:
    declare(tmp_path)
    assert not len(ledger.table(load(Folder(tmp_path), "compare")).frame)
    assert not len(sanity.table(load(Folder(tmp_path), "compare")).frame)


def test_baselines_at_the_target_are_compared(study: Study) -> None:
    tidy = comparison.tidy(study)
    assert sorted(tidy["method"].unique()) == ["cut", "sap", "uniform"]
    chosen = comparison.baselines(study, tidy)
    assert set(chosen.values()) == {"uniform"}
    assert tidy.groupby("method")["missed"].sum().to_dict() == {"cut": 0, "sap": 0, "uniform": 3}
    table = comparison.comparison(tidy, chosen)
    shown = {row["method"]: table.columns[-1].text(row) for row in table.rows()}
    assert shown == {"cut": "–", "sap": "–", "uniform": "≠ 3"}


def test_dense_models_count_and_not_their_prunings(tmp_path: Path) -> None:
    declare(tmp_path)
    for dense, seed, test in ((1, 7, 90.0), (1, 8, 92.0), (2, 7, 80.0), (2, 8, 84.0)):
        run = f"{dense}{seed}"
        homes.write_run(tmp_path, run, model=MODEL, val=90.0, left=0.5, test=test, rounds=1)
        entry = Entry("final", f"sap/{MODEL}@0.5", 0, seed, run, dense_seed=dense)
        Folder(tmp_path).write_entry("compare", entry)
    tidy = comparison.tidy(load(Folder(tmp_path), "compare"))
    assert tidy[["seed", "score"]].to_numpy().tolist() == [[1, 91.0], [2, 82.0]]


def test_a_method_beside_random_zeros_at_its_own_ratios(study: Study) -> None:
    (row,) = sanity.table(study).rows()
    assert (row["cell"], row["method"], row["control"], row["n"]) == (f"{MODEL}@0.5", "sap", "random_ratios", 3)
    assert row["difference"] == pytest.approx(1 + 0.4 / 3)
    assert row["half"] == pytest.approx(
        4.302653 * math.sqrt(0.07 / 3 / 3), rel=1e-3
    )  # t(0.975, 2), squares sum to 0.14 / 3
    assert (row["verdict"], row["flag"]) == ("better", False)

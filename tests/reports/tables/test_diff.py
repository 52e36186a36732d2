"""Two sets of records side by side: differences by hand, what is beyond noise, and what is in one only."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from bench.cli import main
from bench.errors import BenchError
from bench.records.folder import Folder
from reports.tables.diff import diff
from tests.reports import homes

HALF = 4.302653 / math.sqrt(3)  # of a t interval over the values -1, 0, 1


def results(
    home: Path, gain: float, *, seeds: tuple[int, ...] = homes.SEEDS, left: float = 0.5, **changes: object
) -> Path:
    """A grid whose first variant is better by ``gain``, give or take a point from seed to seed."""
    names = ("a", "b", "only old") if not gain else ("a", "b", "only new")
    variants: list[homes.Variant] = [(name, "sap", "", {"eta": i}, {}) for i, name in enumerate(names)]
    declared = homes.grid(home, variants, **{"name": "grid-digits-abc123", **changes})
    for cell, said in declared["cells"].items():
        for seed in seeds:
            shift = gain + 0.01 * (seed - 1001) * bool(gain) if said["variant"] == "a" else 0.0
            test = 80.0 + 2 * (seed - 1001) + shift
            homes.final(home, declared, cell, seed, val=90.0, left=left, test=test, rounds=1)
    return home


def rows(found: pd.DataFrame, cell: str) -> pd.DataFrame:
    return found[found["cell"] == f"sap/test_vit:{cell}"].set_index("metric")


def test_paired_differences_by_hand(tmp_path: Path) -> None:
    old, new = results(tmp_path / "old", 0), results(tmp_path / "new", 3, settings=["epochs=9"])
    found = diff(str(old), str(new), tmp_path, tmp_path / "out")
    better, same = (rows(found.table.frame, cell).loc["test top-1"] for cell in ("a", "b"))
    assert (better["old"], better["new"], better["difference"]) == pytest.approx((80.0, 83.0, 3.0))
    assert better["half"] == pytest.approx(0.01 * HALF, abs=1e-6)  # the seeds' own spread is in both, and cancels
    assert (better["test"], better["beyond"]) == ("paired t", "yes")
    assert (same["difference"], same["p"], same["beyond"]) == (0.0, 1.0, "no")
    frame = found.table.frame
    tests = frame.loc[frame["metric"].isin(("test top-1", "val. top-1")), "p"].dropna()
    assert better["holm"] == pytest.approx(min(1.0, len(tests) * better["p"]))


def test_seconds_and_sizes_are_no_part_of_the_family_of_scores(tmp_path: Path) -> None:
    """A regression of test top-1 is corrected for other scores only, however many times were compared."""
    old, new = results(tmp_path / "old", 0), results(tmp_path / "new", 3)
    frame = diff(str(old), str(new), tmp_path, tmp_path / "out").table.frame
    seconds = frame[frame["metric"] == "seconds"]
    assert seconds["holm"].isna().all()
    assert set(seconds["beyond"]) == {"not tested"}
    scores = frame[frame["metric"].isin(("test top-1", "val. top-1"))]
    assert scores["holm"].min() == pytest.approx(len(scores["p"].dropna()) * scores["p"].min())


def test_equal_differences_are_changes(tmp_path: Path) -> None:
    old, new = results(tmp_path / "old", 0), results(tmp_path / "new", 0)
    for seed in homes.SEEDS:
        cell = "sap/test_vit:a"
        run = homes.run_id("grid-digits-abc123", "final", cell, 0, seed)
        homes.write_run(new, run, model="test_vit", val=90.0, left=0.5, test=80.5 + 2 * (seed - 1001), rounds=1)
    row = rows(diff(str(old), str(new), tmp_path, tmp_path / "out").table.frame, "a").loc["test top-1"]
    assert (row["difference"], row["p"], row["beyond"]) == (0.5, 0.0, "yes")


def test_what_is_in_one_set_only_and_what_is_declared_otherwise_is_listed(tmp_path: Path) -> None:
    old, new = (
        results(tmp_path / "old", 0),
        results(tmp_path / "new", 3, settings=["epochs=9"], name="grid-digits-def456"),
    )
    found = diff(str(old), str(new), tmp_path, tmp_path / "out")
    assert found.alone == (
        "final sap/test_vit:only old eta=2: only in the old set",
        "final sap/test_vit:only new eta=2: only in the new set",
    )
    assert "grid-digits-abc123 → grid-digits-def456: settings was epochs=6, is epochs=9" in found.changes
    text = (tmp_path / "out" / "diff.md").read_text()
    assert "## In one set only" in text
    assert "| sap/test\\_vit:a | eta=0 | test top-1 | 3 | 80.00 | 83.00 | +3.00 ± 0.02 | paired t |" in text
    assert "<td>+3.00 ± 0.02</td>" in (tmp_path / "out" / "diff.html").read_text()


def test_controls_of_the_same_final_are_one_configuration_and_many_of_one_set_are_one_sentence(tmp_path: Path) -> None:
    for side, shift in (("old", 0.0), ("new", 1.0)):
        home, of = results(tmp_path / side, 0), {"of": "sap/test_vit:b"}
        for seed in homes.SEEDS:
            run, cell = homes.run_id(side, seed), "random_ratios/test_vit:b"
            homes.write_run(home, run, model="test_vit", val=90.0, left=0.5, test=80.0 + shift, rounds=1)
            params = {"of": homes.run_id(side, "b", seed)}
            homes.write_entry(home, "grid-digits-abc123", "baseline", cell, 1, seed, run=run, params=params, **of)
            for more in range(5 if side == "new" else 0):
                homes.write_entry(home, "grid-digits-abc123", "final", f"drop/m{more}", 0, seed, run=run, params={})
    found = diff(str(tmp_path / "old"), str(tmp_path / "new"), tmp_path, tmp_path / "out")
    own = found.table.frame
    row = own[own["cell"].str.startswith("random_ratios") & (own["metric"] == "test top-1")].iloc[0]
    assert (row["n_old"], row["n_new"], row["difference"]) == (3, 3, 1.0)
    assert found.alone == ("final drop: 5 configurations, the first of them m0: only in the new set",)


def test_other_seeds_are_compared_with_welch(tmp_path: Path) -> None:
    old, new = results(tmp_path / "old", 0), results(tmp_path / "new", 3, seeds=(1001, 1002, 1003, 1004))
    row = rows(diff(str(old), str(new), tmp_path, tmp_path / "out").table.frame, "b").loc["test top-1"]
    assert (row["test"], row["n_old"], row["n_new"]) == ("Welch", 3, 4)
    scipy = stats.ttest_ind([80.0, 82, 84, 86], [78.0, 80, 82], equal_var=False)
    assert row["p"] == pytest.approx(scipy.pvalue)
    assert row["half"] == pytest.approx(scipy.confidence_interval().high - row["difference"])


def test_a_size_that_no_seed_moves_is_changed_wherever_it_differs(tmp_path: Path) -> None:
    old, new = results(tmp_path / "old", 0), results(tmp_path / "new", 3, left=0.25)
    row = rows(diff(str(old), str(new), tmp_path, tmp_path / "out").table.frame, "b").loc["weights left %"]
    assert (row["old"], row["new"], row["test"], row["beyond"]) == (50.0, 25.0, "no spread", "yes")


def test_one_seed_says_nothing_of_noise(tmp_path: Path) -> None:
    one: dict[str, Any] = {"seeds": (1000,), "controls": []}
    old, new = results(tmp_path / "old", 0, **one), results(tmp_path / "new", 3, **one)
    frame = diff(str(old), str(new), tmp_path, tmp_path / "out").table.frame
    assert set(frame["beyond"]) == {"one seed"}
    assert frame["p"].isna().all()


def test_failures_are_counted(tmp_path: Path) -> None:
    old, new = results(tmp_path / "old", 0), results(tmp_path / "new", 3)
    homes.write_entry(
        new, "grid-digits-abc123", "final", "sap/test_vit:b", 1, 1000, state="failed", params={"eta": "1"}
    )
    own = rows(diff(str(old), str(new), tmp_path, tmp_path / "out").table.frame, "b")
    lost, ended = (own[own.index == metric].to_dict("records")[0] for metric in ("failed runs", "test top-1"))
    assert (lost["old"], lost["new"]) == (0, 1)
    assert (ended["n_old"], ended["n_new"], ended["test"]) == (3, 2, "Welch")


def test_studies_of_one_home_are_compared_by_their_names(tmp_path: Path) -> None:
    results(tmp_path, 0, name="one")
    results(tmp_path, 3, name="two")
    found = diff("one", "two", tmp_path, tmp_path / "out")
    assert rows(found.table.frame, "a").loc["test top-1", "difference"] == pytest.approx(3.0)


def test_folders_are_compared_study_by_study(tmp_path: Path) -> None:
    for side, gain, names in (("old", 0, ("x-aaa", "y-aaa", "z-aaa")), ("new", 3, ("x-aaa", "y-bbb"))):
        for name in names:
            results(tmp_path / side, gain, name=name)
    found = diff(str(tmp_path / "old"), str(tmp_path / "new"), tmp_path, tmp_path / "out")
    assert set(found.table.frame["study"]) == {"x-aaa", "y-bbb"}
    assert "study z-aaa: only in the old set" in found.alone


@pytest.mark.parametrize(
    ("which", "told"),
    [
        ("/nowhere/results", "compares folders of results or studies, but /nowhere/results is no folder"),
        ("grid-digits-abc124", "did you mean 'grid-digits-abc123'"),
    ],
)
def test_what_is_neither_folder_nor_study_is_told(which: str, told: str, tmp_path: Path) -> None:
    home = results(tmp_path / "home", 0)
    with pytest.raises(BenchError, match=told):
        diff(str(home), which, home, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchError, match="contains studies/, but"):
        diff(str(tmp_path / "empty"), str(home), home, tmp_path / "out")


def test_the_command_prints_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = results(tmp_path / "old", 0), results(tmp_path / "new", 3)
    monkeypatch.setenv("BENCH_HOME", str(new))
    monkeypatch.setattr("sys.argv", ["bench", "report", "--diff", str(old), str(new)])
    with pytest.raises(SystemExit, match="0"):
        main.main()
    told = capsys.readouterr().out
    assert "paired t" not in told
    assert "only in the old set" in told
    assert (new / "report" / "diff.csv").exists()
    assert len(Folder(new).studies()) == 1

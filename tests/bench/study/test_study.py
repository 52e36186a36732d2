"""Studies: what they declare, what they choose, and that a kill anywhere changes nothing in the end."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import studies.ladder
import studies.pareto
from bench.errors import BenchError
from bench.records.home import Home
from bench.records.run_folder import RunFolder
from bench.records.run_record import Metrics
from bench.records.study_record import Entry
from bench.scheduler.coordinator import Coordinator
from bench.scheduler.pool import Pool
from bench.study.study import Cell, Study, Variant
from tests.bench.cli.test_main import finish, start

TINY: dict[str, Any] = {"models": ("test_efficientnet",), "settings": ("epochs=1", "batch=256")}


def declared(**changes: Any) -> Study:
    return studies.pareto.study(("gradual",), **{**TINY, **changes})


def test_the_name_is_of_what_the_numbers_depend_on() -> None:
    one = declared()
    assert one.name.startswith("pareto-gradual-digits-")
    assert declared(trials=50, finals=5, final_seeds=(7,)).name == one.name  # more of the same study
    others = [
        declared(seed=1),
        declared(settings=("epochs=2",)),
        declared(models=("test_resnet",)),
        declared(sampler="qmc"),
    ]
    assert len({one.name, *(o.name for o in others)}) == 5


def test_tuning_and_reporting_seeds_never_overlap() -> None:
    with pytest.raises(BenchError, match="tuning and reporting seeds must differ"):
        declared(seed=1001)


def test_every_run_of_a_study_is_the_same_whenever_it_is_built() -> None:
    for cell in declared(models=("test_efficientnet", "test_resnet")).cells():
        assert cell.run({"final": 0.9}, 0).id == cell.run({"final": 0.9}, 0).id
        final = cell.run({"final": 0.9}, 1000, test=True)
        assert final.test
        assert not cell.run({"final": 0.9}, 0).test


def test_what_is_set_is_not_tuned() -> None:
    (cell,) = declared(settings=("epochs=1", "exponent=2")).cells()
    assert "exponent" not in cell.space
    assert cell.base.to_dict()["exponent"] == 2


def test_a_ladder_fixes_the_target_and_tunes_the_rest() -> None:
    ladder = studies.ladder.study(("gradual", "sap"), **TINY, targets=(0.8, 0.9))
    assert [c.key for c in ladder.cells()] == [
        f"{m}/test_efficientnet@{t}" for m in ("gradual", "sap") for t in (0.8, 0.9)
    ]
    for cell in ladder.cells():
        assert cell.base.wanted == cell.target
        assert cell.base.target not in cell.space


def test_a_setting_of_a_method_that_is_no_field_of_another_is_refused() -> None:
    with pytest.raises(BenchError, match="no setting 'rounds'"):
        Cell(declared(settings=("rounds=3",)).template, "gradual", "test_efficientnet").run({}, 0)


def test_a_ladder_sets_its_target_itself() -> None:
    ladder = studies.ladder.study(("gradual",), **{**TINY, "settings": ("final=0.5",)})
    with pytest.raises(BenchError, match="use --targets"):
        ladder.cells()[0].run({}, 0)


VARIANTS = (
    Variant("half", "gradual", ("final=0.5",), "size", {"expected": 0.5}),
    Variant("most", "gradual", ("final=0.9", "epochs=2"), "size"),
    Variant("half again", "gradual", ("method.final=0.5",)),
)


def grid(**changes: Any) -> Study:
    models = ("test_efficientnet",)
    given: dict[str, Any] = {"methods": ("gradual",), "models": models, "variants": VARIANTS, "final_seeds": (1000,)}
    given |= {"settings": ("epochs=1", "batch=256"), "controls": ("dense",), "topic": "sizes"}
    return Study("grid", "Which?", **{**given, **changes})


def test_a_grid_is_its_variants_and_tunes_nothing() -> None:
    half, most, again = grid().cells()
    assert [c.key for c in (half, most)] == ["gradual/test_efficientnet:half", "gradual/test_efficientnet:most"]
    assert [c.number for c in grid(models=("test_resnet", "test_vit")).cells()] == [0, 0, 1, 1, 2, 2]
    assert not half.space
    assert half.trials == 0
    assert half.run({}, 0).epochs == 1
    assert most.run({}, 0).epochs == 2  # a variant's setting wins over the study's
    assert most.params == {"final": 0.9, "epochs": 2.0}
    assert half.run({}, 0).id == again.run({}, 0).id


def test_a_grid_is_named_by_its_variants() -> None:
    one = grid()
    assert one.name.startswith("sizes-digits-")
    told = Variant("half", "gradual", ("final=0.5",), "other group", {"expected": 0.6})
    assert grid(variants=(told, *VARIANTS[1:])).name == one.name
    assert len({one.name, grid(variants=VARIANTS[:2]).name, grid(settings=("epochs=3",)).name}) == 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"variants": ()}, "a grid has variants"),
        ({"kind": "pareto"}, "no other study has"),
        ({"variants": (VARIANTS[0], VARIANTS[0])}, "there more than once"),
        ({"methods": ("gradual", "sap")}, "name those of the variants"),
        ({"settings": ("final=0.7",)}, "sets `final` itself"),
        ({"variants": (Variant("x", "gradual", ("seed=3",)),)}, "use --seed and --final-seeds"),
    ],
)
def test_a_grid_without_sense_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BenchError, match=told):
        replace(grid(), **changes)


def test_a_label_is_a_name() -> None:
    with pytest.raises(BenchError, match="no slash"):
        Variant("a/b", "gradual")


@pytest.mark.filterwarnings("ignore")
def test_a_grid_from_declaration_to_records() -> None:
    """Each variant once with each seed; one run where two agree; a model that cannot be built is a failure with a reason."""
    home, study = (
        Home(),
        grid(models=("test_efficientnet", "test_vit"), settings=(*TINY["settings"], "image_size=20")),
    )
    study = replace(study, lenient=True, controls=())
    result = Coordinator(study, home, Pool(home, 2)).run()
    told, found = home.records.study(study.name), list(home.records.entries(study.name))
    assert Counter((e.kind, e.state) for e in found) == {
        ("final", "finished"): 3,
        ("final", "failed"): 3,
    }
    assert set(result.failures) == {e.reason for e in found if "test_vit" in e.cell}
    assert all("test_vit cannot process 1 x 20 x 20" in reason for reason in result.failures)
    done = {e.cell.partition(":")[2]: e for e in found if e.kind == "final" and e.finished}
    assert {k: e.number for k, e in done.items()} == {"half": 0, "most": 1, "half again": 2}
    assert done["half"].run == done["half again"].run != done["most"].run
    assert metrics_of(home, done["most"].run).sparsity_prunable == pytest.approx(0.9, abs=1e-3)
    assert told.finished
    assert (told.trials, told.sampler, told.objectives, told.lenient) == (0, None, (), True)
    cell = told.cells["gradual/test_efficientnet:half"]
    assert (cell.variant, cell.group, cell.number) == ("half", "size", 0)
    assert (cell.settings, cell.facts, cell.space) == (("final=0.5",), {"expected": 0.5}, {})
    before = {p: p.stat().st_mtime_ns for p in home.path.rglob("record.json")}
    Coordinator(study, home, Pool(home, 2)).run()
    assert {p: p.stat().st_mtime_ns for p in home.path.rglob("record.json")} == before


def test_a_grid_whose_every_run_fails_says_why() -> None:
    home, study = Home(), replace(grid(models=("test_vit",), settings=("image_size=20",)), controls=())
    with pytest.raises(
        BenchError, match=r"one finished final at least, but all 3 failed.*test_vit cannot process 1 x 20 x 20"
    ):
        Coordinator(study, home, Pool(home, 1)).run()


STUDY = ("study", "gradual", "epochs=2", "batch=128", "--models", "test_efficientnet", "--trials", "5", "--finals", "1")
MORE = ("--final-seeds", "1000,1001", "--jobs", "2", "--checkpoint-every", "0.1", "--device", "cpu")


def metrics_of(home: Home, run: str) -> Metrics:
    record = home.records.record(run)
    assert record is not None
    return record.metrics


def entries(home: Home) -> dict[str, Entry]:
    (name,) = home.records.studies()
    return {e.name: e for e in home.records.entries(name)}


GRID = (
    "study",
    "epochs=2",
    "rounds=2",
    "batch=128",
    "--study",
    "sap_phases",
    "--smoke",
    "--models",
    "test_efficientnet",
)


COMPARE = ("compare", "gradual", "epochs=2", "batch=128", "--smoke", "--models", "test_efficientnet")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("words", [STUDY, GRID, COMPARE], ids=["tuned", "grid", "compared"])
def test_a_study_killed_again_and_again_ends_as_if_it_never_was(
    words: tuple[str, ...], own_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(start(*words, *MORE, "--no-track"))
    whole = entries(Home())
    monkeypatch.setenv("BENCH_HOME", str(own_place / "killed"))
    home, chance = Home(), random.Random(0)
    for _ in range(4):
        process = start(*words, *MORE)
        time.sleep(chance.uniform(8, 16))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        release(home)
    out = finish(start(*words, *MORE))
    assert "report: " in out
    assert entries(home) == whole
    from bench.tracking import connect

    client = connect(home)
    experiment = client.get_experiment_by_name(home.records.studies()[0])
    runs = client.search_runs([experiment.experiment_id])
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert len(runs) == len(whole) + 1  # each entry once, and the parent


def release(home: Home) -> None:
    """Wait until the kill has reached every process."""
    until = time.monotonic() + 20
    while any(RunFolder(home.records.run(r)).busy for r in home.records.run_ids()):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_the_configurations_do_not_depend_on_how_many_run_side_by_side(
    own_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for jobs in ("1", "3"):
        monkeypatch.setenv("BENCH_HOME", str(own_place / jobs))
        finish(start(*STUDY, *MORE, "--no-track", "--no-report", "--jobs", jobs, "threads=1"))
        found.append({k: (e.run, e.values) for k, e in entries(Home()).items()})
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_study_whose_every_trial_fails_says_why() -> None:
    out = finish(start(*STUDY, *MORE, "--no-track", "lr=100", "momentum=0.99", "nesterov=no"), wanted=1)
    assert "error: a study needs one finished trial at least, but all 5 failed" in out
    assert "must stay finite" in out


@pytest.fixture
def server(own_place: Path) -> Iterator[str]:
    """A real MLflow server on loopback, with a store of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = own_place / "server"
    store.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = [
        "--backend-store-uri",
        f"sqlite:///{store}/mlflow.db",
        "--artifacts-destination",
        str(store / "artifacts"),
    ]
    process = subprocess.Popen(
        [*command, *stores], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + 90
    while socket.socket().connect_ex(("127.0.0.1", port)):
        assert time.monotonic() < until
        time.sleep(0.5)
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_same_code_with_servers(own_place: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow over HTTP, Optuna in a database; and a report from the server's artifacts equals the one from the folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("BENCH_OPTUNA", f"sqlite:///{own_place}/optuna.db")
    out = finish(start(*STUDY, *MORE))
    assert "MLflow is behind" not in out
    local = Home().report / "index.html"
    finish(start("report", "--from-mlflow", "--out", str(own_place / "fetched")))
    assert (own_place / "fetched" / "index.html").read_bytes() == local.read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_a_server_missed_is_synced_later(own_place: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    out = finish(start(*STUDY, *MORE, "--no-report"))
    assert "MLflow is behind" in out
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    first = finish(start("sync"))
    assert f"{len(entries(Home()))} runs updated" in first
    assert "0 runs updated" in finish(start("sync"))

"""The command line as a user types it: in this process where it only refuses, in real ones where it computes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from bench.cli import conducting, main
from bench.errors import BenchError
from bench.records.home import Home
from bench.records.run_folder import RunFolder
from bench.run import new_run
from bench.study.study import Study
from bench.training.execute import execute
from tests.toys import same

TINY = ("epochs=1", "batch=256", "image_size=32")


def bench(*words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The console script in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    try:
        main.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


BAD = [
    (["run", "gradul"], "did you mean 'gradual'"),
    (["run", "gradual", "finl=0.5"], "did you mean 'final'"),
    (["run", "gradual", "final=1.5"], "`0 <= final <= 1` must hold, but got final=1.5"),
    (["run", "gradual", "begin=0.9", "end=0.5"], "`begin < end` must hold"),
    (["run", "gradual", "final"], "settings are written key=value"),
    (["run", "gradual", "epochs=many"], "`epochs` must be a finite number, but got 'many'"),
    (["run", "gradual", "recipe.final=0.5"], "no setting 'recipe.final'"),
    (["run", "sap", "p=1.5"], "`p < q` must hold"),
    (["run", "gradual", "model=resnet1"], "did you mean 'resnet18'"),
    (["run", "gradual", "task=digit"], "did you mean 'digits'"),
    (["run", "gradual", "task=folder:/nowhere"], "/nowhere"),
    (["run", "gradual", "start=missing.safetensors"], "missing.safetensors"),
    (["run", "gradual", "start=run:123456789abc"], "run that one first"),
    (["run", "gate_decorator", "model=test_vit"], "needs batch norms of removable channels, but found none"),
    (["study", "gate_decorator", "--models", "test_vit"], "needs batch norms of removable channels, but found none"),
    (["study", "sap", "--study", "parto"], "did you mean 'pareto'"),
    (["study", "sap", "--sampler", "tpa"], "did you mean 'tpe'"),
    (["study", "dense", "--study", "ladder"], "a ladder needs a method with a target"),
    (["study", "sap", "--seed", "1000"], "tuning and reporting seeds must differ"),
    (["study", "sap", "seed=5"], "use --seed and --final-seeds"),
    (["study", "sap", "test=true"], "only finals open the test split"),
    (["study", "sap", "--targets", "a,b"], "must be numbers separated by commas"),
    (["study", "sap", "--models", "nosuchmodel"], "no model 'nosuchmodel'"),
    (["study", "headline"], "a study is named with --study"),
    (["study"], "pareto is a study of any method, but none was named"),
    (["study", "epochs=3", "--study", "ladder"], "ladder is a study of any method"),
    (["study", "sap", "--study", "drop_ablation"], "leave the method out"),
    (["study", "--study", "sap_phases", "--trials", "5"], "tunes nothing, but --trials was given"),
    (["study", "--study", "sap_phases", "--targets", "0.9"], "tunes nothing, but --targets was given"),
    (["study", "--study", "sap_phases", "--smoke", "rouds=3"], "did you mean 'rounds'"),
    (["study", "--study", "architectures", "--models", "nosuchmodel"], "none of 1 can: no model 'nosuchmodel'"),
    (["compare", "gradual", "dense.start=timm"], "do not declare the images of their training"),
    (["study", "gradual,sap", "start=timm"], "or mark every number with --unsafe-start"),
    (["report"], "make study METHOD=sap"),
    (["report", "nosuch"], "is made from a study's records"),
    (["evaluate", "nosuch"], "neither"),
    (["export-data", "--out", "x.csv"], "end it in .parquet"),
    (["list", "method"], "did you mean 'methods'"),
    (["show", "sapp"], "did you mean 'sap'"),
    (["sync"], "run something first"),
    (["sync", "--records", "/nowhere"], "/nowhere"),
]


@pytest.mark.parametrize(("words", "told"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_bad_input_is_one_line_and_a_non_zero_exit(
    words: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(*words, monkeypatch=monkeypatch) == 1
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert told in err


@pytest.mark.parametrize(
    "words",
    [["list"], ["list", "tasks"], ["list", "studies"], ["list", "models", "cifar*"], ["show", "sap"], ["show", "run"]],
)
def test_explaining_commands_explain(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(*words, monkeypatch=monkeypatch) == 0
    assert len(capsys.readouterr().out) > 100


def test_a_comparison_starts_from_weights_that_say_what_they_saw(tmp_path: Path) -> None:
    """From a file of ours, or from any with --unsafe-start."""
    record = execute(new_run("dense", ("model=test_resnet", "image_size=16", "epochs=0.5", "batch=256")), Home())
    ours, silent = Home().records.run(record.id) / "model.safetensors", tmp_path / "silent.safetensors"
    save_file(load_file(ours), silent)
    small = {"models": ("test_resnet",), "targets": (0.5,)}
    own, other = (("image_size=16", f"dense.start={file}") for file in (ours, silent))
    conducting.declare("compare", ("gradual",), {**small, "settings": own})
    with pytest.raises(BenchError, match="must have seen training images only"):
        conducting.declare("compare", ("gradual",), {**small, "settings": other})
    allowed = conducting.declare("compare", ("gradual",), {**small, "settings": other, "unsafe_start": True})
    assert allowed.unsafe_start


def declared(*words: str, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The study that `bench study` would conduct."""
    found = list[Study]()
    monkeypatch.setattr(conducting, "compute", lambda study, *_: found.append(study))
    assert bench("study", *words, monkeypatch=monkeypatch) == 0
    return found[0]


def test_a_study_with_its_own_methods_needs_none_named(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--study", "sap_phases", "--smoke", "--final-seeds", "7,8")
    study = declared("epochs=2", "rounds=3", *words, monkeypatch=monkeypatch)
    assert study.methods == ("sap",)
    assert study.settings[-2:] == ("epochs=2", "rounds=3")
    assert study.final_seeds == (7, 8)


def test_a_grid_may_be_made_of_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    study = declared("sap", "--study", "defaults", "--smoke", "--targets", "0.5,0.6", monkeypatch=monkeypatch)
    assert [cell.base.wanted for cell in study.cells()] == [0.5, 0.6]


def test_a_small_size_is_a_study_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    small = declared("gradual", "--smoke", monkeypatch=monkeypatch)
    assert small.trials < declared("gradual", monkeypatch=monkeypatch).trials
    assert declared("gradual", "--smoke", "--trials", "3", "--seed", "2", monkeypatch=monkeypatch).trials == 3


def test_a_lenient_study_starts_while_one_model_can_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("gradual", "--study", "architectures", "--smoke", "--models", "test_vit,test_resnet", "image_size=20")
    assert len(declared(*words, monkeypatch=monkeypatch).cells()) == 2


@pytest.mark.filterwarnings("ignore")
def test_a_plan_names_what_will_fail_and_counts_shared_runs_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("study", "--study", "architectures", "--smoke", "--models", "test_vit,test_resnet", "image_size=20")
    assert bench(*words, "--dry-run", monkeypatch=monkeypatch) == 0
    out = capsys.readouterr().out
    assert "fails:" in out
    assert "2 runs of controls" in out


def start(*words: str) -> subprocess.Popen[str]:
    """The command in a process group of its own, with one line of output joined."""
    environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], wanted: int = 0) -> str:
    out, _ = process.communicate(timeout=280)
    assert process.returncode == wanted, out
    assert "Traceback" not in out
    return out


def records(home: Path) -> dict[str, dict[str, object]]:
    return {p.parent.name: json.loads(p.read_text()) for p in (home / "runs").glob("*/record.json")}


STUDY = (
    *("study", "gradual", *TINY, "--models", "test_efficientnet", "--trials", "2", "--finals", "1", "--jobs", "2"),
    *("--final-seeds", "1000"),
)


def home_with_store(made_store: Path) -> Home:
    home = Home()
    home.path.mkdir(parents=True)
    shutil.copy(made_store, home.path / "mlflow.db")
    return home


def check_study(home: Home, out: str) -> None:
    """The records of `STUDY`, and what its command says."""
    made = records(home.path)
    assert len(made) == 4  # two trials, a final, a dense control
    assert sorted(r["test_openings"] for r in made.values()) == [0, 0, 1, 1]  # type: ignore[type-var]
    (name,) = home.records.studies()
    assert home.records.study(name).finished
    for promise in ("MLflow UI: ", "best configurations: "):
        assert promise in out


def test_a_study_from_nothing_then_again_computes_nothing(
    made_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second time the report is made, with figures that are drawn and not written."""
    home = home_with_store(made_store)
    assert bench(*STUDY, "--no-report", monkeypatch=monkeypatch) == 0
    check_study(home, capsys.readouterr().out)
    before = {p: p.stat().st_mtime_ns for p in home.path.rglob("record.json")}
    monkeypatch.setattr("reports.build.render", lambda canvas: dict.fromkeys(("pdf", "svg", "png"), b""))
    assert bench(*STUDY, "--no-track", monkeypatch=monkeypatch) == 0
    out = capsys.readouterr().out
    assert "nothing was run again" in out
    assert "report: " in out
    assert (home.report / "index.html").exists()
    assert {p: p.stat().st_mtime_ns for p in home.path.rglob("record.json")} == before


@pytest.mark.slow
def test_a_study_from_nothing_in_a_process_of_its_own(made_store: Path) -> None:
    home = home_with_store(made_store)
    check_study(home, finish(start(*STUDY, "--no-report")))


SETTINGS = ("epochs=6", "rounds=2", "batch=128", "device=cpu", "threads=1")
RUN = ("run", "sap", *SETTINGS, "--no-track", "--checkpoint-every", "0.2")


def wait_for(path: Path, pattern: str, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not list(path.glob(pattern)):
        assert time.monotonic() < until, f"no {pattern} in {path}"
        time.sleep(0.02)


def uninterrupted(tmp_path: Path) -> RunFolder:
    record = execute(new_run("sap", SETTINGS), Home(path=tmp_path / "whole"))
    return RunFolder(tmp_path / "whole" / "runs" / record.id)


def agree(one: RunFolder, other: RunFolder) -> None:
    """Same weights bit for bit, same measurements, no epoch lost or doubled."""
    assert same(load_file(one.path / "model.safetensors"), load_file(other.path / "model.safetensors"))
    a, b = one.record(), other.record()
    assert a is not None
    assert b is not None
    for name in ("val_top1", "val_loss", "sparsity_prunable", "weights_nonzero"):
        assert getattr(a.metrics, name) == getattr(b.metrics, name)
    assert [phase.name for phase in a.phases] == [phase.name for phase in b.phases]
    curves = [Home(path=f.path.parent.parent).records.curves(f.path.name) for f in (one, other)]
    assert curves[0][["step", "val/top1", "train/loss"]].equals(curves[1][["step", "val/top1", "train/loss"]])


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_cut_off_goes_on_to_the_same_weights(how: int, own_place: Path) -> None:
    whole = uninterrupted(own_place)
    process = start(*RUN)
    wait_for(own_place / "results", "runs/*/checkpoint-*.pt")
    time.sleep(random.Random(how).uniform(0, 0.5))
    os.killpg(process.pid, how)
    out, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in out
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command resumes" in out
    (cut,) = (own_place / "results" / "runs").iterdir()
    wait_for_release(RunFolder(cut))
    assert RunFolder(cut).record() is None
    finish(start(*RUN))
    agree(whole, RunFolder(cut))


def wait_for_release(folder: RunFolder) -> None:
    until = time.monotonic() + 20
    while folder.busy:
        assert time.monotonic() < until
        time.sleep(0.05)

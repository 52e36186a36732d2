"""What `bench list` and `bench show` print."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import models
from bench.cli import catalog, main
from bench.cli.terminal import console
from bench.records.files import write_json
from bench.records.home import Home
from bench.records.reading import write
from bench.records.run_record import FAILED
from tests.records import run_record

GOLDEN = Path(__file__).parents[2] / "reports" / "golden"


def bench(*words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    with pytest.raises(SystemExit) as end:
        main.main()
    return int(end.value.code or 0)


@pytest.mark.parametrize("pattern", ["*resnet*", "cifar_*", "vit_[st]*"])
def test_models_are_those_of_timm_in_its_order(
    pattern: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("list", "models", pattern, monkeypatch=monkeypatch) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in rows] == models.names(pattern)
    assert {name for name, whose in rows if whose == "ours"} == set(models.names(pattern)) & set(models.families())


def test_a_pattern_that_matches_nothing_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("list", "models", "nosuch*", monkeypatch=monkeypatch) == 1
    assert "no models match 'nosuch*'" in capsys.readouterr().err


def test_studies_that_were_begun(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (name,) = (path.name for path in (GOLDEN / "studies").iterdir())
    shutil.copytree(GOLDEN / "studies" / name, Home().path / "studies" / name)
    assert bench("list", "begun", monkeypatch=monkeypatch) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out == f"{name} finished: {Home().records.study(name).question}"


def test_a_home_without_studies_says_how_one_is_begun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("list", "begun", monkeypatch=monkeypatch) == 1
    assert "no study was begun in" in (told := capsys.readouterr().err)
    assert "`make study METHOD=sap` begins one" in told
    assert bench("list", "runs", monkeypatch=monkeypatch) == 1
    assert "`bench run gradual` computes one" in capsys.readouterr().err


def test_the_runs_of_a_home(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home()
    spec = {"method": {"name": "sap"}, "task": "digits", "model": "toy"}
    write_json(home.records.run("aaa") / "run.json", {"run": spec, "identity": {}})
    write(home.records.run("bbb") / "record.json", run_record("bbb", run=spec, metrics={"val/top1": 61.5}))
    failed = run_record("ccc", run={**spec, "model": "net"}, status=FAILED, reason="diverged")
    write(home.records.run("ccc") / "record.json", failed)
    (home.records.run("ddd")).mkdir()
    (home.records.run("ddd") / "record.json").touch()
    assert bench("list", "runs", monkeypatch=monkeypatch) == 0
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == "aaa sap/toy/digits was stopped; the same command resumes it"
    assert rows[1] == "bbb sap/toy/digits 61.50 % validation"
    assert rows[2] == "ccc sap/net/digits failed: diverged"
    assert rows[3].startswith("ddd ?")
    assert bench("list", "runs", "*/toy/*", monkeypatch=monkeypatch) == 0
    assert [line[:3] for line in capsys.readouterr().out.splitlines()] == ["aaa", "bbb"]
    assert bench("report", monkeypatch=monkeypatch) == 1
    assert "single runs only (4, see `bench list runs`)" in capsys.readouterr().err


def test_a_text_with_colons_is_printed_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "width", 400)
    assert bench("show", "run", monkeypatch=monkeypatch) == 0
    assert "shuffled:ID" in capsys.readouterr().out


def test_a_method_is_explained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("show", "drop", monkeypatch=monkeypatch) == 0
    out = capsys.readouterr().out
    for part in ("arXiv:1812.02035", "Reconstruction: ", "fields of drop", "tuned over"):
        assert part in out
    assert bench("show", "gradual", monkeypatch=monkeypatch) == 0
    assert "what the paper reports" in capsys.readouterr().out


def test_a_method_that_cannot_be_used_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = catalog.catalogue()
    broken = tuple(replace(m, error="No module named 'x'") if m.name == "sap" else m for m in found.methods)
    monkeypatch.setattr(catalog, "catalogue", lambda: replace(found, methods=broken))
    assert bench("show", "sap", monkeypatch=monkeypatch) == 1
    assert "but sap is not: No module named 'x'" in capsys.readouterr().err
    assert bench("list", monkeypatch=monkeypatch) == 0
    assert "not usable here: No module named 'x'" in " ".join(capsys.readouterr().out.split())


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--version", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == "prunebench 0.1.0\n"

"""`bench evaluate`: it looks at validation unless asked for test, and then the home's journal says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.main import main
from bench.records.home import Home
from bench.records.openings import journal
from bench.run import new_run
from bench.training.execute import execute

TINY = ("model=test_resnet", "image_size=16", "epochs=0.5", "batch=256")


def evaluate(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "evaluate", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code


def test_every_opening_of_the_test_split_is_in_the_journal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home()
    record = execute(new_run("dense", (*TINY, "test=true")), home)
    digest = str(record.provenance.data["digest"])
    assert [one.run for one in journal(home.path, digest)] == [record.id]
    evaluate(monkeypatch, record.id)
    assert "digits validation" in capsys.readouterr().out
    assert len(journal(home.path, digest)) == 1
    weights = str(Path(home.records.run(record.id)) / "model.safetensors")
    evaluate(monkeypatch, record.id, "--split", "test")
    evaluate(monkeypatch, weights, "model=test_resnet", "image_size=16", "--split", "test")
    noted = journal(home.path, digest)
    assert [one.run for one in noted] == [record.id, record.id, ""]
    assert noted[1].command.endswith(f"evaluate {record.id} --split test")
    assert {one.task for one in noted} == {"digits"}

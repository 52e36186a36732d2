"""Methods as plain data, and the command that has them written."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from bench import registry
from bench.cli import main, manual
from bench.deploy import matrix
from bench.deploy.prunability import Row


def test_a_method_as_plain_data() -> None:
    found = manual.method("gradual")
    assert json.loads(json.dumps(found)) == found
    assert (found["standing"], found["target"], found["error"]) == ("faithful", "final", "")
    (exponent,) = (field for field in found["fields"] if field["name"] == "exponent")
    assert exponent == {
        **{"name": "exponent", "default": "3.0", "range": "0 < exponent <= 100", "tuned": "1 ... 6"},
        "help": "of the ramp; 1 is linear",
    }
    assert found["claims"][0]["source"] == "arXiv:1710.01878, table 1"


def test_standing() -> None:
    standing = {method["name"]: method["standing"] for method in manual.methods()}
    assert standing["dense"] == "no paper"
    assert standing["sap"] == "faithful"
    assert standing["drop"] == "reconstruction"
    assert sorted(standing) == registry.names(registry.METHODS)


def test_a_method_that_cannot_be_imported_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(group: str, name: str) -> None:
        raise ImportError("No module named 'torch_pruning'")

    monkeypatch.setattr(registry, "load", broken)
    assert manual.method("gradual")["error"] == "No module named 'torch_pruning'"


@pytest.mark.parametrize("words", [[], ["--out", "elsewhere"]])
def test_bench_docs(
    words: list[str], monkeypatch: pytest.MonkeyPatch, own_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "docs", *words])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert not end.value.code
    folder = own_place / "elsewhere" if words else own_place / "results" / "docs"
    assert str(folder / "index.html") in capsys.readouterr().out
    assert (folder / "sap.html").is_file()
    assert "efficientnet" in (folder / "prunability.html").read_text()


def test_architectures_as_plain_data() -> None:
    rows = [
        Row("vit", "vit_tiny", 32, 9, groups=1, masked=True, trains=True),
        Row("dino", matrix.NONE, 0, 0, reason="none"),
    ]
    (found,) = manual.architectures(rows)
    assert json.loads(json.dumps(found)) == found
    assert (found["module"], found["verdict"], found["works"], found["groups"]) == ("vit", "partly", False, 1)


def test_the_guides_name_commands_and_options_that_there_are() -> None:
    guides = manual.guides()
    assert "servers" in guides
    known = {
        command.name or command.callback.__name__.strip("_")
        for command in main.app.registered_commands
        if command.callback
    }
    for name, text in guides.items():
        used = re.findall(r"(?:`|^ {4}(?:\S+=\S+ )?)bench ([a-z]+)", text, flags=re.MULTILINE)
        assert used, name
        assert {word.replace("_", "-") for word in used} <= {word.replace("_", "-") for word in known}

"""The manual as plain data, and the command that writes it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from bench.cli import main, manual
from bench.deploy import matrix
from bench.deploy.prunability import Row


def test_methods_as_plain_data() -> None:
    found = json.loads(json.dumps(manual.methods()))
    (gradual,) = (method for method in found if method["name"] == "gradual")
    assert (gradual["standing"], gradual["target"], gradual["error"]) == ("faithful", "final", "")
    (exponent,) = (field for field in gradual["fields"] if field["name"] == "exponent")
    assert exponent == {
        **{"name": "exponent", "default": "3.0", "range": "0 < exponent <= 100", "tuned": "1 ... 6"},
        "help": "of the ramp; 1 is linear",
    }
    assert gradual["claims"][0]["source"] == "arXiv:1710.01878, table 1"


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
    assert "Servers: one PostgreSQL" in (folder / "servers.html").read_text()
    assert "efficientnet" in (folder / "prunability.html").read_text()


def test_architectures_as_plain_data() -> None:
    rows = [
        Row("vit", "vit_tiny", 32, 9, groups=1, masked=True, trains=True),
        Row("dino", matrix.NONE, 0, 0, reason="none"),
    ]
    (found,) = manual.architectures(rows)
    assert json.loads(json.dumps(found)) == found
    assert (found["module"], found["verdict"], found["works"], found["groups"]) == ("vit", "partly", False, 1)


def test_the_guides_name_commands_that_there_are() -> None:
    guides = manual.guides()
    assert {"clusters", "scale", "servers"} <= set(guides)
    for name, text in guides.items():
        assert not text.startswith("#"), name
        used = re.findall(r"(?:`|^ {4}(?:\S+=\S+ )?)bench ([a-z]+(?:-[a-z]+)*)", text, flags=re.MULTILINE)
        assert used, name
        assert set(used) <= set(main.COMMANDS)

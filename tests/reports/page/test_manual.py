"""The manual: docstrings typeset without losing a word, pages that stand alone."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import methods
from bench.cli import manual
from bench.deploy import matrix
from bench.deploy.prunability import Row
from reports.page.manual import render
from reports.page.typeset import Block, spans, typeset
from tests.reports.looking import Page

NAMES = methods.names()
EVIL = "<script>alert(1)</script>"
DOCUMENT = """Name (authors, 2020, arXiv:2001.00001).

A paragraph about `field` and *emphasis*, of
two lines, where a * b * c is a product:

    x = y * 2        an equation

    z = 1

Then more.

Differs from the paper:
- One thing, which
  takes two lines.
- Another.
Differs from the official code (some/where): nothing known.
"""


def made(**changes: Any) -> dict[str, Any]:
    method = {"name": "own", "document": DOCUMENT, "standing": "faithful", "reconstruction": "", "target": "final"}
    field = {"name": "final", "default": "0.8", "range": "0 <= final <= 1", "help": "wanted", "tuned": "0.5 ... 0.98"}
    claim = {"model": "resnet18", "task": "cifar10", "accuracy": 94.6, "source": "arXiv:2001.00001, table 2"}
    claims = [{**claim, "sparsity": 0.875, "note": "three seeds"}]
    return {**method, "fields": [field], "claims": claims, "error": "", **changes}


def words(text: str) -> list[str]:
    return "".join(" " if c in "`*:" else c for c in text).replace("\n- ", "\n").split()


class Text(HTMLParser):
    """Collects what is read on a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def test_a_docstring_by_hand() -> None:
    title, blocks = typeset(DOCUMENT)
    assert title == "Name (authors, 2020, arXiv:2001.00001)."
    paragraph = (
        *(("", "A paragraph about "), ("code", "field"), ("", " and "), ("em", "emphasis")),
        ("", ", of two lines, where a * b * c is a product:"),
    )
    assert blocks == [
        Block("p", (paragraph,)),
        Block("pre", ((("", "x = y * 2        an equation"),),)),
        Block("pre", ((("", "z = 1"),),)),
        Block("p", ((("", "Then more."),),)),
        Block("h", ((("", "Differs from the paper"),),)),
        Block("ul", ((("", "One thing, which takes two lines."),), (("", "Another."),))),
        Block("h", ((("", "Differs from the official code (some/where)"),),)),
        Block("p", ((("", "Nothing known."),),)),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_no_word_of_a_docstring_is_lost(name: str) -> None:
    document = inspect.cleandoc(manual.method(name)["document"])
    title, blocks = typeset(document)
    shown = [title, *(" ".join(text for _, text in item) for block in blocks for item in block.items)]
    assert [w.lower() for w in words(" ".join(shown))] == [w.lower() for w in words(document)]


def test_inline_marks() -> None:
    assert spans("`a * b` and 2*3*4 and *x*") == (("code", "a * b"), ("", " and 2*3*4 and "), ("em", "x"))


def test_every_method_has_a_page_that_stands_alone(tmp_path: Path) -> None:
    index = render(manual.methods(), tmp_path)
    assert {p.stem for p in tmp_path.iterdir()} == {"index", *NAMES}
    for path in tmp_path.iterdir():
        text = path.read_text()
        page = Page(text)
        assert {a for a in page.addresses if a != "data:,"} <= {p.name for p in tmp_path.iterdir()}
        assert "http://" not in text
        assert "https://" not in text
        assert "script" not in page.tags
        if path != index:
            assert "index.html" in page.addresses
    assert {f"{name}.html" for name in NAMES} <= set(Page(index.read_text()).addresses)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_holds_fields_space_and_claims(name: str, tmp_path: Path) -> None:
    method = manual.method(name)
    render([method], tmp_path)
    shown = Text((tmp_path / f"{name}.html").read_text()).found
    for field in method["fields"]:
        assert {field[key] for key in ("name", "default", "range", "tuned", "help") if field[key]} <= set(shown)
    for claim in method["claims"]:
        assert {claim["source"], f"{claim['accuracy']:g}"} <= set(shown)


def test_a_reconstruction_is_said_at_once_and_in_the_index(tmp_path: Path) -> None:
    index = render(
        [made(standing="reconstruction", reconstruction="only the abstract is known"), made(name="b")], tmp_path
    )
    page = (tmp_path / "own.html").read_text()
    assert "Only the abstract is known." in page
    assert page.index('class="box"') < page.index("A paragraph about")
    assert index.read_text().count('<strong class="standing">reconstruction') == 1
    assert 'class="box"' not in (tmp_path / "b.html").read_text()


def test_a_method_that_cannot_be_imported_says_why(tmp_path: Path) -> None:
    index = render([made(document="", standing="", error="No module named 'x'", fields=[], claims=[])], tmp_path)
    assert "not usable here: No module named" in index.read_text()
    assert "Not usable here: No module named" in (tmp_path / "own.html").read_text()


def test_text_of_a_method_cannot_run(tmp_path: Path) -> None:
    field = {"name": EVIL, "default": EVIL, "range": EVIL, "help": EVIL, "tuned": EVIL}
    method = made(document=f"{EVIL}\n\n{EVIL}\n\n    {EVIL}\n\n- `{EVIL}`", reconstruction=EVIL, fields=[field])
    render([method], tmp_path)
    for path in tmp_path.iterdir():
        assert "script" not in Page(path.read_text()).tags


def architectures(*rows: Row) -> tuple[list[dict[str, Any]], dict[str, int]]:
    return manual.architectures(rows), matrix.counts(rows)


def test_a_page_of_architectures_says_how_much_can_leave_and_why_the_rest_stays(tmp_path: Path) -> None:
    full = {"groups": 4, "inexact": 1, "weights_left": 0.3, "params_left": 0.31, "masked": True, "trains": True}
    rows = (
        Row("vit", "vit_tiny", 32, 5_720_000, can_leave=0.9, tied=0.1, versions="timm 1", **full),
        Row("swin", "swin_tiny", 64, 28_000_000, can_leave=0.625, reason="37.5%: it is cut", versions="timm 1", **full),
        Row("rnn", "rnn_tiny", 64, 1_000_000, reason="no channel", versions="timm 1"),
        Row("dino", matrix.NONE, 0, 0, reason="no classification architecture", versions="timm 1"),
    )
    index = render([made()], tmp_path, *architectures(*rows))
    assert 'href="prunability.html"' in index.read_text()
    shown = Text((tmp_path / "prunability.html").read_text()).found
    assert "Of 3 architectures 2 can be pruned: 1 in full, 1 partly, 1 not." in shown
    assert {"In full (1)", "Partly (1)", "Not (1)", "37.5%: it is cut", "no channel", "3 of 4", "90.0", "5.72"} <= set(
        shown
    )
    assert shown.index("vit_tiny") < shown.index("swin_tiny") < shown.index("rnn_tiny")
    assert "dino" not in shown


def test_without_a_matrix_there_is_no_page_of_it(tmp_path: Path) -> None:
    assert "prunability" not in render([made()], tmp_path).read_text()
    assert not (tmp_path / "prunability.html").exists()


def test_a_reason_cannot_run(tmp_path: Path) -> None:
    render([], tmp_path, *architectures(Row(EVIL, EVIL, 64, 1, reason=EVIL, versions=EVIL)))
    assert "script" not in Page((tmp_path / "prunability.html").read_text()).tags


def test_the_same_methods_give_the_same_bytes(tmp_path: Path) -> None:
    """In another process, with another hash seed and another time zone."""
    rows = matrix.stored(tmp_path / "none.csv")
    told = [manual.methods(), manual.architectures(rows), matrix.counts(rows), manual.guides()]
    (tmp_path / "told.json").write_text(json.dumps(told))
    program = (
        "import json, pathlib, reports.page.manual as m; methods, *rest = json.loads(pathlib.Path('told.json').read_text()); "
        "m.render(methods, pathlib.Path('again'), *rest)"
    )
    changed = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, **changed}, cwd=tmp_path)
    manual.write(tmp_path / "here")
    digests = [
        {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / folder).iterdir()}
        for folder in ("again", "here")
    ]
    assert digests[0] == digests[1]


def test_a_guide_has_its_page_with_a_heading_for_each_part_and_no_claims(tmp_path: Path) -> None:
    text = (
        "How to: a title\n\nFirst `words`.\n\n## One part\n\n    command <x>   # as it is\n\n## Another\n\n- An item.\n"
    )
    index = render([made()], tmp_path, guides={"how": text})
    assert '<a href="how.html">How to: a title</a>' in index.read_text()
    page = (tmp_path / "how.html").read_text()
    parts = ("<code>words</code>", "<h3>One part</h3>", "<pre>command &lt;x&gt;   # as it is</pre>", "<h3>Another</h3>")
    assert sorted(page.index(part) for part in parts) == [page.index(part) for part in parts]
    assert "What the paper reports" not in page
    assert "What the paper reports" in (tmp_path / "own.html").read_text()

"""The article: what stands in it, and that LaTeX makes a page of everything."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from reports.build import build
from reports.tables import formats
from reports.tables.columns import Column, Table, text
from tests.reports import exact, homes

NASTY = r"50 % of a_b & c#d {x} \y ~z^2 <|> $5 [u]* † − ± × ≤ → … “q” é ł η β ψ ∂ 10³ ✓ " + "long_name/" * 12


def table(rows: int, words: str, columns: int = 2) -> Table:
    names = [f"c{i}" for i in range(columns)]
    shown = (Column("#", "c0", text("c0")), *(Column(n, n, text(n), long=len(words) > 20) for n in names[1:]))
    frame = pd.DataFrame([{n: words if n != "c0" else "1" for n in names} for _ in range(rows)], columns=names)
    return Table("wide", "Wide", words, frame, shown)


def test_letters_that_latex_lacks_are_spelled_out() -> None:
    assert formats.latex_escape("η² ∂ ✓ é Demšar 10³") == r"$\eta$$^2$ U+2202 U+2713 é Demšar 10$^3$"


def test_a_long_table_is_continued_and_keeps_its_rows() -> None:
    text = formats.latex(table(150, "short"))
    assert text.count(r"\begin{table*}") == text.count(r"\toprule") == 3
    assert text.count("Continued.") == 2
    assert text.count(r"1 & short \\") == 150


def test_sentences_share_the_width_of_the_page() -> None:
    found = formats.latex(table(3, "words and " * 12, columns=3))
    widths = [float(w) for w in re.findall(r"p\{([\d.]+)\\textwidth\}", found)]
    assert len(widths) == 2
    assert 0.8 < sum(widths) < 1.0


@pytest.mark.slow
def test_the_article_has_every_table_and_every_figure(tmp_path: Path) -> None:
    out = build(homes.full(tmp_path, models=["test_vit"]), tmp_path / "out").parent / "pareto-sap"
    article = (out / "paper.tex").read_text()
    for path in (out / "tables").glob("*.tex"):
        assert rf"\input{{tables/{path.name}}}" in article
    figures = {path.stem for path in (out / "figures").glob("*.csv")}
    assert {name.rpartition("-")[0] for name in re.findall(r"figures/([\w-]+)\.pdf", article)} == figures
    assert r"\begin{figure}" in article
    assert r"\begin{figure*}" in article


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("records", ["golden", "nasty", "begun"])
def test_the_article_compiles(tmp_path: Path, records: str) -> None:
    """Twice, without an error, a reference that leads nowhere, or a line that leaves the text."""
    home = tmp_path / "home"
    if records == "golden":
        home = exact.HOME
    elif records == "nasty":
        homes.full(home, trials=14, models=["test_vit"], question=NASTY, command=NASTY, select=NASTY)
        name = "pareto-sap"
        homes.write_entry(home, name, "trial", "sap/test_vit", 3, state="failed", reason=NASTY)
    else:
        homes.declare(home, cells={}, state="running")
    out = build(home, tmp_path / "out").parent
    (folder,) = (path.parent for path in out.glob("*/paper.tex"))
    for _ in range(2):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0, done.stdout[-3000:]
    log = (folder / "paper.log").read_text(errors="replace")
    assert "undefined" not in log
    assert "Float too large" not in log
    assert [float(w) for w in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", log) if float(w) > 4] == []

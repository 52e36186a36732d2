"""Build the report: figures, tables and one self-contained page, from records alone. The same records, the same bytes.

<out>/index.html
      <study>/figures/<name>.csv, <name>-page.{pdf,svg,png}, <name>-column.{pdf,svg,png}
              tables/<name>.{md,tex,csv}
              paper.tex    all of it as an article: `pdflatex paper.tex`, twice
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench.errors import MissingData, one_of
from bench.records.files import write_bytes, write_text
from bench.records.folder import Folder
from reports.card import card
from reports.figures import catalog
from reports.figures.catalog import Figure, marked
from reports.figures.style import WIDTHS, Looks, looks, note, paper, render
from reports.load.records import DAGGER, Study, injected, load, methods
from reports.page import article, page, special
from reports.page.facts import facts, warnings
from reports.page.manual import render as manual
from reports.tables import columns, damage, finals, formats
from reports.tables.diff import diff
from reports.tables.trace import traced

__all__ = ["build", "diff", "manual"]  # what the suite calls, through the entry point that names this module

Progress = Callable[[int, int, str], None]
"""Told (parts done, parts in all, what comes next)."""


Links = Mapping[str, Mapping[str, str]]
"""By study and run: where MLflow shows it."""

MANY, PROCESSES = 80, 8
"""Runs from which on figures are drawn side by side, as other processes take seconds to start; and by how many at most."""

RARELY = 50_000
"""Objects until garbage is collected: at Python's own 700 that takes a tenth of the time."""


@contextlib.contextmanager
def _rarely() -> Iterator[None]:
    """Collect garbage less often meanwhile."""
    before = gc.get_threshold()
    gc.set_threshold(RARELY)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@_rarely()
def build(
    home: Path,
    out: Path,
    *,
    studies: Sequence[str] = (),
    progress: Progress | None = None,
    links: Links | None = None,
) -> Path:
    """Read the records below ``home``, write everything into ``out``, and return the page's path.

    Args:
        home: a folder of records, see `bench.records.folder`.
        out: made where it is not there; files of the same names are replaced.
        studies: names; all studies where none is named.
        progress: called before each part.
        links: addresses that the page's runs lead to; without them nothing in the page points outside it.

    Raises:
        MissingData: there are no studies in ``home``.
        BenchError: a name is unknown, or records cannot be read.
    """
    folder = Folder(home)
    known = folder.studies()
    if not known:
        raise MissingData(
            f"a report is made from a study's records, but {home} has none; make some: make study METHOD=sap"
        )
    for name in studies:
        if name not in known:
            raise one_of("study", name, known)
    chosen = sorted(set(studies)) or known
    with _drawing(len(folder.run_ids())) as every:
        read = [load(folder, name) for name in chosen]
        look = looks(
            sorted({*methods(read), *(m for name in known for m in folder.study(name).methods)}), injected(read)
        )
        tell = _counted(progress, sum(len(makers(study)) + 1 for study in read))  # the figures, then the tables
        drawn = [_figures(study, out, look, every) for study in read]
        sections = [
            _study(study, out, own, tell, (links or {}).get(study.name, {}))
            for study, own in zip(read, drawn, strict=True)
        ]
    tell("page")
    path = out / "index.html"
    write_text(path, page.html(sections))
    return path


def _counted(progress: Progress | None, total: int) -> Callable[[str], None]:
    """Tells the progress of what comes next."""
    steps = itertools.count()

    def tell(what: str) -> None:
        if progress is not None:
            progress(next(steps), total, what)

    return tell


def makers(study: Study) -> list[Callable[[Study], Figure]]:
    """What makes the figures of a study: those that it asks for, then those that every study has."""
    return [*special.makers(study), *catalog.makers(study)]


def listed(study: Study, drawn: Sequence[str]) -> list[columns.Table]:
    """The tables of a study in reading order. The card is among them: it judges by the others, and by the figures that were
    ``drawn``."""
    asked, always = special.tables(study), [finals.finals, damage.table]
    results = [*asked, *always] if "comparison" in study.declared.figures else [*always, *asked]
    runs = [finals.configurations, finals.failures, finals.runs]
    before, after = ([traced(columns.marked(make(study)), study) for make in part] for part in (results, runs))
    return [*before, card.table(study, [*before, *after], drawn), *after]


Every = Callable[..., Iterable[page.Shown]]
"""Calls a function with the arguments in its turn, as `map` does."""


@contextlib.contextmanager
def _drawing(runs: int) -> Iterator[Every]:
    """What draws figures: this process, one after the other, or where there are many runs several at once. The bytes are the
    same."""
    processes = min(PROCESSES, os.cpu_count() or 1)
    if runs < MANY or processes < 2:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=gc.set_threshold, initargs=(RARELY,)) as pool:
        for _ in range(processes):
            pool.submit(_ready)  # they are, when the records are read
        try:
            yield pool.map
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C nobody waits for what is not begun


def _ready() -> None:
    """Done in a new process, which must import this module first."""


def _figures(study: Study, out: Path, look: Looks, every: Every) -> Iterable[page.Shown]:
    """The figures of a study, which are being drawn, or are when they are asked for."""
    made = (marked(make(study), study) for make in makers(study))
    return every(_write_figure, made, itertools.repeat(out / study.name / "figures"), itertools.repeat(look))


def _study(
    study: Study,
    out: Path,
    drawn: Iterable[page.Shown],
    tell: Callable[[str], None],
    links: Mapping[str, str],
) -> page.Section:
    shown, base = [], out / study.name
    for figure in drawn:
        tell(f"{study.name}: {figure.figure.name}")
        shown.append(figure)
    tell(f"{study.name}: tables")
    made = listed(study, [figure.figure.name for figure in shown if figure.files])
    section = page.Section(study.name, facts(study), warnings(study), shown, made, links)
    for name, files in section.files.items():
        for end, data in files.items():
            write_bytes(base / "tables" / f"{name}{end}", data)
    write_text(base / "paper.tex", article.latex(section))
    return section


def _write_figure(figure: Figure, base: Path, look: Looks) -> page.Shown:
    """Write a figure's files and return them; none for a figure without data."""
    if figure.missing:
        return page.Shown(figure, {}, {})
    found, heights = {".csv": formats.csv(figure.table).encode()}, {}
    with paper():
        for width in WIDTHS:
            canvas = figure.draw(look, width == "page")
            if figure.marked:
                note(canvas, f"{DAGGER} reconstruction")
            rendered = render(canvas)
            found |= {f"-{width}.{kind}": data for kind, data in rendered.items()}
            heights[width] = float(canvas.get_figheight())
    for end, data in found.items():
        write_bytes(base / f"{figure.name}{end}", data)
    return page.Shown(figure, found, heights)

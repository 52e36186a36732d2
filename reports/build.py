"""Builds the report from records alone: figures, tables and one self-contained page. Equal records give equal bytes.

<out>/index.html
      <study>/figures/<name>.csv, <name>-page.{pdf,svg,png}, <name>-column.{pdf,svg,png}
              tables/<name>.{md,tex,csv}
              paper.tex    the report as an article: run `pdflatex paper.tex` twice
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
from reports.figures.render import render
from reports.figures.style import WIDTHS, Looks, looks, note, paper
from reports.load.records import DAGGER, Study, injected, load, methods
from reports.page import article, page, requested
from reports.page.facts import facts, warnings
from reports.page.manual import render as manual
from reports.tables import columns, damage, finals, formats
from reports.tables.diff import diff
from reports.tables.row_runs import traced

__all__ = ["build", "diff", "manual"]  # the suite calls these through the entry point that names this module

Progress = Callable[[int, int, str], None]
"""Called with (parts done, number of parts, name of the next part)."""


Links = Mapping[str, Mapping[str, str]]
"""The addresses of runs in MLflow, by study and run."""

MANY, PROCESSES = 80, 8
"""Minimum number of runs for drawing in several processes, which take seconds to start; and their maximum number."""

RARELY = 50_000
"""Threshold of garbage collection: with Python's default of 700 it takes a tenth of the time."""


@contextlib.contextmanager
def _rarely() -> Iterator[None]:
    """Collects garbage less often within the block."""
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
    """Reads the records below ``home``, writes the report into ``out``, and returns the page's path.

    Args:
        home: a folder of records, see `bench.records.folder`.
        out: created where it does not exist; files of the same names are replaced.
        studies: names of studies; by default all.
        progress: called before each part.
        links: addresses of runs in MLflow; without them the page has no external links.

    Raises:
        MissingData: there are no studies in ``home``.
        BenchError: a name is unknown, or records cannot be read.
    """
    folder = Folder(home)
    known = folder.studies()
    if not known:
        raise MissingData(
            f"a report is made from a study's records, but {home} has {_instead(folder)}; make some: make study METHOD=sap"
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
    """Returns a function that reports the progress before each part."""
    steps = itertools.count()

    def tell(what: str) -> None:
        if progress is not None:
            progress(next(steps), total, what)

    return tell


def makers(study: Study) -> list[Callable[[Study], Figure]]:
    """The functions that make the figures of a study: the declared ones, then those that every study has."""
    return [*requested.makers(study), *catalog.makers(study)]


def listed(study: Study, drawn: Sequence[str]) -> list[columns.Table]:
    """Returns the tables of a study in reading order, with the evaluation card, whose evidence are the other tables and the
    ``drawn`` figures."""
    results = [finals.finals, damage.table, *requested.tables(study)]
    if "comparison" in study.declared.figures:
        results = [*requested.tables(study), finals.finals, damage.table]
    runs = [finals.configurations, finals.failures, finals.runs]
    before, after = ([traced(columns.marked(make(study)), study) for make in part] for part in (results, runs))
    return [*before, card.table(study, [*before, *after], drawn), *after]


Every = Callable[..., Iterable[page.Shown]]
"""Calls a function for each tuple of arguments, in order, as `map` does."""


def _instead(folder: Folder) -> str:
    """What a home without studies has."""
    runs = len(folder.run_ids())
    return f"single runs only ({runs}, see `bench list runs`)" if runs else "none"


@contextlib.contextmanager
def _drawing(runs: int) -> Iterator[Every]:
    """Yields the `map` that draws figures: in this process, or for many runs in several processes. The bytes are the same."""
    processes = min(PROCESSES, os.cpu_count() or 1)
    if runs < MANY or processes < 2:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=gc.set_threshold, initargs=(RARELY,)) as pool:
        for _ in range(processes):
            pool.submit(_ready)  # starts the processes while the records are read
        try:
            yield pool.map
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C, do not wait for figures that were not started


def _ready() -> None:
    """Does nothing, in a new process, which imports this module before."""


def _figures(study: Study, out: Path, look: Looks, every: Every) -> Iterable[page.Shown]:
    """The figures of a study, drawn when they are iterated over, or before in other processes."""
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
    """Writes a figure's files and returns them; none for a figure without data."""
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

"""Draws the figures of the README from records, as a report does: ``make gallery``.

    python -m reports.gallery [RECORDS ...]

RECORDS are folders of results and files of ``bench export-data``; by default the small set of real records of the tests, and
the files in ``reports/gallery``. For every study the figures of `PICK` that have data are drawn, for a comparison those of
`COMPARED`, at the width of a page: <name>-<figure>.svg, and their numbers as .csv.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.records.files import write_bytes, write_text
from bench.records.folder import Folder
from reports.build import makers
from reports.figures.catalog import Figure, marked
from reports.figures.render import render
from reports.figures.style import looks, note, paper
from reports.load.records import DAGGER, Study, injected, load, methods
from reports.tables.formats import csv

ROOT = Path(__file__).parents[1]
RECORDS, OUT = ROOT / "tests" / "reports" / "golden", ROOT / "reports" / "gallery"
PICK = ("accuracy-weights-left", "curves", "layers")
COMPARED = ("cells", "accuracy-weights-left", "costs", "allocation")


def picked(home: Path) -> Iterator[tuple[str, Study, Figure]]:
    """Yields the figures to show, each after the name of its file and its study."""
    folder = Folder(home)
    for name in folder.studies():
        study = load(folder, name)
        found = {figure.name: marked(figure, study) for figure in (make(study) for make in makers(study))}
        for wanted in _wanted(study):
            if wanted in found and not found[wanted].missing:
                yield f"{_called(study)}-{wanted}", study, found[wanted]


def _wanted(study: Study) -> Sequence[str]:
    if "comparison" in study.declared.figures:
        return COMPARED
    return PICK


def _called(study: Study) -> str:
    """The first part of the names of a study's files."""
    declared = study.declared
    if declared.topic:
        return f"{declared.topic}-{declared.task}"
    return declared.kind


def write(homes: Sequence[Path] = (RECORDS,), out: Path = OUT) -> list[Path]:
    """Draws the figures into ``out`` and returns their paths; removes drawings that are not among them.

    Raises:
        BenchError: there is nothing to draw, or two studies would have the same name.
    """
    found = [one for home in homes for one in picked(home)]
    names = [name for name, *_ in found]
    if not found:
        listed = ", ".join(map(str, homes))
        raise BenchError(
            f"a gallery shows figures of studies, but {listed} has none with data; give a folder of results"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BenchError(
            f"figures of a gallery have unique names, but {twice[0]!r} is there twice; leave one study out"
        )
    for old in (*out.glob("*.svg"), *out.glob("*.csv")):
        old.unlink()
    for name, study, figure in found:
        with paper():
            canvas = figure.draw(looks(methods([study]), injected([study])), True)
            if figure.marked:
                note(canvas, f"{DAGGER} reconstruction")
            drawing = render(canvas)["svg"]
        write_bytes(out / f"{name}.svg", drawing)
        write_text(out / f"{name}.csv", csv(figure.table))
    return [out / f"{name}.svg" for name in names]


def taken_in(file: Path, into: Path) -> Path:
    """Imports the records of a file into a new folder of results in ``into``, by `bench import-data`, and returns it."""
    home = into / file.stem
    command = [sys.executable, "-m", "bench", "import-data", str(file)]
    done = subprocess.run(
        command, env={**os.environ, "BENCH_HOME": str(home)}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"a gallery is made from records, but {file} cannot be read: {done.stderr.strip()}")
    return home


def main(records: Sequence[str]) -> None:
    """Draws the gallery of these records, and prints the paths of the files."""
    paths = [*map(Path, records)] or [RECORDS, *sorted(OUT.glob("*.parquet"))]
    with tempfile.TemporaryDirectory() as temporary:
        homes = list[Path]()
        for path in paths:
            homes.append(taken_in(path, Path(temporary)) if path.suffix == ".parquet" else path)
        for path in write(homes):
            print(path)


if __name__ == "__main__":
    main(sys.argv[1:])

"""The figures of the README, made from records like those of any report: ``make gallery``.

    python -m reports.gallery [RECORDS ...]

RECORDS are folders of results and files of ``bench export-data``; by default the small set of real records that the tests have,
and what lies in ``reports/gallery``. Of every study those figures of `PICK` that have data are drawn, of a comparison those of
`COMPARED`, over the width of a page: <name>-<figure>.svg with their numbers beside them as .csv.
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
from reports.figures import catalog
from reports.figures.catalog import Figure, marked
from reports.figures.style import looks, note, paper, render
from reports.load.records import Study, injected, load, methods
from reports.page import special
from reports.tables.formats import csv

ROOT = Path(__file__).parents[1]
RECORDS, OUT = ROOT / "tests" / "reports" / "golden", ROOT / "reports" / "gallery"
PICK = ("accuracy-weights-left", "curves", "layers")
COMPARED = ("cells", "accuracy-weights-left", "costs", "allocation")


def picked(home: Path) -> Iterator[tuple[str, Study, Figure]]:
    """The figures to show, with their file's name and their study."""
    folder = Folder(home)
    for name in folder.studies():
        study = load(folder, name)
        wanted = COMPARED if "comparison" in study.declared.figures else PICK
        found = [marked(make(study), study) for make in (*special.makers(study), *catalog.makers(study))]
        for figure in sorted(
            (f for f in found if f.name in wanted and not f.missing), key=lambda f: wanted.index(f.name)
        ):
            yield f"{_called(study)}-{figure.name}", study, figure


def _called(study: Study) -> str:
    declared = study.declared
    return f"{declared.topic}-{declared.task}" if declared.topic else declared.kind


def write(homes: Sequence[Path] = (RECORDS,), out: Path = OUT) -> list[Path]:
    """Draw them into ``out`` and return their paths; drawings that the records no longer give are removed.

    Raises:
        BenchError: there is nothing to draw, or two studies would have one name.
    """
    found = [one for home in homes for one in picked(home)]
    names = [name for name, *_ in found]
    if not found:
        listed = ", ".join(map(str, homes))
        raise BenchError(
            f"a gallery shows figures of studies, but {listed} has none with data; give a folder of results"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BenchError(f"each figure of a gallery has its name, but {twice[0]!r} is there twice; leave one study out")
    for old in (*out.glob("*.svg"), *out.glob("*.csv")):
        old.unlink()
    for name, study, figure in found:
        with paper():
            canvas = figure.draw(looks(methods([study]), injected([study])), True)
            if figure.marked:
                note(canvas, "† reconstruction")
            drawing = render(canvas)["svg"]
        write_bytes(out / f"{name}.svg", drawing)
        write_text(out / f"{name}.csv", csv(figure.table))
    return [out / f"{name}.svg" for name in names]


def taken_in(file: Path, into: Path) -> Path:
    """A folder of results in ``into`` with the records of a file, as `bench import-data` makes it."""
    home = into / file.stem
    command = [sys.executable, "-m", "bench", "import-data", str(file)]
    done = subprocess.run(
        command, env={**os.environ, "BENCH_HOME": str(home)}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"a gallery is made of records, but {file} cannot be read: {done.stderr.strip()}")
    return home


def main(records: Sequence[str]) -> None:
    """Make the gallery of these, and say what was drawn."""
    paths = [*map(Path, records)] or [RECORDS, *sorted(OUT.glob("*.parquet"))]
    with tempfile.TemporaryDirectory() as temporary:
        homes = [taken_in(path, Path(temporary)) if path.suffix == ".parquet" else path for path in paths]
        for path in write(homes):
            print(path)


if __name__ == "__main__":
    main(sys.argv[1:])

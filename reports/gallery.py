"""The figures of the README, made from records like those of any report: ``make gallery``.

    python -m reports.gallery [RECORDS] [OUT]

Of every study in RECORDS (by default the small set of real records that the tests have) those figures of `PICK` that have
data, over the width of a page, as <topic or kind>-<figure>.svg with their numbers beside them as .csv.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from bench.errors import BenchError
from bench.record import Folder, write_bytes, write_text
from reports import figures, special
from reports.figures import Figure, marked
from reports.formats import csv
from reports.load import Study, injected, load, methods
from reports.style import looks, paper, render

ROOT = Path(__file__).parents[1]
RECORDS, OUT = ROOT / "tests" / "reports" / "golden", ROOT / "reports" / "gallery"
PICK = ("accuracy-weights-left", "costs", "profiles", "ranks", "improvement", "allocation", "curves", "layers")


def picked(home: Path) -> Iterator[tuple[str, Study, Figure]]:
    """The figures to show, with their file's name and their study."""
    folder = Folder(home)
    for name in folder.studies():
        study = load(folder, name)
        found = [marked(make(study), study) for make in (*special.makers(study), *figures.makers(study))]
        for figure in sorted((f for f in found if f.name in PICK and not f.missing), key=lambda f: PICK.index(f.name)):
            yield f"{study.declared.get('topic') or study.declared['kind']}-{figure.name}", study, figure


def write(home: Path = RECORDS, out: Path = OUT) -> list[Path]:
    """Draw them into ``out`` and return their paths; drawings that the records no longer give are removed.

    Raises:
        BenchError: there is nothing to draw.
    """
    found = list(picked(home))
    if not found:
        raise BenchError(f"a gallery shows figures of studies, but {home} has none with data; give a folder of results")
    for old in (*out.glob("*.svg"), *out.glob("*.csv")):
        old.unlink()
    paths = []
    for name, study, figure in found:
        with paper():
            drawing = render(figure.draw(looks(methods([study]), injected([study])), True))["svg"]
        write_bytes(out / f"{name}.svg", drawing)
        write_text(out / f"{name}.csv", csv(figure.table))
        paths.append(out / f"{name}.svg")
    return paths


if __name__ == "__main__":
    for path in write(*map(Path, sys.argv[1:3])):
        print(path)

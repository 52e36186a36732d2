"""The golden records: a small real study, and the exact tables that it must give.

They were made by the command in their records, on a clean checkout; of each run the record, the curves and the specification
are kept, and the weights and their plan are left out. ``python -m tests.reports.exact`` writes the tables anew: to be done only
when a table changes on purpose, and to be read before it is committed.
"""

from __future__ import annotations

from pathlib import Path

from bench.records.files import write_text
from bench.records.folder import Folder
from reports import build
from reports.load.records import Study, load
from reports.tables import comparison, formats, overall, tidy
from reports.tables.columns import Table

HOME = Path(__file__).with_name("golden")
TABLES = HOME / "tables"


def study() -> Study:
    """The study of the golden records."""
    folder = Folder(HOME)
    return load(folder, *folder.studies())


def tables(found: Study) -> list[Table]:
    """The tables of its report, and those of a comparison, which a ladder does not ask for."""
    frame = tidy.tidy(found)
    chosen = tidy.baselines(found, frame)
    drawn = [figure.name for make in build.makers(found) if not (figure := make(found)).missing]
    return [*build.listed(found, drawn), comparison.comparison(frame, chosen), overall.overall(frame, chosen)]


if __name__ == "__main__":
    for table in tables(study()):
        write_text(TABLES / f"{table.name}.md", formats.markdown(table))

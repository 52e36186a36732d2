"""The folder of records: the truth about finished runs and studies, as files that reports read.

    <home>/runs/<id>/record.json      written last and atomically: its presence means that the run has ended
                     curves.parquet   one row per epoch (curves.jsonl while the run goes on)
                     model.safetensors, plan.json
                     speed.json       how fast the model is, where that was measured (`bench speed`)
    <home>/studies/<study>/study.json            the declaration
                           entries/<entry>.json  one per trial, final and baseline: which run it is, and its role
    <home>/openings/<digest>.jsonl               openings of the test split of a data set (`bench.records.openings`)
    <home>/semistructured.json    2:4 kernels timed layer by layer: device, versions, rows (`bench.measure.semistructured`),
                                  missing

The files of runs and studies are those of `RunRecord`, `SpeedRecord`, `StudyRecord` and `Entry`, whose modules describe their
fields; `bench.records.reading` reads and writes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.records import reading
from bench.records.run_record import RunRecord
from bench.records.speed_record import SpeedRecord
from bench.records.study_record import Entry, StudyRecord

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Folder:
    """The records of runs and studies below one folder, a home's or a copy's."""

    path: Path

    def run(self, run_id: str) -> Path:
        """The folder of a run, whether it exists or not."""
        return self.path / "runs" / run_id

    def record(self, run_id: str) -> RunRecord | None:
        """The record of a run that has ended, or None."""
        return reading.read_if_there(RunRecord, self.run(run_id) / "record.json")

    def curves(self, run_id: str) -> pd.DataFrame:
        """The curves of a run, finished or not: one row per epoch, sorted by step.

        Columns are step, epoch, phase, time (ms since 1970), train/loss, val/top1, val/loss, lr, sparsity, weights_left, pq,
        seconds, and the method's own statistics as method/<name>.
        """
        import pandas as pd  # here, because commands that only print do not need it

        folder = self.run(run_id)
        if (folder / "curves.parquet").exists():
            return pd.read_parquet(folder / "curves.parquet")
        return pd.DataFrame(read_rows(folder / "curves.jsonl"))

    def speed(self, run_id: str) -> SpeedRecord | None:
        """The record of the speed of a run's model, or None."""
        return reading.read_if_there(SpeedRecord, self.run(run_id) / "speed.json")

    def run_ids(self) -> list[str]:
        """The ids of all runs with a folder, finished or not, sorted."""
        return sorted(p.name for p in (self.path / "runs").glob("*") if p.is_dir())

    def studies(self) -> list[str]:
        """The names of all studies, sorted."""
        return sorted(p.parent.name for p in (self.path / "studies").glob("*/study.json"))

    def study(self, name: str) -> StudyRecord:
        """The declaration of a study."""
        return reading.read(StudyRecord, self.path / "studies" / name / "study.json")

    def write_study(self, study: StudyRecord) -> None:
        """Write or replace the declaration of a study."""
        reading.write(self.path / "studies" / study.name / "study.json", study)

    def entries(self, study: str) -> Iterator[Entry]:
        """The entries of a study, sorted by name."""
        for path in sorted(
            (self.path / "studies" / study / "entries").glob("[!.]*.json")
        ):  # macOS leaves ._*.json beside
            yield reading.read(Entry, path)

    def write_entry(self, study: str, entry: Entry) -> None:
        """Write or replace one entry of a study."""
        reading.write(self.entry_file(study, entry), entry)

    def drop_entry(self, study: str, entry: Entry) -> None:
        """Remove an entry from a study; its run stays."""
        self.entry_file(study, entry).unlink(missing_ok=True)

    def entry_file(self, study: str, entry: Entry) -> Path:
        """The file of an entry."""
        return self.path / "studies" / study / "entries" / f"{entry.name}.json"


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines, sorted by step. Incomplete lines, left by a kill, are skipped; of several rows with one
    step the last counts."""
    rows: dict[int, dict[str, Any]] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            rows[row["step"]] = row
    return [rows[step] for step in sorted(rows)]

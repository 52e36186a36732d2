"""The records of a study as data frames: one row per entry, and the curves, layers and phases of runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bench.errors import Corrupt
from bench.records.folder import Folder
from bench.records.openings import Opening, journal, with_records
from bench.records.part import Part
from bench.records.run_record import Cost, Metrics, RunRecord
from bench.records.starting_weights import with_start
from bench.records.study_record import BASELINE, CellRecord, Entry, StudyRecord

METRICS = {
    "val_top1": "val_top1",
    "test_top1": "test_top1",
    "sparsity": "sparsity_prunable",
    "weights_left": "weights_left",
    "macs_left": "macs_fraction",
    "bytes": "bytes_compressed",
    "parameters": "params_all",
    "nonzero": "params_nonzero",
    "bytes_dense": "bytes_dense",
    "bytes_sparse": "bytes_sparse",
}
"""Columns of the entries, and the fields of `Metrics` that they hold (top-1 in per cent, shares from 0 to 1)."""

COLUMNS = ("kind", "cell", "method", "model", "target", "number", "seed", "run", "state", "reason", "params", "values")
DENSE = "dense_seed"
CONTROL = "dense"
"""The name of the control that is trained without pruning."""
WHOSE = ("reconstruction", "said", "variant", "group", "order", "tuned")
"""Further columns: whether the method is a reconstruction (from the declaration); the label of the record; of a grid the
variant, its group and its index among the variants (else the recovery, the target as group, and -1); and whether the study
has trials, so that a configuration is one of them."""

CONFIGURATION = ["cell", "kind", "number"]
"""Columns that identify a configuration of a study; its runs differ by their seed only."""

DAGGER = "†"
NOTE = (
    f"{DAGGER} Reconstruction: details that the paper does not specify are ours, so these are not numbers of the paper's own "
    "method."
)


@dataclass(frozen=True)
class Study:
    """A study with its records. ``entries`` has one row per trial, final and baseline, in a fixed order."""

    name: str
    declared: StudyRecord
    entries: pd.DataFrame
    records: Mapping[str, RunRecord]
    folder: Folder

    @property
    def pareto(self) -> bool:
        """Whether trials have two objectives (accuracy and size), not accuracy only."""
        return self.declared.pareto

    @property
    def grid(self) -> bool:
        """Whether its configurations are declared variants, without trials."""
        return self.declared.grid

    @property
    def tuned(self) -> bool:
        """Whether there are trials, so that a configuration is one of them, such as "#5"."""
        return self.declared.tuned

    def reconstructed(self, method: str) -> bool:
        """Whether a method is a reconstruction in at least one of its configurations."""
        return method in self.declared.reconstructions

    def facts(self, cell: str) -> Mapping[str, float]:
        """The declared facts of a cell; empty where it has none, or is not declared."""
        found = self.declared.cells.get(cell)
        if found is None:
            return {}
        return found.facts or {}

    def done(self, *kinds: str) -> pd.DataFrame:
        """The finished entries of some kinds."""
        return self.entries[self.entries["kind"].isin(kinds) & (self.entries["state"] == "finished")]

    def shown(self) -> pd.DataFrame:
        """The entries that figures show of each cell: finals and baselines, or else the best trial so far."""
        finals, trials = self.done("final", "baseline"), self.done("trial").dropna(subset="val_top1")
        waiting = trials[~trials["cell"].isin(set(finals["cell"]))]
        best = waiting.sort_values(["val_top1", "number"], ascending=[False, True]).groupby("cell", sort=True).head(1)
        return pd.concat([finals, best]).sort_values(["order", *CONFIGURATION, "seed"], ignore_index=True)

    def openings(self) -> list[Opening]:
        """Returns every opening of the test split of the study's data sets that its home knows."""
        digests = sorted({str(r.provenance.data.get("digest", "")) for r in self.records.values()} - {""})
        noted = [opening for digest in digests for opening in journal(self.folder.path, digest)]
        return with_records(noted, self.records.values())

    def curves(self, run: str) -> pd.DataFrame:
        """Reads the curves of a run, one row per epoch; empty where there are none.

        Raises:
            Corrupt: the file cannot be read.
        """
        try:
            return self.folder.curves(run)
        except (OSError, ValueError) as error:
            raise Corrupt(
                f"the curves of run {run} cannot be read ({error}); delete its folder and run it again"
            ) from None

    def parts(self, entries: pd.DataFrame, key: str) -> pd.DataFrame:
        """Returns the "curves", "layers" or "phases" of the runs of some entries, each row with the columns of its entry."""
        found = []
        for entry in dicts(entries):
            rows = self._rows(entry["run"], key)
            whose = {
                name: entry[name]
                for name in (*CONFIGURATION, *WHOSE, "method", "model", "target", DENSE, "seed", "run")
            }
            found.append(rows.assign(**whose, label=label(entry), place=range(len(rows))))
        if not any(map(len, found)):
            return pd.DataFrame()
        return pd.concat(found, ignore_index=True)

    def _rows(self, run: str, key: str) -> pd.DataFrame:
        if key == "curves":
            return self.curves(run)
        record = self.records[run]
        rows: dict[str, tuple[Part, ...]] = {"layers": record.layers, "phases": record.phases}
        return pd.DataFrame([row.to_json() for row in rows[key]])


def dicts(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as dicts."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def called(entry: Mapping[str, Any]) -> str:
    """The method's name as it is shown: with a dagger for a reconstruction, which `NOTE` explains, and with the label of its
    record, as in "depgraph (masked channels)"."""
    name, said = str(entry["method"]), entry.get("said")
    if entry["reconstruction"]:
        name += DAGGER
    if isinstance(said, str) and said:  # the row of a paper's number has none
        name += f" ({said})"
    return name


def called_cell(entry: Mapping[str, Any]) -> str:
    """A cell's name as it is shown, such as "sap/test_vit" or "drop†/test_vit@0.9"."""
    return called(entry) + str(entry["cell"]).removeprefix(entry["method"])


def label(entry: Mapping[str, Any]) -> str:
    """The short name of an entry's configuration: "sap #5", "gradual @0.9 #5" (5: the trial), "sap @0.9" where nothing is
    tuned, or "drop† away only"."""
    variant, parts = str(entry["variant"]), [called(entry)]
    if entry["kind"] == "baseline" and not variant.startswith("of "):
        parts.append(entry["group"])
    elif entry["kind"] == "baseline" or entry["order"] >= 0:
        parts.append(variant)
    else:
        if not math.isnan(entry["target"]):
            parts.append(f"@{entry['target']:g}")
        if entry.get("tuned", True):
            parts.append(f"#{entry['number']}")
        parts.append(variant)
    return " ".join(parts).rstrip()


def load(folder: Folder, name: str) -> Study:
    """Reads a study with the records of all its runs.

    Raises:
        BenchError: records have a schema that this version does not know, or cannot be read.
    """
    declared, entries = folder.study(name), list(folder.entries(name))
    records = {entry.run: folder.record(entry.run) for entry in entries if entry.run}
    known = {run: with_start(record, folder.record) for run, record in records.items() if record is not None}
    rows = [_row(entry, declared, known.get(entry.run)) for entry in entries]
    frame = _one_dense_model_to_a_root(
        pd.DataFrame(rows, columns=[*COLUMNS, DENSE, *WHOSE, *METRICS, "seconds"]), known
    )
    frame = frame.sort_values(["order", *CONFIGURATION, "seed"], ignore_index=True)
    return Study(name, declared, frame, known, folder)


def _one_dense_model_to_a_root(frame: pd.DataFrame, records: Mapping[str, RunRecord]) -> pd.DataFrame:
    """Gives all dense models that were trained from one external file the seed of the first: they are one dense model."""
    starts = {run: record.starting_weights for run, record in records.items()}
    roots = frame["run"].map({run: start.root for run, start in starts.items() if start is not None and start.root})
    if not roots.notna().any():
        return frame
    first = frame[DENSE].groupby([frame["model"], roots]).transform("min")
    return frame.assign(**{DENSE: first.fillna(frame[DENSE]).astype(int)})


def _row(entry: Entry, declared: StudyRecord, record: RunRecord | None) -> dict[str, Any]:
    """An entry as a row of the frame."""
    method, _, model = entry.cell.partition("/")
    cell = declared.cell_of(entry) or CellRecord(method, model, reconstruction=method in declared.reconstructions)
    if entry.of:
        cell = replace(cell, method=method, reconstruction=False)
    state = "missing" if entry.finished and record is None else entry.state
    params = entry.params or dict(setting.split("=", 1) for setting in cell.settings or ())
    own = {key: getattr(entry, key) for key in ("kind", "cell", "number", "seed", "run", "reason")}
    own |= {"method": cell.method, "model": cell.model, "state": state, "params": params}
    own |= {"target": math.nan if cell.target is None else cell.target, "values": list(entry.values or ())}
    own[DENSE] = entry.seed if entry.dense_seed is None else entry.dense_seed
    own |= {"reconstruction": cell.reconstruction, **_place(entry, cell, declared), "tuned": declared.trials > 0}
    own |= {"said": "" if record is None else record.label}
    metrics, cost = (Metrics(), Cost()) if record is None else (record.metrics, record.cost)
    return own | {key: getattr(metrics, name) for key, name in METRICS.items()} | {"seconds": cost.seconds}


def _place(entry: Entry, cell: CellRecord, declared: StudyRecord) -> dict[str, Any]:
    """The variant of an entry, its group, and its index among the variants of a grid (else -1)."""
    if declared.grid and entry.kind != BASELINE:
        return {"variant": cell.variant or "", "group": cell.group or "", "order": entry.number}
    at = "" if cell.target is None else f"@{cell.target:g}"
    if entry.of:
        variant = f"of {entry.cell.partition(':')[2]}"
        return {"variant": variant, "group": cell.group or at, "order": entry.number if declared.grid else -1}
    recovery = f"recovery={cell.recovery}" if cell.recovery else ""
    return {"variant": recovery, "group": f"{at} {recovery}".rstrip() if at else "", "order": -1}


def methods(studies: Iterable[Study]) -> list[str]:
    """The methods of some studies, sorted, without added baselines and controls."""
    read = list(studies)
    every = {m for study in read for m in (*study.entries["method"], *study.declared.methods)}
    return sorted(every - {*injected(read)})


def injected(studies: Iterable[Study]) -> list[str]:
    """The baselines and derived controls of some studies, sorted, that are not a method of any of them."""
    read = list(studies)
    asked = {m for study in read for m in study.declared.methods}
    found = [study.entries.loc[study.entries["kind"] == "baseline", "method"] for study in read]
    return sorted({m for names in found for m in names} - asked)

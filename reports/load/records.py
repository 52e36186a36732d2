"""Records of one study as data frames: one row per entry, and the curves, layers and phases of chosen runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.errors import BenchError, Corrupt
from bench.records.folder import SCHEMA, Folder

METRICS = {
    "val_top1": "val/top1",
    "test_top1": "test/top1",
    "sparsity": "sparsity/prunable",
    "weights_left": "weights_left",
    "macs_left": "macs/fraction",
    "bytes": "bytes/compressed",
    "parameters": "params/all",
    "nonzero": "params/nonzero",
    "bytes_dense": "bytes/dense",
    "bytes_sparse": "bytes/sparse",
}
"""Columns of the entries, and the metrics of a record that they hold (top-1 in per cent, shares from 0 to 1)."""

COLUMNS = ("kind", "cell", "method", "model", "target", "number", "seed", "run", "state", "reason", "params", "values")
DENSE = "dense_seed"
CONTROL = "dense"
"""The name of the control that is trained without pruning."""
WHOSE = ("reconstruction", "said", "variant", "group", "order", "tuned")
"""Further columns: whether the method is a reconstruction (from the declaration), and what the record is labelled with; of a
grid the variant, its group and its place among the variants; elsewhere the variant is "", the place -1, and the group a
ladder's target; and whether the study has trials, so that a configuration is one of them."""

CONFIGURATION = ["cell", "kind", "number"]
"""What tells one configuration of a study from another; its runs differ by their seed only."""

DAGGER = "†"
NOTE = (
    f"{DAGGER} Reconstruction: what the paper leaves open is ours, so these are not numbers of the paper's own method."
)


@dataclass(frozen=True)
class Study:
    """A study as it stands in the records. ``entries`` has one row per trial, final and baseline, in a fixed order."""

    name: str
    declared: Mapping[str, Any]
    entries: pd.DataFrame
    records: Mapping[str, dict[str, Any]]
    folder: Folder

    @property
    def pareto(self) -> bool:
        """Whether trials are told with two values (accuracy and size) or with accuracy only."""
        return bool(self.declared.get("kind") == "pareto")

    @property
    def grid(self) -> bool:
        """Whether its configurations are declared variants: no trials, nothing tuned."""
        return bool(self.declared.get("kind") == "grid")

    @property
    def tuned(self) -> bool:
        """Whether there are trials, so that a configuration is one of them: "#5"."""
        return not self.grid and self.declared.get("trials") != 0

    def reconstructed(self, method: str) -> bool:
        """Whether a method is a reconstruction, in some of its configurations at least."""
        return method in self.declared.get("reconstructions", {})

    def cell_reconstructed(self, cell: Mapping[str, Any]) -> bool:
        """Whether what a declared cell runs is a reconstruction."""
        return _reconstructed(cell, self.declared)

    def done(self, *kinds: str) -> pd.DataFrame:
        """The finished entries of some kinds."""
        return self.entries[self.entries["kind"].isin(kinds) & (self.entries["state"] == "finished")]

    def shown(self) -> pd.DataFrame:
        """The runs that stand for a cell where not all can be shown: finals and baselines, or else the best trial yet."""
        finals, trials = self.done("final", "baseline"), self.done("trial").dropna(subset="val_top1")
        waiting = trials[~trials["cell"].isin(set(finals["cell"]))]
        best = waiting.sort_values(["val_top1", "number"], ascending=[False, True]).groupby("cell", sort=True).head(1)
        return pd.concat([finals, best]).sort_values(["order", *CONFIGURATION, "seed"], ignore_index=True)

    def curves(self, run: str) -> pd.DataFrame:
        """The curves of a run, one row per epoch; empty where there are none."""
        try:
            return self.folder.curves(run)
        except (OSError, ValueError) as error:
            raise Corrupt(
                f"the curves of run {run} cannot be read ({error}); delete its folder and run it again"
            ) from None

    def parts(self, entries: pd.DataFrame, key: str) -> pd.DataFrame:
        """The rows of "curves", or of a record's list "layers" or "phases", of some entries, each told whose it is."""
        found = []
        for entry in dicts(entries):
            rows = self.curves(entry["run"]) if key == "curves" else pd.DataFrame(self.records[entry["run"]][key])
            whose = {name: entry[name] for name in (*CONFIGURATION, *WHOSE, "method", "model", "target", "seed", "run")}
            found.append(rows.assign(**whose, label=label(entry), place=range(len(rows))))
        return pd.concat(found, ignore_index=True) if any(map(len, found)) else pd.DataFrame()


def dicts(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as dicts."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def called(entry: Mapping[str, Any]) -> str:
    """The method's name as it is shown: a reconstruction carries a dagger, which `NOTE` explains, and what a record is
    labelled with stands behind it, as in "depgraph (masked channels)"."""
    said = entry.get("said")
    known = isinstance(said, str) and said != ""  # a paper's row has none
    return f"{entry['method']}{DAGGER if entry['reconstruction'] else ''}{f' ({said})' if known else ''}"


def called_cell(entry: Mapping[str, Any]) -> str:
    """A cell's name as it is shown, such as "sap/test_vit" or "drop†/test_vit@0.9"."""
    return called(entry) + str(entry["cell"]).removeprefix(entry["method"])


def label(entry: Mapping[str, Any]) -> str:
    """The short name of an entry's configuration: "sap #5", "gradual @0.9 #5" (5: the trial), "sap @0.9" where nothing is
    tuned, or "drop† away only"."""
    if entry["kind"] == "baseline":
        own = entry["variant"] if str(entry["variant"]).startswith("of ") else entry["group"]
        return f"{called(entry)} {own}".rstrip()
    if entry["order"] >= 0:
        return f"{called(entry)} {entry['variant']}".rstrip()
    target = f" @{entry['target']:g}" if not math.isnan(entry["target"]) else ""
    trial = f" #{entry['number']}" if entry.get("tuned", True) else ""
    return f"{called(entry)}{target}{trial} {entry['variant']}".rstrip()


def load(folder: Folder, name: str) -> Study:
    """Read one study with the records of all its runs.

    Raises:
        BenchError: records of a schema that this version does not know, or files that cannot be read.
    """
    declared = folder.study(name)
    if declared.get("schema", SCHEMA) > SCHEMA:
        raise BenchError(
            f"records of schema {SCHEMA} can be read, but study {name!r} has {declared['schema']}; update this package"
        )
    entries = list(folder.entries(name))
    records = {e["run"]: folder.record(e["run"]) for e in entries if e.get("run")}
    known = {run: record for run, record in records.items() if record is not None}
    rows = [_row(entry, declared, known) for entry in entries]
    frame = pd.DataFrame(rows, columns=[*COLUMNS, DENSE, *WHOSE, *METRICS, "seconds"])
    frame = frame.sort_values(["order", *CONFIGURATION, "seed"], ignore_index=True)
    return Study(name, declared, frame, known, folder)


def _row(entry: Mapping[str, Any], declared: Mapping[str, Any], records: Mapping[str, Any]) -> dict[str, Any]:
    method, _, model = str(entry["cell"]).partition("/")
    cells = {**declared.get("cells", {}), **declared.get("baselines", {})}
    cell = {
        "method": method,
        "model": model,
        "target": None,
        **cells.get(entry["cell"], cells.get(entry.get("of"), {})),
    }
    if entry.get("of"):
        cell |= {"method": method, "reconstruction": False}
    record = records.get(str(entry.get("run")))
    state = entry["state"] if entry["state"] != "finished" or record else "missing"
    own = {key: entry.get(key) for key in COLUMNS} | {key: cell[key] for key in ("method", "model", "target")}
    if own["target"] is None:
        own["target"] = math.nan
    params = entry.get("params") or dict(s.split("=", 1) for s in cell.get("settings") or ())
    own[DENSE] = entry.get(DENSE, entry["seed"])
    own |= {"state": state, "params": params, "values": entry.get("values") or []}
    own |= {"reconstruction": _reconstructed(cell, declared), **_place(entry, cell, declared)}
    own |= {"said": (record or {}).get("label", ""), "tuned": declared.get("trials") != 0}
    metrics, cost = (record["metrics"], record["cost"]) if record else ({}, {})
    return own | {k: metrics.get(m, math.nan) for k, m in METRICS.items()} | {"seconds": cost.get("seconds", math.nan)}


def _reconstructed(cell: Mapping[str, Any], declared: Mapping[str, Any]) -> bool:
    return bool(cell.get("reconstruction", cell["method"] in declared.get("reconstructions", {})))


def _place(entry: Mapping[str, Any], cell: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    """A grid's variant with its group and its place among all variants."""
    if declared.get("kind") == "grid" and entry["kind"] != "baseline":
        return {"variant": cell.get("variant") or "", "group": cell.get("group") or "", "order": entry["number"]}
    target = cell["target"]
    if entry.get("of"):
        group = cell.get("group") or ("" if target is None else f"@{target:g}")
        order = entry["number"] if declared.get("kind") == "grid" else -1
        return {"variant": f"of {str(entry['cell']).partition(':')[2]}", "group": group, "order": order}
    recovery = f" recovery={cell['recovery']}" if cell.get("recovery") else ""
    return {"variant": recovery.strip(), "group": "" if target is None else f"@{target:g}{recovery}", "order": -1}


def methods(studies: Iterable[Study]) -> list[str]:
    """The methods in some studies, sorted, without what was injected beside them."""
    read = list(studies)
    every = {m for study in read for m in (*study.entries["method"], *study.declared["methods"])}
    return sorted(every - {*injected(read)})


def injected(studies: Iterable[Study]) -> list[str]:
    """The baselines and derived controls of some studies, sorted, that are a method of none of them."""
    read = list(studies)
    asked = {m for study in read for m in study.declared["methods"]}
    found = [study.entries.loc[study.entries["kind"] == "baseline", "method"] for study in read]
    return sorted({m for names in found for m in names} - asked)

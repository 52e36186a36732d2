"""The finals of a study in the form that `reports.statistics` compares."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from bench.records.study_record import CellRecord
from reports.load.attained import missed
from reports.load.records import CONTROL, DENSE, Study, called, dicts, label
from reports.load.units import by_dense_model
from reports.tables.columns import Row

FRAME = ["cell", "method", "seed", "score", "name", "reconstruction", "weights_left", "missed"]
FRAME += ["pair", "control", "dense", "validation", "candidate"]
RANDOM = "random"


def tidy(study: Study) -> pd.DataFrame:
    """Returns the finals of a study as the frame of `reports.statistics`: test top-1 in per cent, NaN for a run that failed.

    A cell is a model at one target (of a ladder) or in one group of variants (of a grid). ``method`` is the name as it is
    shown, with a dagger for a reconstruction, and with the variant where a cell has several of the method; ``name`` is the
    method's own. A run outside its target's tolerance has failed; ``missed``: its size is outside the narrower tolerance of
    the protocol (`reports.load.attained`). Baselines at one of the targets are included. Excluded are dense controls and
    other baselines without a target, controls derived from a final, runs that are not finished or have not opened the test
    split, and the finals of a Pareto study, because they differ in size.

    There is one row per dense model: ``seed`` is that of the dense model, and a score is the mean over the prunings of it,
    NaN where one of them failed. So n counts independent values everywhere.

    ``pair`` is the task and the model; ``dense`` the test top-1 of the dense model with this seed, NaN where it has none;
    ``control``: random pruning that was added to the methods; ``validation`` top-1; ``candidate``: whether it can be the
    baseline that others are compared with (`baselines`).
    """
    entries = study.entries
    beside = (entries["kind"] == "baseline") & entries["target"].notna() & ~entries["variant"].str.startswith("of ")
    rows = entries[((entries["kind"] == "final") | beside) & (entries["method"] != CONTROL)]
    finished = rows["state"] == "finished"
    known = (rows["state"] == "failed") | (finished & rows["test_top1"].notna())
    if study.pareto:
        known &= False
    rows = rows.assign(score=rows["test_top1"].where(finished), validation=rows["val_top1"].where(finished))
    dense, tuned = _dense(study), _tuned(study)
    found = []
    for entry in dicts(rows[known]):
        whose = {"cell": cell(entry), "method": called(entry), "seed": entry[DENSE], "longer": label(entry)}
        whose |= {"weights_left": entry["weights_left"], "missed": _missed(study, entry), "run_seed": entry["seed"]}
        named = {"name": entry["method"], "reconstruction": entry["reconstruction"]}
        place = {"pair": f"{study.declared.task}/{entry['model']}", "control": _control(study, entry)}
        place |= {"dense": dense.get((entry["model"], entry[DENSE]), math.nan), "validation": entry["validation"]}
        place["candidate"] = _candidate(study, entry, tuned) and not place["control"]
        found.append({**whose, **named, **place, "score": entry["score"]})
    frame = pd.DataFrame(found, columns=[*FRAME, "longer", "run_seed"])
    if frame.duplicated(["cell", "method", "seed", "run_seed"]).any():
        frame["method"] = frame["longer"]
    return _by_dense_model(frame)[FRAME].sort_values(["cell", "method", "seed"], ignore_index=True)


def _missed(study: Study, entry: Row) -> bool:
    return entry["state"] == "finished" and missed(study.records[entry["run"]]) > 0


def _by_dense_model(frame: pd.DataFrame) -> pd.DataFrame:
    """The mean score over the prunings of each dense model; NaN where one of them failed."""
    rows = []
    for _, own in frame.groupby(["cell", "method", "seed"], sort=True):
        first, score = dicts(own)[0], own["score"].mean(skipna=False)
        means = {key: own[key].mean() for key in ("weights_left", "validation")}
        rows.append({**first, **means, "missed": bool(own["missed"].any()), "score": score})
    return pd.DataFrame(rows, columns=frame.columns)


def _dense(study: Study) -> dict[tuple[str, int], float]:
    """The test top-1 of each dense model, by architecture and seed."""
    controls = study.done("baseline")
    controls = controls[controls["method"] == CONTROL]
    found: dict[tuple[str, int], float] = {}
    for model, own in controls.groupby("model", sort=True):
        means = by_dense_model(own, "test_top1")
        found |= {(str(model), seed): score for seed, score in zip(means.index.tolist(), means.tolist(), strict=True)}
    return found


def _control(study: Study, entry: Row) -> bool:
    """Whether an entry is random pruning, and was added to the methods."""
    if entry["kind"] != "baseline":
        return False
    declared = study.declared.baselines.get(entry["cell"], CellRecord(entry["method"], entry["model"]))
    values = {setting.partition("=")[2] for setting in declared.settings or ()}
    return RANDOM in values or declared.method == RANDOM


def _tuned(study: Study) -> set[str]:
    """The cells of added baselines that have trials."""
    cells = set(study.entries.loc[study.entries["kind"] == "trial", "cell"])
    return cells & set(study.declared.baselines)


def _candidate(study: Study, entry: Row, tuned: set[str]) -> bool:
    """Whether an entry is an added baseline (where any was tuned, a tuned one), or the declared one."""
    if entry["kind"] == "baseline" and tuned:
        return entry["cell"] in tuned
    return bool(entry["kind"] == "baseline" or entry["method"] == study.declared.baseline)


def cell(entry: Row) -> str:
    """The cell of an entry as it is shown, such as "test_vit@0.9" or "test_vit: a group"."""
    group = entry["group"]
    if group.startswith("@"):
        return f"{entry['model']}{group}"
    if group:
        return f"{entry['model']}: {group}"
    return str(entry["model"])


def baselines(study: Study, frame: pd.DataFrame) -> dict[str, str]:
    """Returns the baseline of each cell, as the frame names it, that the other methods are compared with.

    It is the candidate with the highest mean validation top-1 in the cell: of the added baselines (of the tuned ones where any
    was tuned; never a control) and the declared ``baseline``. Without a candidate it is the first of the study's methods,
    unless another was declared. Cells in which it has no run are left out. The choice never looks at the test split.
    """
    first = ""
    if not study.declared.baseline:
        first = next(iter(study.declared.methods), "")
    found: dict[str, str] = {}
    for where, own in frame.groupby("cell", sort=True):
        some = own[own["candidate"].astype(bool)]
        if not len(some):
            some = own[own["name"] == first]
        means = some.groupby("method", sort=True)["validation"].mean().fillna(-math.inf)
        if len(means):
            found[str(where)] = str(means.idxmax())
    return found


def told(chosen: Mapping[str, str]) -> str:
    """How text names the baseline: by its name where it is the same in all cells."""
    names = set(chosen.values())
    if len(names) == 1:
        return names.pop()
    if names:
        return "the best baseline"
    return "the baseline"

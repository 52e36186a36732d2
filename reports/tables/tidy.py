"""The finals of a study in the form that `reports.statistics` compares."""

from __future__ import annotations

import pandas as pd

from reports.load.attained import missed
from reports.load.records import CONTROL, DENSE, Study, called, dicts, label
from reports.tables.columns import Row

FRAME = ["cell", "method", "seed", "score", "name", "reconstruction", "weights_left", "missed"]


def tidy(study: Study) -> pd.DataFrame:
    """Returns the finals of a study as the frame of `reports.statistics`: test top-1 in per cent, NaN for a run that failed.

    A cell is a model at one target (of a ladder) or in one group of variants (of a grid). ``method`` is the name as it is
    shown, with a dagger for a reconstruction, and with the variant where a cell has several of the method; ``name`` is the
    method's own. A run outside its target's tolerance has failed; ``missed``: its size is outside the narrower tolerance of
    the protocol (`reports.load.attained`). Baselines at one of the targets are included. Excluded are dense controls and
    other baselines without a target, controls derived from a final, runs that are not finished or have not opened the test
    split, and the finals of a Pareto study, because they differ in size.

    Where dense models and prunings have separate seeds, a score is the mean over the prunings of one dense model, and
    ``seed`` is that of the dense model, so that n counts independent values. With one dense model, n counts its prunings.
    """
    entries = study.entries
    beside = (entries["kind"] == "baseline") & entries["target"].notna() & ~entries["variant"].str.startswith("of ")
    rows = entries[((entries["kind"] == "final") | beside) & (entries["method"] != CONTROL)]
    finished = rows["state"] == "finished"
    known = (rows["state"] == "failed") | (finished & rows["test_top1"].notna())
    if study.pareto:
        known &= False
    rows = rows.assign(score=rows["test_top1"].where(finished))
    found = []
    for entry in dicts(rows[known]):
        whose = {"cell": cell(entry), "method": called(entry), "seed": entry["seed"], "longer": label(entry)}
        whose |= {"weights_left": entry["weights_left"], "missed": _missed(study, entry), DENSE: entry[DENSE]}
        named = {"name": entry["method"], "reconstruction": entry["reconstruction"]}
        found.append({**whose, **named, "score": entry["score"]})
    frame = pd.DataFrame(found, columns=[*FRAME, "longer", DENSE])
    if frame.duplicated(["cell", "method", "seed", DENSE]).any():
        frame["method"] = frame["longer"]
    if frame[DENSE].nunique() > 1 and frame.duplicated(["cell", "method", DENSE]).any():
        frame = _by_dense_model(frame)
    return frame[FRAME].sort_values(["cell", "method", "seed"], ignore_index=True)


def _missed(study: Study, entry: Row) -> bool:
    return entry["state"] == "finished" and missed(study.records[entry["run"]]) > 0


def _by_dense_model(frame: pd.DataFrame) -> pd.DataFrame:
    """The mean score over the prunings of each dense model; NaN where one of them failed."""
    rows = []
    for _, own in frame.groupby(["cell", "method", DENSE], sort=True):
        first, score = dicts(own)[0], own["score"].mean(skipna=False)
        size = {"weights_left": own["weights_left"].mean(), "missed": bool(own["missed"].any())}
        rows.append({**first, **size, "score": score, "seed": first[DENSE]})
    return pd.DataFrame(rows, columns=frame.columns)


def cell(entry: Row) -> str:
    """The cell of an entry as it is shown, such as "test_vit@0.9" or "test_vit: a group"."""
    group = entry["group"]
    if group.startswith("@"):
        return f"{entry['model']}{group}"
    if group:
        return f"{entry['model']}: {group}"
    return str(entry["model"])


def baseline(study: Study, frame: pd.DataFrame) -> str:
    """The method that a study compares the others with, as the frame names it: the declared ``baseline``, else the first of
    its methods; "" where it has no run."""
    name = study.declared.baseline or next(iter(study.declared.methods), "")
    return next(iter(sorted(frame.loc[frame["name"] == name, "method"])), "")

"""The finals of a study as the form that `reports.statistics` compares."""

from __future__ import annotations

import math

import pandas as pd

from reports.load.attained import missed
from reports.load.records import CONTROL, DENSE, Study, called, dicts, label
from reports.tables.columns import Row

FRAME = ["cell", "method", "seed", "score", "name", "reconstruction", "weights_left", "missed"]


def tidy(study: Study) -> pd.DataFrame:
    """The finals of a study as the frame of `reports.statistics`: test top-1 in per cent, NaN for a run that failed.

    A cell is a model at one target (a ladder's) or in one group of variants (a grid's). ``method`` is the name as it is
    shown, with a dagger where it is a reconstruction, and with its variant where a cell has several of the method; ``name``
    is the method's own. A run that missed its target's tolerance has failed; ``missed``: its size is not within that of the
    protocol, which is narrower (`reports.load.attained`). Baselines at one of the targets are there too. Not there:
    dense controls
    and whatever else is of another size, or follows from a final; runs under way, or that have not opened the test split; and
    the finals of a Pareto study, of which no two are of one size.

    Where dense models and prunings have seeds of their own, a score is the mean over the prunings of one dense model, and
    ``seed`` is that model's: so n counts what is independent. With one dense model, n counts its prunings.
    """
    entries = study.entries
    beside = (entries["kind"] == "baseline") & entries["target"].notna() & ~entries["variant"].str.startswith("of ")
    rows = entries[((entries["kind"] == "final") | beside) & (entries["method"] != CONTROL)]
    known = (rows["state"] == "failed") | ((rows["state"] == "finished") & rows["test_top1"].notna())
    found = []
    for entry in dicts(rows[known]) if not study.pareto else []:
        whose = {"cell": cell(entry), "method": called(entry), "seed": entry["seed"], "longer": label(entry)}
        score = entry["test_top1"] if entry["state"] == "finished" else math.nan
        whose |= {"weights_left": entry["weights_left"], "missed": _missed(study, entry), DENSE: entry[DENSE]}
        found.append({**whose, "score": score, "name": entry["method"], "reconstruction": entry["reconstruction"]})
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
    """The cell of an entry as it is shown."""
    group = entry["group"]
    if group.startswith("@"):
        return f"{entry['model']}{group}"
    return f"{entry['model']}: {group}" if group else str(entry["model"])


def baseline(study: Study, frame: pd.DataFrame) -> str:
    """What a study compares its methods with, as the frame names it: the ``baseline`` of its declaration, else the first of
    its methods; "" where that has no run."""
    name = study.declared.baseline or next(iter(study.declared.methods), "")
    return next(iter(sorted(frame.loc[frame["name"] == name, "method"])), "")

"""The tables of the report: finals, configurations, failures and runs, each as data and as text.

The numbers of a table are computed from rows here and nowhere else. What a paper claims stands in rows of its own, in
italics, and never enters a statistic.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench.claims import Claim
from reports.load.records import CONFIGURATION, Study, called_cell, dicts, label
from reports.statistics.summary import mean
from reports.tables.columns import Column, Table, fixed, interval, percent, settings, short, text


def finals_frame(study: Study) -> pd.DataFrame:
    """One row per configuration with finished finals, and one per paper's claim about a method of the study.

    Top-1 in per cent, shares from 0 to 1; ``*_half`` is the half width of the 95 % t interval, NaN for one seed.
    """
    rows = []
    for _, own in study.done("final", "baseline").groupby(CONFIGURATION, sort=True):
        first = dicts(own)[0]
        found: dict[str, Any] = {
            "claim": False,
            "method": first["method"],
            "model": first["model"],
            "label": label(first),
            "group": first["group"] if study.grid else "",
            "order": first["order"],
        }
        for key in ("test_top1", "val_top1"):
            over = mean(own[key])
            found |= {key: over.mean, f"{key}_std": over.std, f"{key}_half": over.half, f"{key}_n": over.n}
        found |= {key: mean(own[key]).mean for key in ("sparsity", "weights_left", "macs_left", "bytes", "seconds")}
        found |= {"n": len(own), "seeds": own["seed"].tolist(), "runs": own["run"].tolist(), "source": ""}
        rows.append(found)
    for method, claims in sorted(study.declared.claims.items()):
        rows += [_claim(method, claim, study) for claim in claims]
    frame = pd.DataFrame(rows, columns=[*FINALS, "order"])
    by = ["method", "claim", "model", "label"]
    if study.grid and not frame["group"].any():  # model by model, each with its control, then the papers
        by = ["claim", "model", "order", "method"]
    elif study.grid:  # the control, then group by group in the order declared, then the papers
        place = frame.groupby("group")["order"].transform("min").fillna(len(frame))
        frame, by = frame.assign(place=place), ["claim", "place", "order", "method", "model"]
    return frame.sort_values(by, kind="stable", ignore_index=True)[FINALS]


FINALS = [
    *(
        "claim",
        "group",
        "method",
        "model",
        "label",
        "n",
        "seeds",
        "test_top1",
        "test_top1_half",
        "test_top1_std",
        "test_top1_n",
    ),
    *("val_top1", "val_top1_half", "val_top1_std", "val_top1_n", "sparsity", "weights_left", "macs_left", "bytes"),
    *("seconds", "source", "runs"),
]


def _claim(method: str, claim: Claim, study: Study) -> dict[str, Any]:
    ours = {"task": claim.task == study.declared.task, "model": claim.model in study.declared.models}
    other = [what for what, same in ours.items() if not same]
    differs = f"differs in {' and '.join(other)}" if other else "same task and model, but not the same recipe"
    words = "; ".join(str(part) for part in (claim.source, claim.note, differs) if part)
    model = f"{claim.model} ({claim.task})"
    found = {"claim": True, "group": "", "method": method, "model": model, "label": f"{method}, paper", "source": words}
    return found | {
        "test_top1": claim.accuracy,
        "sparsity": claim.sparsity,
        "n": None,
        "seeds": [],
        "runs": [],
    }


def finals(study: Study) -> Table:
    """Our finals, with the papers' claims beside them in italics."""
    chosen = "; #k is the trial that was chosen" if study.tuned else ""
    caption = (
        "Mean over n seeds that tuning never used, ± half the width of the 95 % t interval (no interval for one "
        "seed). Test top-1 was read once per run; validation top-1 is of the same runs. Sparsity is over prunable weights, "
        "weights left over all convolution and linear weights, MACs left counts zero weights as skipped; kB is the "
        f"compressed file. Accuracies and shares are in per cent{chosen}. Italic rows are what papers "
        "report, in other settings: no part of any statistic."
    )
    frame = finals_frame(study)
    group = (Column("group", "group", text("group")),) if frame["group"].any() else ()
    columns = (
        *group,
        Column("model", "model", text("model")),
        Column("method", "label", text("label")),
        Column("n", "n", fixed("n", 0), number=True),
        Column("test top-1", "test_top1", interval("test_top1", "test_top1_half"), number=True),
        Column("val. top-1", "val_top1", fixed("val_top1", 2), number=True),
        Column("sparsity", "sparsity", percent("sparsity"), number=True),
        Column("weights left", "weights_left", percent("weights_left"), number=True),
        Column("MACs left", "macs_left", percent("macs_left"), number=True),
        Column("kB", "bytes", fixed("bytes", 1, 1e-3), number=True),
        Column("seconds", "seconds", fixed("seconds", 1), number=True),
        Column(
            "runs or source",
            "source",
            lambda row: row["source"] or " ".join(row["runs"]),
            runs=True,
            long=True,
            paper=False,
        ),
    )
    return Table("finals", "Finals", caption, frame, columns)


def configurations(study: Study) -> Table:
    """The configurations that went to the finals, with the validation numbers that chose them."""
    if study.grid:
        return _variants(study)
    chosen = study.entries[study.entries["kind"] == "final"].drop_duplicates(CONFIGURATION)
    trials = study.entries[study.entries["kind"] == "trial"].set_index(["cell", "number"])
    rows = []
    for entry in dicts(chosen):
        trial = (
            trials.loc[(entry["cell"], entry["number"])] if (entry["cell"], entry["number"]) in trials.index else None
        )
        top1, left, run = (
            (trial["val_top1"], trial["weights_left"], trial["run"]) if trial is not None else (None, None, "")
        )
        whose = {"model": entry["model"], "label": label(entry), "settings": settings(entry["params"])}
        rows.append({**whose, "val_top1": top1, "weights_left": left, "runs": [run] if run else []})
    columns = (
        Column("configuration", "label", text("label")),
        Column("model", "model", text("model")),
        Column("val. top-1 (%)", "val_top1", fixed("val_top1", 2), number=True),
        Column("weights left (%)", "weights_left", percent("weights_left"), number=True),
        Column("settings", "settings", short, long=True),
        Column("trial's run", "runs", lambda row: " ".join(row["runs"]), runs=True, paper=False),
    )
    frame = pd.DataFrame(rows, columns=["model", "label", "val_top1", "weights_left", "settings", "runs"])
    caption = f"What was chosen: {study.declared.select or 'not stated'}."
    return Table("configurations", "Chosen configurations", caption, frame, columns)


def _variants(study: Study) -> Table:
    """The variants of a grid as they were declared; facts that differ between models are told for each."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in study.declared.cells.values():
        facts = " ".join(f"{name}={value:.4g}" for name, value in (cell.facts or {}).items())
        whose = {"kind": "final", "order": 0, "method": cell.method, "variant": cell.variant or ""}
        name = label({**whose, "reconstruction": cell.reconstruction})
        settings = " ".join(cell.settings or ())
        row: dict[str, Any] = {"group": cell.group or "", "label": name, "settings": settings, "facts": {}}
        rows.setdefault((cell.method, name), row)["facts"][cell.model] = facts
    for row in rows.values():
        alike = len(set(row["facts"].values())) == 1
        told = [text if alike else f"{model}: {text}" for model, text in row["facts"].items() if text]
        row["facts"] = told[0] if alike and told else "; ".join(told)
    columns = (
        Column("group", "group", text("group")),
        Column("variant", "label", text("label")),
        Column("settings", "settings", short, long=True),
        Column("facts", "facts", text("facts"), long=True),
    )
    frame = pd.DataFrame(list(rows.values()), columns=["group", "label", "settings", "facts"])
    settings = " ".join(study.declared.settings)
    caption = f"The variants as they were declared, on top of the settings of all runs ({settings or 'none'})."
    return Table("configurations", "Variants", caption, frame, columns)


def failures(study: Study) -> Table:
    """Every run that did not end with a result, with its reason."""
    rows = study.entries[~study.entries["state"].isin(("finished", "running"))]
    reason = rows["reason"].fillna(rows["state"].map({"missing": "its record is not there"})).fillna("")
    whose = ["kind", "cell", "method", "reconstruction", "said", "number", "seed", "state"]
    frame = rows[whose].assign(reason=reason, runs=_ids(rows))
    columns = (
        Column("kind", "kind", text("kind")),
        Column("cell", "cell", called_cell),
        Column("number", "number", text("number"), number=True),
        Column("seed", "seed", text("seed"), number=True),
        Column("state", "state", text("state")),
        Column("reason", "reason", text("reason"), long=True),
        Column("run", "runs", lambda row: " ".join(row["runs"]), runs=True, paper=False),
    )
    caption = (
        f"Runs without a result: {len(frame)} of {len(study.entries)}. They are results too: counted, and never hidden."
    )
    return Table("failures", "Failures", caption, frame.reset_index(drop=True), columns)


def runs(study: Study) -> Table:
    """Every run of the study."""
    entries = study.entries
    frame = entries.drop(columns=["params", "values", "reason", "bytes"]).assign(
        settings=entries["params"].map(settings), runs=_ids(entries)
    )
    columns = (
        Column("run", "run", lambda row: " ".join(row["runs"]), runs=True),
        Column("kind", "kind", text("kind")),
        Column("cell", "cell", called_cell),
        Column("number", "number", text("number"), number=True),
        Column("seed", "seed", text("seed"), number=True),
        Column("state", "state", text("state")),
        Column("val. top-1", "val_top1", fixed("val_top1", 2), number=True),
        Column("test top-1", "test_top1", fixed("test_top1", 2), number=True),
        Column("weights left", "weights_left", percent("weights_left"), number=True),
        Column("MACs left", "macs_left", percent("macs_left"), number=True),
        Column("seconds", "seconds", fixed("seconds", 1), number=True),
        Column("settings", "settings", short, long=True, paper=False),
    )
    return Table(
        "runs",
        "Runs",
        f"All {len(frame)} runs of the study, one row each; accuracies and shares in per cent.",
        frame,
        columns,
    )


def _ids(entries: pd.DataFrame) -> pd.Series:
    return entries["run"].map(lambda run: [run] if run else [])

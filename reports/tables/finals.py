"""The tables that every study has: finals, configurations, failures and runs.

Their numbers are computed from the entries here and nowhere else. Numbers from papers are in separate rows, in italics, and
enter no statistic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.claims import Claim
from reports.load.records import CONFIGURATION, DENSE, Study, called_cell, dicts, label
from reports.load.units import by_dense_model
from reports.statistics.summary import accuracy, mean
from reports.tables.columns import RUNS_OR_SOURCE, Column, Table, fixed, interval, percent, settings, short, text


def finals_frame(study: Study) -> pd.DataFrame:
    """Returns one row per configuration with finished finals, and one per paper's claim about a method of the study.

    ``n`` dense models, whose prunings are averaged. Top-1 in per cent, shares from 0 to 1; ``*_half`` is the half width of the
    95 % t interval, NaN for one dense model; ``*_low`` and ``*_high`` are the ends of the interval that is shown.
    """
    rows = [_final(own, study) for _, own in study.done("final", "baseline").groupby(CONFIGURATION, sort=True)]
    for method, claims in sorted(study.declared.claims.items()):
        rows += [_claim(method, claim, study) for claim in claims]
    frame = pd.DataFrame(rows, columns=[*FINALS, "order"])
    by = ["method", "claim", "model", "label"]
    if study.grid and not frame["group"].any():  # by model, each with its control; then the papers
        by = ["claim", "model", "order", "method"]
    elif study.grid:  # the control, then the groups in the declared order, then the papers
        place = frame.groupby("group")["order"].transform("min").fillna(len(frame))
        frame, by = frame.assign(place=place), ["claim", "place", "order", "method", "model"]
    return frame.sort_values(by, kind="stable", ignore_index=True)[FINALS]


FINALS = ["claim", "group", "method", "model", "label", "n", "seeds"]
FINALS += [f"{name}{end}" for name in ("test_top1", "val_top1") for end in ("", "_half", "_low", "_high", "_std", "_n")]
FINALS += ["sparsity", "weights_left", "macs_left", "bytes", "seconds", "source", "runs"]


def _final(own: pd.DataFrame, study: Study) -> dict[str, Any]:
    """The row of a configuration, from its finished finals."""
    first = dicts(own)[0]
    found: dict[str, Any] = {"claim": False, "group": "", "label": label(first)}
    found |= {key: first[key] for key in ("method", "model", "order")}
    if study.grid:
        found["group"] = first["group"]
    for key in ("test_top1", "val_top1"):
        over = accuracy(by_dense_model(own, key))
        found |= {**over.prefixed(key), f"{key}_std": over.std, f"{key}_half": over.half, f"{key}_n": over.n}
    found |= {key: mean(own[key]).mean for key in ("sparsity", "weights_left", "macs_left", "bytes", "seconds")}
    return found | {"n": own[DENSE].nunique(), "seeds": own["seed"].tolist(), "runs": own["run"].tolist(), "source": ""}


def _claim(method: str, claim: Claim, study: Study) -> dict[str, Any]:
    """The row of a paper's claim, with how its setting differs from ours."""
    ours = {"task": claim.task == study.declared.task, "model": claim.model in study.declared.models}
    other = [what for what, same in ours.items() if not same]
    differs = "same task and model, but not the same recipe"
    if other:
        differs = f"differs in {' and '.join(other)}"
    source = "; ".join(str(part) for part in (claim.source, claim.note, differs) if part)
    model = f"{claim.model} ({claim.task})"
    found = {"claim": True, "group": "", "method": method, "model": model, "label": f"{method}, paper"}
    found |= {"test_top1": claim.accuracy, "sparsity": claim.sparsity, "n": None, "seeds": [], "runs": []}
    return {**found, "source": source}


def finals(study: Study) -> Table:
    """The table of our finals, with the papers' claims in italics."""
    chosen = "; #k is the trial that was selected" if study.tuned else ""
    caption = (
        "Mean over n seeds that tuning never used (of dense models, whose prunings are averaged), ± half the width of the "
        "95 % t interval, or in brackets the interval from logits, where that would leave 0 to 100 % (none for one seed). Test "
        "top-1 was measured once per run; validation top-1 is of the same runs. Sparsity is over prunable weights, weights "
        "left over all convolution and linear weights; MACs left do not count zero weights; kB is the compressed file. "
        f"Accuracies and shares are in per cent{chosen}. Italic rows are numbers from papers, in other settings: they enter no "
        "statistic."
    )
    frame, group = finals_frame(study), list[Column]()
    if frame["group"].any():
        group = [Column("group", "group", text("group"))]
    columns = (
        *group,
        Column("model", "model", text("model")),
        Column("method", "label", text("label")),
        Column("n", "n", fixed("n", 0), number=True),
        Column("test top-1", "test_top1", _test_top1, number=True),
        Column("val. top-1", "val_top1", fixed("val_top1", 2), number=True),
        Column("sparsity", "sparsity", percent("sparsity"), number=True),
        Column("weights left", "weights_left", percent("weights_left"), number=True),
        Column("MACs left", "macs_left", percent("macs_left"), number=True),
        Column("kB", "bytes", fixed("bytes", 1, 1e-3), number=True),
        Column("seconds", "seconds", fixed("seconds", 1), number=True),
        RUNS_OR_SOURCE,
    )
    return Table("finals", "Finals", caption, frame, columns)


_test_top1 = interval("test_top1", "test_top1_half", ends=("test_top1_low", "test_top1_high"))


def configurations(study: Study) -> Table:
    """The table of the selected configurations, with the validation numbers by which they were selected; of a grid, of all
    variants."""
    if study.grid:
        return _variants(study)
    chosen = study.entries[study.entries["kind"] == "final"].drop_duplicates(CONFIGURATION)
    trials = {(e["cell"], e["number"]): e for e in dicts(study.entries[study.entries["kind"] == "trial"])}
    rows = []
    for entry in dicts(chosen):
        trial = trials.get((entry["cell"], entry["number"]), {})
        measured = {key: trial.get(key) for key in ("val_top1", "weights_left")}
        whose = {"model": entry["model"], "label": label(entry), "settings": settings(entry["params"])}
        rows.append({**whose, **measured, "runs": [run for run in [trial.get("run")] if run]})
    columns = (
        Column("configuration", "label", text("label")),
        Column("model", "model", text("model")),
        Column("val. top-1 (%)", "val_top1", fixed("val_top1", 2), number=True),
        Column("weights left (%)", "weights_left", percent("weights_left"), number=True),
        Column("settings", "settings", short, long=True),
        Column("trial's run", "runs", lambda row: " ".join(row["runs"]), runs=True, paper=False),
    )
    frame = pd.DataFrame(rows, columns=["model", "label", "val_top1", "weights_left", "settings", "runs"])
    caption = f"How configurations were selected: {study.declared.select or 'not stated'}."
    return Table("configurations", "Selected configurations", caption, frame, columns)


def _variants(study: Study) -> Table:
    """The table of the variants of a grid as declared; facts that differ between models are listed by model."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in study.declared.cells.values():
        facts = " ".join(f"{name}={value:.4g}" for name, value in (cell.facts or {}).items())
        whose = {"kind": "final", "order": 0, "method": cell.method, "variant": cell.variant or ""}
        name = label({**whose, "reconstruction": cell.reconstruction})
        settings = " ".join(cell.settings or ())
        row: dict[str, Any] = {"group": cell.group or "", "label": name, "settings": settings, "facts": {}}
        rows.setdefault((cell.method, name), row)["facts"][cell.model] = facts
    for row in rows.values():
        row["facts"] = _facts(row["facts"])
    columns = (
        Column("group", "group", text("group")),
        Column("variant", "label", text("label")),
        Column("settings", "settings", short, long=True),
        Column("facts", "facts", text("facts"), long=True),
    )
    frame = pd.DataFrame(list(rows.values()), columns=["group", "label", "settings", "facts"])
    settings = " ".join(study.declared.settings)
    caption = f"The declared variants; their settings are added to those of all runs ({settings or 'none'})."
    return Table("configurations", "Variants", caption, frame, columns)


def _facts(by_model: Mapping[str, str]) -> str:
    """The facts of a variant: once where they are equal for all models, else by model."""
    if len(set(by_model.values())) == 1:
        return next(iter(by_model.values()))
    return "; ".join(f"{model}: {text}" for model, text in by_model.items() if text)


def failures(study: Study) -> Table:
    """The table of all runs without a result, with their reasons."""
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
    caption = f"Runs without a result: {len(frame)} of {len(study.entries)}. Failures are counted and always listed."
    return Table("failures", "Failures", caption, frame.reset_index(drop=True), columns)


def runs(study: Study) -> Table:
    """The table of all runs of the study."""
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
    """The id of each entry's run as a list, empty where it has none."""
    return pd.Series([[run for run in [own] if run] for own in entries["run"]], index=entries.index, dtype=object)

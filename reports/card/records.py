"""The card's rules 23 to 33: how speed, damage and origin are recorded, and that nothing is typed or left out."""

from __future__ import annotations

import json
import math
import re

from reports.card.evidence import MET, NONE, UNMET, Evidence, Verdict, counted, judged, listed, of_finals
from reports.load.records import dicts

TIMED = ("device", "precision", "memory_format", "threads", "mode", "batch", "n", "median_ms", "q1_ms", "q3_ms")
EASY = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")
REESTIMATED = re.compile(r"(^|[/_])(bn|batch_?norm|recalibrated|reestimated)([/_]|$)")
EFFECTIVE = re.compile(r"effective|disconnected")
ORIGIN = ("commit", "dirty", "versions", "hardware", "command", "started", "finished", "data")


@of_finals
def latency(found: Evidence) -> Verdict:
    """Rule 23: models that became smaller are timed in turns with their dense ones, under conditions that are written down."""
    sizes = [(e, found.metrics(e).get("params/all"), found.metrics(e).get("params/reference")) for e in found.finals]
    smaller = [entry for entry, left, whole in sizes if whole is not None and left != whole]
    if not smaller:
        return Verdict(NONE, "no model has become smaller, and no speed-up is claimed", found.link("finals"))
    timed = set[tuple[str, int]]()
    for entry in smaller:
        rows = (found.study.folder.speed(entry["run"]) or {"rows": []})["rows"]
        if rows and {row["model"] for row in rows} == {"dense", "pruned"} and all(k in r for r in rows for k in TIMED):
            timed.add((entry["cell"], entry["number"]))
    total = {(e["cell"], e["number"]) for e in smaller}
    text = f"{len(timed)} of {counted(len(total), 'configuration')} that became smaller timed in turns with the dense model"
    return judged(timed == total, text, found.link("speed", "costs", "runs"))


@of_finals
def three_accuracies(found: Evidence) -> Verdict:
    """Rule 24: accuracy right after pruning, after batch norms are estimated anew, and after recovery.

    A model without batch norms has none to estimate, and counts as not measured: records do not tell the two apart.
    """
    pruned = reestimated = 0
    for entry in found.finals:
        keys = set(found.metrics(entry)).union(*map(set, found.record(entry)["phases"]))
        pruned += any(key.startswith("after/") or key.endswith("top1_pruned") for key in keys)
        reestimated += any(map(REESTIMATED.search, keys))
    many = len(found.finals)
    text = f"after pruning in {pruned}, after re-estimating batch norms in {reestimated}, at the end in {many} of {many} finals"
    return judged(pruned == reestimated == many, text, found.link("damage", "runs"))


@of_finals
def layers(found: Evidence) -> Verdict:
    """Rule 25: the density of each layer, layers without any weight, and what of the rest is still connected."""
    many = len(found.finals)
    known = sum(bool(found.record(e)["layers"]) for e in found.finals)
    watched = [e for e in found.finals if "layers/collapsed" in found.metrics(e)]
    dead = sum(found.metrics(e)["layers/collapsed"] > 0 for e in watched)
    effective = sum(any(map(EFFECTIVE.search, found.metrics(e))) for e in found.finals)
    text = f"of {counted(many, 'final')} {known} with densities, {len(watched)} watched for collapse ({dead} have)"
    text += f", {effective} with what is still connected"
    return judged(known == len(watched) == effective == many, text, found.link("allocation", "layers"))


@of_finals
def damage(found: Evidence) -> Verdict:
    """Rule 26: loss, calibration, worst class and agreement with the dense model, on the test split."""
    wanted = {"loss": "test/loss", "calibration error": "test/ece", "worst class": "test/worst_class"}
    lacking = [name for name, key in wanted.items() if not all(key in found.metrics(e) for e in found.finals)]
    if not all(any("agreement" in key for key in found.metrics(e)) for e in found.finals):
        lacking.append("agreement with the dense model")
    where = found.printed("loss", "ece", "worst_class")
    text = (
        f"missing in some finals: {', '.join(lacking)}" if lacking else "loss, calibration, worst class and agreement"
    )
    text += "" if where else "; in no table"
    return judged(not lacking and bool(where), text, where or found.link("runs"))


def harder_tasks(found: Evidence) -> Verdict:
    """Rule 27: a task that is harder than the usual small images."""
    task = str(found.study.declared.get("task"))
    return judged(task not in EASY, f"the task is {task}", "facts")


@of_finals
def same_conditions(found: Evidence) -> Verdict:
    """Rule 28: one data set, one set of library versions, one commit and one machine for all that is compared."""
    where = [found.record(e)["provenance"] for e in found.runs]
    values = {
        "data": [(p.get("data") or {}).get("digest") for p in where],
        "versions": [p.get("versions") for p in where],
        "commit": [p.get("commit") for p in where],
        "hardware": [p.get("hardware") for p in where],
        "device": [p.get("device") for p in where],
    }
    counts = {name: len({json.dumps(v, sort_keys=True) for v in own}) for name, own in values.items()}
    several = [f"{n} different: {name}" for name, n in counts.items() if n > 1]
    return judged(not several, "; ".join(several) or f"all the same in {counted(len(where), 'run')}", "facts")


@of_finals
def provenance(found: Evidence) -> Verdict:
    """Rule 29: commit, changes, versions, machine, data, command and time of every run."""
    where = [found.record(e)["provenance"] for e in found.runs]
    lacking = sorted({key for p in where for key in ORIGIN if p.get(key) in (None, "", {})})
    dirty = sum(p.get("dirty") is True for p in where)
    text = f"missing: {', '.join(lacking)}" if lacking else f"complete in {counted(len(where), 'run')}"
    return judged(not lacking, text + (f"; {dirty} with changes not committed" if dirty else ""), "facts")


def protocol(found: Evidence) -> Verdict:
    """Rule 30: one version of the protocol."""
    records = found.study.records.values()
    if not records:
        return Verdict(NONE, "no run has a record yet", "facts")
    versions = sorted({str(found.study.declared.get("protocol")), *(str(r.get("protocol")) for r in records)})
    text = f"version {', '.join(versions)} in the declaration and {counted(len(records), 'record')}"
    return judged(len(versions) == 1, text, "facts")


def failures(found: Evidence) -> Verdict:
    """Rule 31: what failed is listed with its reason."""
    entries = found.study.entries
    lost = entries[~entries["state"].isin(("finished", "running"))]
    running = int((entries["state"] == "running").sum())
    ended, rest = len(entries) - running, f"; {running} more are under way or were cut off" if running else ""
    if not len(lost):
        return Verdict(NONE, f"none of {counted(ended, 'run')} failed{rest}", "failures")
    silent = int((lost["reason"].fillna("") == "").sum())
    text = f"{len(lost)} of {counted(ended, 'run')} failed, {silent} without a reason{rest}"
    return judged(not silent, text, "failures")


@of_finals
def computed(found: Evidence) -> Verdict:
    """Rule 32: the tables' means are those of the records, computed here once more in another way."""
    frame = found.tables["finals"]
    rows = dicts(frame[~frame["claim"].astype(bool)])
    wrong = 0
    for row in rows:
        values = [found.study.records[run]["metrics"].get("test/top1", math.nan) for run in row["runs"]]
        known = [v for v in values if not math.isnan(v)]
        again = math.fsum(known) / len(known) if known else math.nan
        same = math.isclose(again, row["test_top1"], rel_tol=1e-9) or (
            math.isnan(again) and math.isnan(row["test_top1"])
        )
        wrong += not same
    return judged(not wrong, f"{len(rows) - wrong} of {len(rows)} means computed twice and found the same", "finals")


def literature(found: Evidence) -> Verdict:
    """Rule 33: numbers from papers are in rows of their own, and in no statistic."""
    claims = sum(map(len, found.study.declared.get("claims", {}).values()))
    if not claims:
        return Verdict(NONE, "no number is from a paper", "finals")
    frame = found.tables["finals"]
    rows = frame[frame["claim"].astype(bool)]
    mixed = rows["label"].isin(frame.loc[~frame["claim"].astype(bool), "label"]) | (rows["runs"].map(len) > 0)
    sources = sorted(set(rows["source"].str.partition(",")[0]))
    state = MET if len(rows) == claims and not mixed.any() and rows["n"].isna().all() else UNMET
    return Verdict(state, f"{counted(len(rows), 'row')} in italics, without runs: {listed(sources)}", "finals")

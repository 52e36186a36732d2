"""The card's rules 23 to 33: how speed, damage and origin are recorded, and that nothing is typed or left out."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from bench.records.speed_record import DENSE, PRUNED, SpeedRow
from reports.card.evidence import MET, NONE, UNMET, Evidence, Verdict, counted, judged, listed, of_finals
from reports.load.records import dicts

EASY = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")
REESTIMATED = re.compile(r"(^|[/_])(bn|batch_?norm|recalibrated|reestimated)([/_]|$)")
EFFECTIVE = re.compile(r"effective|disconnected")
ORIGIN = ("commit", "dirty", "versions", "hardware", "command", "started", "finished", "data")


@of_finals
def latency(found: Evidence) -> Verdict:
    """Rule 23: models that became smaller are timed in turns with their dense ones, under conditions that are written down."""
    sizes = [(e, found.metrics(e)) for e in found.finals if found.metrics(e).measured("params_reference")]
    smaller = [entry for entry, size in sizes if size.params_all != size.params_reference]
    if not smaller:
        return Verdict(NONE, "no model has become smaller, and no speed-up is claimed", found.link("finals"))
    timed = set[tuple[str, int]]()
    for entry in smaller:
        speed = found.study.folder.speed(entry["run"])
        if (
            speed is not None
            and {row.model for row in speed.rows} == {DENSE, PRUNED}
            and all(map(_complete, speed.rows))
        ):
            timed.add((entry["cell"], entry["number"]))
    total = {(e["cell"], e["number"]) for e in smaller}
    text = f"{len(timed)} of {counted(len(total), 'configuration')} that became smaller timed in turns with the dense model"
    return judged(timed == total, text, found.link("speed", "costs", "runs"))


def _complete(row: SpeedRow) -> bool:
    """Whether the conditions of a time, and its spread, are written down."""
    return bool(row.memory_format and row.threads and row.n) and not math.isnan(row.median_ms + row.q1_ms + row.q3_ms)


@of_finals
def three_accuracies(found: Evidence) -> Verdict:
    """Rule 24: accuracy right after pruning, after batch norms are estimated anew, and after recovery.

    A model without batch norms has none to estimate, and counts as not measured: records do not tell the two apart.
    """
    pruned = reestimated = 0
    for entry in found.finals:
        record, metrics = found.record(entry), found.metrics(entry)
        after = any(not math.isnan(phase.after_val_top1) for phase in record.phases)
        pruned += after or metrics.measured("val_top1_pruned")
        reestimated += any(map(REESTIMATED.search, metrics.numbers()))
    many = len(found.finals)
    text = f"after pruning in {pruned}, after re-estimating batch norms in {reestimated}, at the end in {many} of {many} finals"
    return judged(pruned == reestimated == many, text, found.link("damage", "runs"))


@of_finals
def layers(found: Evidence) -> Verdict:
    """Rule 25: the density of each layer, layers without any weight, and what of the rest is still connected."""
    many = len(found.finals)
    known = sum(bool(found.record(e).layers) for e in found.finals)
    watched = [e for e in found.finals if found.metrics(e).measured("layers_collapsed")]
    dead = sum(found.metrics(e).layers_collapsed > 0 for e in watched)
    effective = sum(any(map(EFFECTIVE.search, found.metrics(e).numbers())) for e in found.finals)
    text = f"of {counted(many, 'final')} {known} with densities, {len(watched)} watched for collapse ({dead} have)"
    text += f", {effective} with what is still connected"
    return judged(known == len(watched) == effective == many, text, found.link("allocation", "layers"))


@of_finals
def damage(found: Evidence) -> Verdict:
    """Rule 26: loss, calibration, worst class and agreement with the dense model, on the test split."""
    wanted = {"loss": "test_loss", "calibration error": "test_ece", "worst class": "test_worst_class"}
    lacking = [name for name, key in wanted.items() if not all(found.metrics(e).measured(key) for e in found.finals)]
    if not all(any("agreement" in key for key in found.metrics(e).numbers()) for e in found.finals):
        lacking.append("agreement with the dense model")
    where = found.printed("loss", "ece", "worst_class")
    text = (
        f"missing in some finals: {', '.join(lacking)}" if lacking else "loss, calibration, worst class and agreement"
    )
    text += "" if where else "; in no table"
    return judged(not lacking and bool(where), text, where or found.link("runs"))


def harder_tasks(found: Evidence) -> Verdict:
    """Rule 27: a task that is harder than the usual small images."""
    task = found.study.declared.task
    return judged(task not in EASY, f"the task is {task}", "facts")


@of_finals
def same_conditions(found: Evidence) -> Verdict:
    """Rule 28: one data set, one set of library versions, one commit and one machine for all that is compared."""
    where = [found.record(e).provenance for e in found.runs]
    values: dict[str, list[Any]] = {
        "data": [p.data.get("digest") for p in where],
        "versions": [p.versions for p in where],
        "commit": [p.commit for p in where],
        "hardware": [p.hardware for p in where],
        "device": [p.device for p in where],
    }
    counts = {name: len({json.dumps(v, sort_keys=True) for v in own}) for name, own in values.items()}
    several = [f"{n} different: {name}" for name, n in counts.items() if n > 1]
    return judged(not several, "; ".join(several) or f"all the same in {counted(len(where), 'run')}", "facts")


@of_finals
def provenance(found: Evidence) -> Verdict:
    """Rule 29: commit, changes, versions, machine, data, command and time of every run."""
    where = [found.record(e).provenance for e in found.runs]
    lacking = sorted({key for p in where for key in ORIGIN if getattr(p, key) in (None, "", {})})
    dirty = sum(p.dirty is True for p in where)
    text = f"missing: {', '.join(lacking)}" if lacking else f"complete in {counted(len(where), 'run')}"
    return judged(not lacking, text + (f"; {dirty} with changes not committed" if dirty else ""), "facts")


def protocol(found: Evidence) -> Verdict:
    """Rule 30: one version of the protocol."""
    records = found.study.records.values()
    if not records:
        return Verdict(NONE, "no run has a record yet", "facts")
    versions = sorted({found.study.declared.protocol, *(record.protocol for record in records)})
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
        values = [found.study.records[run].metrics.test_top1 for run in row["runs"]]
        known = [v for v in values if not math.isnan(v)]
        again = math.fsum(known) / len(known) if known else math.nan
        same = math.isclose(again, row["test_top1"], rel_tol=1e-9) or (
            math.isnan(again) and math.isnan(row["test_top1"])
        )
        wrong += not same
    return judged(not wrong, f"{len(rows) - wrong} of {len(rows)} means computed twice and found the same", "finals")


def literature(found: Evidence) -> Verdict:
    """Rule 33: numbers from papers are in rows of their own, and in no statistic."""
    claims = sum(map(len, found.study.declared.claims.values()))
    if not claims:
        return Verdict(NONE, "no number is from a paper", "finals")
    frame = found.tables["finals"]
    rows = frame[frame["claim"].astype(bool)]
    mixed = rows["label"].isin(frame.loc[~frame["claim"].astype(bool), "label"]) | (rows["runs"].map(len) > 0)
    sources = sorted(set(rows["source"].str.partition(",")[0]))
    state = MET if len(rows) == claims and not mixed.any() and rows["n"].isna().all() else UNMET
    return Verdict(state, f"{counted(len(rows), 'row')} in italics, without runs: {listed(sources)}", "finals")

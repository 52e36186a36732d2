"""The card's rules 23 to 33: latency, damage, tasks, provenance, failures, and the origin of the reported numbers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from bench.records.speed_record import DENSE, PRUNED, SpeedRow
from reports.card.evidence import NONE, UNMET, Evidence, Row, Verdict, also, judged, lacking, listed, of_finals
from reports.load.records import DENSE as DENSE_SEED
from reports.load.records import Study, dicts
from reports.tables.columns import counted

EASY = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")
REESTIMATED = re.compile(r"(^|[/_])(bn|batch_?norm|recalibrated|reestimated)([/_]|$)")
EFFECTIVE = re.compile(r"effective|disconnected")
CONDITIONS = ("data", "versions", "commit", "hardware", "device")
ORIGIN = ("commit", "dirty", "versions", "hardware", "command", "started", "finished", "data")


@of_finals
def latency(found: Evidence) -> Verdict:
    """Rule 23: smaller models are timed alternately with their dense models, and the conditions are recorded."""
    sizes = [(e, found.metrics(e)) for e in found.finals if found.metrics(e).measured("params_reference")]
    smaller = [entry for entry, size in sizes if size.params_all != size.params_reference]
    if not smaller:
        return Verdict(NONE, "no model is physically smaller, and no speed-up is claimed", found.link("finals"))
    timed = set[tuple[str, int]]()
    for entry in smaller:
        speed = found.study.folder.speed(entry["run"])
        if speed is not None and _timed(speed.rows):
            timed.add((entry["cell"], entry["number"]))
    total = {(e["cell"], e["number"]) for e in smaller}
    text = f"{len(timed)} of {counted(len(total), 'configuration')} with smaller models timed alternately with the dense model"
    return judged(timed == total, text, found.link("speed", "costs", "runs"))


def _timed(rows: Sequence[SpeedRow]) -> bool:
    """Whether a dense and a pruned model were timed, and the conditions and spread of all times are recorded."""
    return {row.model for row in rows} == {DENSE, PRUNED} and all(map(_complete, rows))


def _complete(row: SpeedRow) -> bool:
    """Whether the conditions of a time, and its spread, are recorded."""
    return bool(row.memory_format and row.threads and row.n) and not math.isnan(row.median_ms + row.q1_ms + row.q3_ms)


@of_finals
def three_accuracies(found: Evidence) -> Verdict:
    """Rule 24: accuracy right after pruning, after re-estimating batch norms, and after recovery.

    A model without batch norms counts as not measured, because records do not distinguish the two cases.
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
    """Rule 25: the density of each layer, collapsed layers, and the number of weights that are still connected."""
    many = len(found.finals)
    known = sum(bool(found.record(e).layers) for e in found.finals)
    watched = [e for e in found.finals if found.metrics(e).measured("layers_collapsed")]
    dead = sum(found.metrics(e).layers_collapsed > 0 for e in watched)
    effective = sum(any(map(EFFECTIVE.search, found.metrics(e).numbers())) for e in found.finals)
    text = f"of {counted(many, 'final')} {known} have densities, {len(watched)} were checked for collapse ({dead} collapsed)"
    text += f", {effective} have the effective sparsity"
    return judged(known == len(watched) == effective == many, text, found.link("allocation", "layers"))


@of_finals
def damage(found: Evidence) -> Verdict:
    """Rule 26: loss, calibration, worst class and agreement with the dense model, on the test split."""
    wanted = {"loss": "test_loss", "calibration error": "test_ece", "worst class": "test_worst_class"}
    missing = [name for name, key in wanted.items() if not all(found.metrics(e).measured(key) for e in found.finals)]
    if not all(any("agreement" in key for key in found.metrics(e).numbers()) for e in found.finals):
        missing.append("agreement with the dense model")
    text = lacking(missing, "missing in some finals", "loss, calibration, worst class and agreement")
    where = found.printed("loss", "ece", "worst_class")
    if not where:
        return Verdict(UNMET, f"{text}; in no table", found.link("runs"))
    return judged(not missing, text, where)


def harder_tasks(found: Evidence) -> Verdict:
    """Rule 27: a task that is harder than classification of the usual small images."""
    task = found.study.declared.task
    return judged(task not in EASY, f"the task is {task}", "facts")


@of_finals
def same_conditions(found: Evidence) -> Verdict:
    """Rule 28: one data set, one set of library versions, one commit and one machine for all compared runs."""
    where = [found.record(e).provenance for e in found.runs]
    values: dict[str, list[Any]] = {name: [getattr(p, name) for p in where] for name in CONDITIONS}
    values["data"] = [p.data.get("digest") for p in where]
    counts = {name: len({json.dumps(v, sort_keys=True) for v in own}) for name, own in values.items()}
    several = [f"{n} different: {name}" for name, n in counts.items() if n > 1]
    return judged(not several, "; ".join(several) or f"all the same in {counted(len(where), 'run')}", "facts")


@of_finals
def provenance(found: Evidence) -> Verdict:
    """Rule 29: commit, changes, versions, machine, data, command and time of every run."""
    where = [found.record(e).provenance for e in found.runs]
    missing = sorted({key for p in where for key in ORIGIN if getattr(p, key) in (None, "", {})})
    dirty = sum(p.dirty is True for p in where)
    text = lacking(missing, "missing", f"complete in {counted(len(where), 'run')}")
    return judged(not missing, text + also(dirty, "with uncommitted changes"), "facts")


def protocol(found: Evidence) -> Verdict:
    """Rule 30: one version of the protocol."""
    records = found.study.records.values()
    if not records:
        return Verdict(NONE, "no run has a record yet", "facts")
    versions = sorted({found.study.declared.protocol, *(record.protocol for record in records)})
    text = f"version {', '.join(versions)} in the declaration and {counted(len(records), 'record')}"
    return judged(len(versions) == 1, text, "facts")


def failures(found: Evidence) -> Verdict:
    """Rule 31: failed runs are listed with their reasons."""
    entries = found.study.entries
    lost = entries[~entries["state"].isin(("finished", "running"))]
    running = int((entries["state"] == "running").sum())
    ended, rest = len(entries) - running, also(running, "more are running or were interrupted")
    if not len(lost):
        return Verdict(NONE, f"none of {counted(ended, 'run')} failed{rest}", "failures")
    silent = int((lost["reason"].fillna("") == "").sum())
    text = f"{len(lost)} of {counted(ended, 'run')} failed, {silent} without a reason{rest}"
    return judged(not silent, text, "failures")


@of_finals
def computed(found: Evidence) -> Verdict:
    """Rule 32: the means in the table of finals are those of the records, which are computed here a second time."""
    frame = found.tables["finals"]
    rows = dicts(frame[~frame["claim"].astype(bool)])
    same = sum(_same_mean(row, found.study) for row in rows)
    return judged(same == len(rows), f"{same} of {len(rows)} means computed twice with the same result", "finals")


def _same_mean(row: Row, study: Study) -> bool:
    """Whether the mean of a row of the table of finals is that of its runs."""
    dense = dict(zip(study.entries["run"], study.entries[DENSE_SEED], strict=True))
    values: dict[int, list[float]] = {}
    for run in row["runs"]:
        value = study.records[run].metrics.test_top1
        if not math.isnan(value):
            values.setdefault(dense[run], []).append(value)
    if not values:
        return math.isnan(row["test_top1"])
    means = [math.fsum(own) / len(own) for own in values.values()]
    return math.isclose(math.fsum(means) / len(means), row["test_top1"], rel_tol=1e-9)


def literature(found: Evidence) -> Verdict:
    """Rule 33: numbers from papers are in separate rows, and enter no statistic."""
    claims = sum(map(len, found.study.declared.claims.values()))
    if not claims:
        return Verdict(NONE, "no number is from a paper", "finals")
    frame = found.tables["finals"]
    rows = frame[frame["claim"].astype(bool)]
    mixed = rows["label"].isin(frame.loc[~frame["claim"].astype(bool), "label"]) | (rows["runs"].map(len) > 0)
    sources = sorted(set(rows["source"].str.partition(",")[0]))
    apart = len(rows) == claims and not mixed.any() and bool(rows["n"].isna().all())
    return judged(apart, f"{counted(len(rows), 'row')} in italics, without runs: {listed(sources)}", "finals")

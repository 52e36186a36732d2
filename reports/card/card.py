"""The evaluation card: published rules for comparing pruning methods, each checked automatically from the records.

A rule is met only where the records show it. Where they do not, it is not met; where a study has nothing that the rule refers
to, it is not applicable. Each verdict has its evidence; declarations of the authors are no evidence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from reports.card import numbers
from reports.card import protocol as design
from reports.card import records as origin
from reports.card.evidence import MET, NONE, UNMET, Check, Evidence
from reports.load.records import Study
from reports.tables.columns import Column, Table, fixed, text

COLUMNS = ["number", "rule", "source", "verdict", "evidence", "link"]


@dataclass(frozen=True)
class Rule:
    """A rule in a few words, its source, and the function that checks it."""

    text: str
    source: str
    check: Check


RULES: tuple[Rule, ...] = (
    Rule(
        "all methods start from the same dense weights, whose accuracy is reported", "Blalock; Wang", design.same_start
    ),
    Rule("a dense model is trained for as long as the methods", "Liu; Wang", design.dense_control),
    Rule("the pruned shape is trained from scratch, for equal epochs and equal MACs", "Liu", design.from_scratch),
    Rule("random and magnitude pruning, also with the method's own ratios", "Blalock", design.simple_baselines),
    Rule("sanity checks: shuffled masks, weights initialised again", "Frankle; Su", design.sanity),
    Rule("recovery is independent of the method", "Renda", design.recovery),
    Rule("one learning-rate schedule and recipe for all methods", "Wang", design.same_recipe),
    Rule("equal compute, with all phases counted", "AlgoPerf; RigL", design.equal_cost),
    Rule("equal tuning", "AlgoPerf; DomainBed", design.equal_tuning),
    Rule("selection on validation, test opened once", "DomainBed", design.test_once),
    Rule("last epoch reported, and best on validation", "ShrinkBench", numbers.last_epoch),
    Rule("three (task, model) pairs, one with a large model", "Blalock", numbers.breadth),
    Rule("five operating points", "Blalock", numbers.operating_points),
    Rule("compression and theoretical speed-up, both defined", "Blalock", numbers.both_sizes),
    Rule("requested sizes attained, within 0.5 % of weights or 1 % of MACs", "STR", numbers.attained),
    Rule("top-1 and top-5, not only differences", "Blalock", numbers.raw_accuracy),
    Rule("three seeds to screen, five for a headline (CIFAR: ten)", "Blalock; Picard", numbers.seeds),
    Rule("two levels of seeds: dense models, and prunings of each", "torchprune", numbers.two_levels),
    Rule("paired seeds for data order, augmentation, initialisation", "benchopt", numbers.paired),
    Rule("intervals, corrected paired tests, profiles, ranks", "rliable; Demšar", numbers.statistics),
    Rule("smallest detectable difference printed", "Jordan; Picard", numbers.detectable),
    Rule("selected configurations run again with fresh seeds", "powerful-benchmarker", numbers.fresh_seeds),
    Rule("latency measured alternately with dense, conditions recorded", "practice", origin.latency),
    Rule("accuracy after pruning, re-estimated batch norms, recovery", "NNCF", origin.three_accuracies),
    Rule("densities of layers, collapsed layers, effective sparsity", "Frankle", origin.layers),
    Rule("loss, calibration, worst class, agreement with dense", "Lost in Pruning", origin.damage),
    Rule("a task harder than small images", "SMC-Bench", origin.harder_tasks),
    Rule("one data set, library, commit and machine in a table", "Blalock", origin.same_conditions),
    Rule("origin of every number: code, data, command, time", "Blalock", origin.provenance),
    Rule("one version of the protocol", "AlgoPerf", origin.protocol),
    Rule("failures are listed with their reasons", "AlgoPerf", origin.failures),
    Rule("means computed from records, never typed", "Torch-Pruning", origin.computed),
    Rule("numbers from papers kept separate", "Blalock", origin.literature),
)


def table(study: Study, tables: Iterable[Table], figures: Iterable[str]) -> Table:
    """The card of a study whose report has these tables and figures (their names)."""
    found = Evidence(study, {t.name: t.frame for t in tables}, frozenset(figures))
    rows = []
    for number, rule in enumerate(RULES, start=1):
        verdict = rule.check(found)
        said = {"rule": rule.text, "source": rule.source, "verdict": verdict.state}
        rows.append({"number": number, **said, "evidence": verdict.evidence, "link": verdict.link})
    frame = pd.DataFrame(rows, columns=COLUMNS)
    columns = (
        Column("", "number", fixed("number", 0), number=True),
        Column("rule", "rule", text("rule"), long=True),
        Column("verdict", "verdict", text("verdict")),
        Column("evidence", "evidence", text("evidence"), long=True, link="link"),
        Column("source", "source", text("source"), paper=False),
    )
    caption = (
        f"{summary(frame)}. Published rules for comparing pruning methods, checked from the records alone; a rule that the "
        "records do not show to be met is not met."
    )
    return Table("card", "Evaluation card", caption, frame, columns)


def summary(frame: pd.DataFrame) -> str:
    """A clause on how many rules are met, not met, and not applicable."""
    counts = {state: int((frame["verdict"] == state).sum()) for state in (MET, UNMET, NONE)}
    return f"Of {len(frame)} rules {counts[MET]} are met, {counts[UNMET]} are not, and {counts[NONE]} do not apply"

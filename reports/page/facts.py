"""The head of a study's section: question, selection, seeds, machine, code; and warnings about its records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from bench.records import leakage
from bench.records.run_record import UNSAFE, Provenance
from reports.load.records import DAGGER, Study
from reports.page.requested import FIGURES, TABLES

ALWAYS = ("card", "damage")  # tables that every study has, whether its declaration names them or not


def facts(study: Study) -> list[tuple[str, str]]:
    """Returns names and values for the head of a study's section."""
    said, where = study.declared, [record.provenance for record in study.records.values()]
    found = [
        ("Question", said.question),
        ("Selection", said.select),
        ("Task", said.task),
        ("Data", _distinct(p.data for p in where)),
        ("Models", ", ".join(said.models)),
        *[(f"Method {_marked(study, name)}", line) for name, line in sorted(said.documentation.items())],
        ("Settings", " ".join(said.settings)),
        ("Variants", _variants(study)),
        ("Tuning", _tuning(study)),
        ("Finals", f"n = {len(said.final_seeds)}, seeds {', '.join(map(str, said.final_seeds))}"),
        ("Runs", _counts(study)),
        ("Protocol", said.protocol),
        ("Code", _distinct(p.version for p in where)),
        ("Commit", _distinct(_commit(p) for p in where if p.known)),
        ("Versions", _distinct(p.versions for p in where)),
        ("Hardware", _distinct(p.hardware for p in where)),
        ("Device", _distinct(p.device for p in where)),
        ("Command", said.command),
        ("Imported from", said.imported_from),
    ]
    return [(name, str(value)) for name, value in found if value]


def _marked(study: Study, method: str) -> str:
    if study.reconstructed(method):
        return f"{method}{DAGGER}"
    return method


def _variants(study: Study) -> str:
    """The number of variants of a grid, in total and by group; "" for other studies."""
    if not study.grid:
        return ""
    variants = {(cell.method, cell.variant): cell.group or "others" for cell in study.declared.cells.values()}
    groups = Counter(variants.values())
    if len(groups) > 1:
        return f"{len(variants)} ({', '.join(f'{group}: {n}' for group, n in groups.items())})"
    return str(len(variants) or "")


def _tuning(study: Study) -> str:
    said = study.declared
    if study.grid:
        return "none: each variant runs as declared"
    if said.trials == 0:
        return "none: each method runs with its declared settings"
    return f"{said.trials} trials per cell, sampler {said.sampler}, seed {said.seed}"


def _counts(study: Study) -> str:
    parts = []
    for kind in ("trial", "final", "baseline"):
        states = study.entries.loc[study.entries["kind"] == kind, "state"].value_counts().sort_index()
        if len(states):
            parts.append(f"{kind}s: " + ", ".join(f"{n} {state}" for state, n in states.items()))
    return "; ".join(parts) or "none yet"


def _commit(provenance: Provenance) -> str:
    commit = (provenance.commit or "unknown")[:12]
    if provenance.dirty:
        return f"{commit} with uncommitted changes"
    return commit


def _distinct(values: Iterable[Any]) -> str:
    """The distinct values as text, sorted; a dict becomes "key value, key value"."""
    kept = {json.dumps(v, sort_keys=True) for v in values if v}
    return " | ".join(_plain(json.loads(v)) for v in sorted(kept))


def _plain(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name} {_brief(name, part)}" for name, part in value.items() if part is not None)


def _brief(name: str, value: Any) -> str:
    if "memory" in name:
        return f"{value / 2**30:.1f} GiB"
    if name == "digest":
        return str(value)[:12]
    return str(value)


def warnings(study: Study) -> list[str]:
    """Returns the limits of a study's numbers, one sentence each."""
    said, entries, found = study.declared, study.entries, _unfinished(study)
    short = study.done("final", "baseline").groupby(["cell", "number"])["seed"].nunique()
    if (short == 1).any():
        found.append("Some configurations have a single seed: their numbers have no interval.")
    lost = int((~entries["state"].isin(("finished", "running"))).sum())
    if lost:
        found.append(f"{lost} of {len(entries)} runs have no result; the table of failures lists the reasons.")
    found += [
        f"{name}{DAGGER} contains a reconstruction: {text}" for name, text in sorted(said.reconstructions.items())
    ]
    found += [
        f"This version of the report does not know the figure or table {name!r} that the study declares."
        for name in said.figures
        if name not in FIGURES and name not in TABLES and name not in ALWAYS
    ]
    return found + _mixtures(study)


def _unfinished(study: Study) -> list[str]:
    """Sentences on the parts of a study that have no result yet."""
    said, found = study.declared, []
    running = int((study.entries["state"] == "running").sum())
    if running or not said.finished:
        found.append(
            f"The study is not finished: {running} runs are running or were interrupted; run the same command to continue."
        )
    if study.tuned and not len(study.done("trial")):
        found.append("No trial has a result yet.")
    if not len(study.done("final")):
        found.append(NO_FINALS[study.grid])
    return found


NO_FINALS = {
    True: "No variant has a result yet.",
    False: "There are no finals yet: figures show the best trial of each cell by validation, with one seed.",
}


def _mixtures(study: Study) -> list[str]:
    """Warnings about records that differ in their conditions."""
    records, found = list(study.records.values()), []
    where = [record.provenance for record in records]
    for what, values in {
        "protocol": {record.protocol for record in records} | {study.declared.protocol},
        "commit": {str(p.commit) for p in where if p.known},
        "hardware": {json.dumps(p.hardware, sort_keys=True) for p in where if p.hardware},
    }.items():
        if len(values) > 1 and records:
            found.append(f"The runs of this study differ in their {what}: there are {len(values)}.")
    if any(p.dirty for p in where):
        found.append("Some runs used code that was not committed.")
    brought = sorted({p.imported_from for p in where if p.imported_from})
    if brought:
        many = sum(bool(p.imported_from) for p in where)
        found.append(f"{many} of {len(records)} runs were imported from {', '.join(brought)}.")
    counts = Counter(opening.run for opening in study.openings())
    unsafe = [record for record in records if UNSAFE in record.label]
    if unsafe:
        found.append(
            f"{len(unsafe)} of {len(records)} runs start from weights that do not declare which images they saw, or that saw "
            f"images of validation or test: their numbers are marked as {UNSAFE!r}."
        )
    doubts = sorted(filter(None, {leakage.told(record.metrics) for record in records}))
    found += [f"{doubt[0].upper()}{doubt[1:]}." for doubt in doubts]
    opened = sum(counts[record.id] > 1 for record in records)
    if opened:
        found.append(f"The test split was opened more than once in {opened} runs, later evaluations counted.")
    return found

"""What a reader must know before believing a number: question, choice, seeds, machine, code; and what is wanting."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from bench.records.run_record import Provenance
from reports.load.records import DAGGER, Study
from reports.page.special import SPECIAL, TABLES

ALWAYS = ("card", "damage")  # what every study has, whether it asks for it or not


def facts(study: Study) -> list[tuple[str, str]]:
    """Names and values for the head of a study's section."""
    said, where = study.declared, [record.provenance for record in study.records.values()]
    found = [
        ("Question", said.question),
        ("How numbers are chosen", said.select),
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
    return f"{method}{DAGGER}" if study.reconstructed(method) else method


def _variants(study: Study) -> str:
    """How many variants a grid has, in all and by group."""
    cells = study.declared.cells.values() if study.grid else ()
    variants = {(cell.method, cell.variant): cell.group or "others" for cell in cells}
    groups = Counter(variants.values())
    parts = f" ({', '.join(f'{group}: {n}' for group, n in groups.items())})" if len(groups) > 1 else ""
    return f"{len(variants)}{parts}" if variants else ""


def _tuning(study: Study) -> str:
    said = study.declared
    if study.grid:
        return "none: each variant runs as it is declared"
    if said.trials == 0:
        return "none: each method runs as it is set"
    return f"{said.trials} trials per cell, sampler {said.sampler}, seed {said.seed}"


def _counts(study: Study) -> str:
    parts = []
    for kind in ("trial", "final", "baseline"):
        states = study.entries.loc[study.entries["kind"] == kind, "state"].value_counts().sort_index()
        if len(states):
            parts.append(f"{kind}s: " + ", ".join(f"{n} {state}" for state, n in states.items()))
    return "; ".join(parts) or "none yet"


def _commit(provenance: Provenance) -> str:
    dirty = " with changes not committed" if provenance.dirty else ""
    return f"{(provenance.commit or 'unknown')[:12]}{dirty}"


def _distinct(values: Iterable[Any]) -> str:
    """The different values there are, as text, sorted; a dict becomes "key value, key value"."""
    kept = {json.dumps(v, sort_keys=True) for v in values if v}
    return " | ".join(_plain(json.loads(v)) for v in sorted(kept))


def _plain(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name} {_brief(name, part)}" for name, part in value.items() if part is not None)


def _brief(name: str, value: Any) -> str:
    if "memory" in name:
        return f"{value / 2**30:.1f} GiB"
    return str(value)[:12] if name == "digest" else str(value)


def warnings(study: Study) -> list[str]:
    """What limits the numbers of a study, one sentence each; empty where nothing does."""
    said, entries, found = study.declared, study.entries, []
    running = int((entries["state"] == "running").sum())
    if running or not said.finished:
        found.append(
            f"The study has not ended: {running} runs are under way or were cut off; the same command goes on."
        )
    if study.tuned and not len(study.done("trial")):
        found.append("No trial has a result yet.")
    if not len(study.done("final")):
        found.append(
            "No variant has a result yet."
            if study.grid
            else "There are no finals yet: figures show the best trial of each cell by validation, on one seed."
        )
    short = study.done("final", "baseline").groupby(["cell", "number"])["seed"].nunique()
    if (short == 1).any():
        found.append("Some configurations have one seed only: their numbers carry no interval.")
    lost = int((~entries["state"].isin(("finished", "running"))).sum())
    if lost:
        found.append(f"{lost} of {len(entries)} runs have no result; the table of failures has the reasons.")
    found += [f"{name}{DAGGER} holds a reconstruction: {text}" for name, text in sorted(said.reconstructions.items())]
    found += [
        f"This version of the report does not know the figure or table {name!r} that the study asks for."
        for name in said.figures
        if name not in SPECIAL and name not in TABLES and name not in ALWAYS
    ]
    return found + _mixtures(study)


def _mixtures(study: Study) -> list[str]:
    """Records that should not stand in one table without a word."""
    records, found = list(study.records.values()), []
    where = [record.provenance for record in records]
    for what, values in {
        "protocol": {record.protocol for record in records} | {study.declared.protocol},
        "commit": {str(p.commit) for p in where if p.known},
        "hardware": {json.dumps(p.hardware, sort_keys=True) for p in where if p.hardware},
    }.items():
        if len(values) > 1 and records:
            found.append(f"The runs do not share one {what}: {len(values)} different ones are in this study.")
    if any(p.dirty for p in where):
        found.append("Some runs were made with code that was not committed.")
    brought = sorted({p.imported_from for p in where if p.imported_from})
    if brought:
        many = sum(bool(p.imported_from) for p in where)
        found.append(f"{many} of {len(records)} runs were not made here, but imported from {', '.join(brought)}.")
    opened = sum(record.test_openings > 1 for record in records)
    if opened:
        found.append(f"The test split was opened more than once in {opened} runs.")
    return found

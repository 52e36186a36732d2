"""A study as a record: what reports and MLflow need to know about it as a whole. `bench.records.folder` lists the keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench import environment, registry
from bench.config import digest
from bench.protocol import PROTOCOL
from bench.records.folder import SCHEMA
from bench.study.cell import Cell
from bench.study.space import spaces_json
from bench.study.study import Study

TOLD = ("state", "question", "figures", "speed", "claims", "reconstructions", "documentation", "command")
"""What may change in a frozen study, as no number depends on it."""


def declaration(study: Study, importances: Mapping[str, Any], *, state: str) -> dict[str, Any]:
    """What goes into study.json; ``importances`` are those of the tuned parameters, by cell."""
    modules = {m: registry.load(registry.METHODS, m) for m in study.methods}
    said = {
        "schema": SCHEMA,
        "protocol": PROTOCOL,
        "name": study.name,
        "kind": study.kind.name,
        "topic": study.topic,
        "state": state,
        "question": study.question,
        "select": study.kind.selection(cost=study.cost, finals=study.finals, trials=study.trials),
        "objectives": list(study.objectives),
        "task": study.task,
        "models": list(study.models),
        "methods": list(study.methods),
        "targets": list(study.targets) or None,
        "settings": list(study.settings),
        "trials": study.trials if study.tuned else 0,
        "sampler": study.sampler if study.tuned else None,
        "generation": study.generation,
        "seed": study.seed,
        "final_seeds": list(study.final_seeds),
        "controls": list(study.controls),
        "derived": list(study.derived),
        "figures": list(study.figures),
        "lenient": study.lenient,
        "speed": list(study.speed),
        "cells": {c.key: _cell(c) | {"importances": importances.get(c.key, {})} for c in study.cells()},
        "claims": {m: [claim.to_dict() for claim in module.CLAIMS] for m, module in modules.items()},
        "reconstructions": {c.method: c.base.reconstructed for c in study.cells() if c.base.reconstructed},
        "documentation": {m: (module.__doc__ or "").strip().partition("\n")[0] for m, module in modules.items()},
        "command": environment.command(),
        "own": {name: list(settings) for name, settings in study.own.items()},
        "dense": None if study.dense is None else list(study.dense),
        "dense_seeds": list(dict.fromkeys(dense for dense, _ in study.pairs)) if study.dense is not None else [],
        "pairing": _pairing(study),
        "recoveries": list(study.recoveries),
        "baselines": {c.key: _cell(c) for c in study.baseline_cells()},
        "baseline": study.baseline or None,
    }
    return {**said, "frozen": _frozen(study, said) if study.frozen else None}


def _pairing(study: Study) -> str:
    if study.dense is None:
        return "repetition i of every method has the i-th final seed"
    if not study.dense_seeds:
        return (
            "repetition i of every method starts from the dense model of the i-th final seed, and has that seed itself"
        )
    return "every method starts from the dense model of each dense seed, with each final seed"


def _frozen(study: Study, said: Mapping[str, Any]) -> str:
    """A digest of all that numbers depend on: what is declared, with every field of every method and recipe."""
    kept = {key: value for key, value in said.items() if key not in (*TOLD, "cells")}
    runs = {
        c.key: [c.run({}, study.seed).to_dict(), spaces_json(c.space)]
        for c in (*study.cells(), *study.baseline_cells())
    }
    begun = [study.dense_run(model, study.seed).to_dict() for model in study.models] if study.dense is not None else []
    return digest({**kept, "runs": runs, "begun": begun})


def _cell(cell: Cell) -> dict[str, Any]:
    said: dict[str, Any] = {"method": cell.method, "model": cell.model, "target": cell.target}
    if (variant := cell.variant) is not None:
        said |= {"variant": variant.label, "group": variant.group, "number": cell.number}
        said |= {"settings": list(variant.settings), "facts": dict(variant.facts)}
    elif cell.settings and cell.baseline is None:
        said |= {"settings": list(cell.settings)}
    if (baseline := cell.baseline) is not None:
        said |= {"method": baseline.label, "runs": baseline.method, "settings": list(cell.settings)}
    if cell.recovery:
        said |= {"recovery": cell.recovery}
    return {**said, "reconstruction": bool(cell.base.reconstructed), "space": spaces_json(cell.space)}

"""A study as a record: what reports and MLflow need to know about it as a whole. `bench.record` lists the keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench import PROTOCOL, machine, plugins
from bench.record import SCHEMA
from bench.study import Cell, Study
from bench.tuner import spaces_json

SELECTION = {
    "pareto": "of the trials that no other beats in validation top-1 (last epoch) and {cost} at once, the {finals} that "
    "together dominate the largest area of accuracy above chance against log compression, without those that lost more than "
    "half of it",
    "ladder": "the trial with the best validation top-1 (last epoch) at each target",
    "grid": "nothing is chosen: every variant runs with every seed",
}


def declaration(study: Study, importances: Mapping[str, Any], *, state: str) -> dict[str, Any]:
    """What goes into study.json; ``importances`` are those of the tuned parameters, by cell."""
    modules = {m: plugins.load(plugins.METHODS, m) for m in study.methods}
    tuned = study.kind != "grid"
    return {
        "schema": SCHEMA,
        "protocol": PROTOCOL,
        "name": study.name,
        "kind": study.kind,
        "topic": study.topic,
        "state": state,
        "question": study.question,
        "select": SELECTION[study.kind].format(cost=study.cost, finals=study.finals),
        "objectives": list(study.objectives),
        "task": study.task,
        "models": list(study.models),
        "methods": list(study.methods),
        "targets": list(study.targets) or None,
        "settings": list(study.settings),
        "trials": study.trials if tuned else 0,
        "sampler": study.sampler if tuned else None,
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
        "command": machine.command(),
    }


def _cell(cell: Cell) -> dict[str, Any]:
    said: dict[str, Any] = {"method": cell.method, "model": cell.model, "target": cell.target}
    if (variant := cell.variant) is not None:
        said |= {"variant": variant.label, "group": variant.group, "number": cell.number}
        said |= {"settings": list(variant.settings), "facts": dict(variant.facts)}
    return {**said, "reconstruction": bool(cell.base.reconstructed), "space": spaces_json(cell.space)}

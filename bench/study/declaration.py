"""A study as a record: what reports and MLflow need to know about it as a whole. See `bench.records.study_record`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bench import environment, registry
from bench.config import digest
from bench.records.protocol import PROTOCOL
from bench.records.run_record import SCHEMA
from bench.records.study_record import CellRecord, StudyRecord
from bench.study.cell import Cell
from bench.study.space import spaces_json
from bench.study.study import Study

Importances = Mapping[str, Mapping[str, float]]
"""By objective, each tuned field's share in explaining it."""

TOLD = ("state", "question", "figures", "speed", "claims", "reconstructions", "documentation", "command")
"""What may change in a frozen study, as no number depends on it."""


def declaration(study: Study, importances: Mapping[str, Importances], *, state: str) -> StudyRecord:
    """The record of a study; ``importances`` are those of the tuned parameters, by cell."""
    modules = {method: registry.load(registry.METHODS, method) for method in study.methods}
    dense_seeds = () if study.dense is None else tuple(dict.fromkeys(dense for dense, _ in study.pairs))
    record = StudyRecord(
        schema=SCHEMA,
        protocol=PROTOCOL,
        name=study.name,
        kind=study.kind.name,
        topic=study.topic,
        state=state,
        question=study.question,
        select=study.kind.selection(cost=study.cost, finals=study.finals, trials=study.trials),
        objectives=study.objectives,
        task=study.task,
        models=study.models,
        methods=study.methods,
        targets=study.targets or None,
        settings=study.settings,
        trials=study.trials if study.tuned else 0,
        sampler=study.sampler if study.tuned else None,
        generation=study.generation,
        seed=study.seed,
        final_seeds=study.final_seeds,
        controls=study.controls,
        derived=study.derived,
        figures=study.figures,
        lenient=study.lenient,
        speed=study.speed,
        cells={cell.key: replace(_cell(cell), importances=importances.get(cell.key, {})) for cell in study.cells()},
        claims={method: tuple(module.CLAIMS) for method, module in modules.items()},
        reconstructions={c.method: c.base.reconstructed for c in study.cells() if c.base.reconstructed},
        documentation={m: (module.__doc__ or "").strip().partition("\n")[0] for m, module in modules.items()},
        command=environment.command(),
        own=study.own,
        dense=study.dense,
        dense_seeds=dense_seeds,
        pairing=_pairing(study),
        recoveries=study.recoveries,
        baselines={cell.key: _cell(cell) for cell in study.baseline_cells()},
        baseline=study.baseline or None,
    )
    return replace(record, frozen=_frozen(study, record)) if study.frozen else record


def _pairing(study: Study) -> str:
    if study.dense is None:
        return "repetition i of every method has the i-th final seed"
    if not study.dense_seeds:
        return (
            "repetition i of every method starts from the dense model of the i-th final seed, and has that seed itself"
        )
    return "every method starts from the dense model of each dense seed, with each final seed"


def _frozen(study: Study, record: StudyRecord) -> str:
    """A digest of all that numbers depend on: what is declared, with every field of every method and recipe."""
    kept = {key: value for key, value in record.to_json().items() if key not in (*TOLD, "cells", "frozen")}
    cells = (*study.cells(), *study.baseline_cells())
    runs = {cell.key: [cell.run({}, study.seed).to_dict(), spaces_json(cell.space)] for cell in cells}
    begun = [study.dense_run(model, study.seed).to_dict() for model in study.models] if study.dense is not None else []
    return digest({**kept, "runs": runs, "begun": begun})


def _cell(cell: Cell) -> CellRecord:
    record = CellRecord(
        method=cell.method,
        model=cell.model,
        target=cell.target,
        recovery=cell.recovery,
        reconstruction=bool(cell.base.reconstructed),
        space=spaces_json(cell.space),
    )
    if (variant := cell.variant) is not None:
        record = replace(record, variant=variant.label, group=variant.group, number=cell.number)
        return replace(record, settings=variant.settings, facts=variant.facts)
    if (baseline := cell.baseline) is not None:
        return replace(record, method=baseline.label, runs=baseline.method, settings=cell.settings)
    return replace(record, settings=cell.settings or None)

"""The runs of a study other than its trials: a pure function of its declaration and of the chosen trials.

    dense models to start from -> (trials) -> finals and baselines, each with every pair of a dense and a final seed

Seeds do not depend on the method: in repetition i all methods start from the same dense model, with the same order of the data
and the same augmentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import registry
from bench.method import Method
from bench.records.study_record import Entry
from bench.run import START_RUN, Run
from bench.seeds import address
from bench.study.cell import Cell
from bench.study.study import Study

Chosen = Mapping[str, Sequence[Entry]]
"""By cell: the trials that go to the finals."""


@dataclass(frozen=True)
class PlannedRun:
    """A run of a study, with its role there.

    Attributes:
        kind: "start" (the dense model of the trials), "trial", "final" or "baseline".
        cell: the key of its cell.
        number: of the trial, or of the variant.
        run: what is computed.
        params: what the configuration sets.
        seeds: that of its dense model, and its own.
        of: the cell of the final that a derived control follows from.
    """

    kind: str
    cell: str
    number: int
    run: Run
    params: Mapping[str, Any]
    seeds: tuple[int, int]
    of: str = ""

    @property
    def label(self) -> str:
        """Its name in the progress display and in logs."""
        dense, seed = self.seeds
        if self.kind == "trial":
            return f"{self.cell} trial {self.number}"
        name = f"{self.cell} {self.kind} {self.number} seed {seed}"
        return f"{name} of dense {dense}" if dense != seed else name

    def entry(self, run: Run, state: str, values: Sequence[float] | None = None, reason: str = "") -> Entry:
        """It as an entry of the study's records; ``run`` is the one that was computed in the end."""
        dense, seed = self.seeds
        return Entry(
            kind=self.kind,
            cell=self.cell,
            number=self.number,
            seed=seed,
            run=run.id,
            params=dict(self.params),
            values=tuple(values) if values else None,
            state=state,
            reason=reason or None,
            of=self.of,
            dense_seed=dense if dense != seed else None,
        )


def dense_runs(study: Study, *, tuned: bool) -> Iterator[PlannedRun]:
    """Yields the runs of the dense models from which all other runs start.

    Those of the finals are also the dense control. Trials (``tuned``) start from another one, which never sees the test split.
    """
    control = study.controls[0]
    for model in study.models:
        for seed in dict.fromkeys(dense for dense, _ in study.pairs):
            run = study.dense_run(model, seed, test=True)
            yield PlannedRun("baseline", f"{control}/{model}", 0, run, {}, (seed, seed))
        if tuned:
            run = study.dense_run(model, study.seed)
            yield PlannedRun("start", f"{control}/{model}", 0, run, {}, (study.seed, study.seed))


def start_of(study: Study, cell: Cell, seed: int, *, test: bool = False) -> str:
    """Returns the dense model (``run:ID``) that the runs of a cell start from, or ""; ``test``: that of the finals."""
    if study.dense is None or cell.own_start:
        return ""
    return f"{START_RUN}{study.dense_run(cell.model, seed, test=test).id}"


def finals(study: Study, chosen: Chosen) -> Iterator[PlannedRun]:
    """Yields the runs with the final seeds: of the chosen trials, or of all cells without trials; of baselines; of controls."""
    for cell in study.cells():
        if not cell.trials:
            yield from _repeated(study, "final", cell, cell.number, {})
        for trial in chosen[cell.key] if cell.trials else ():
            yield from _repeated(study, "final", cell, trial.number, trial.params)
    for cell in study.baseline_cells():
        if not cell.trials:
            yield from _repeated(study, "baseline", cell, 0, {})
        for trial in chosen[cell.key] if cell.trials else ():
            yield from _repeated(study, "baseline", cell, trial.number, trial.params)
    if study.dense is None:
        yield from _controls(study)


def _controls(study: Study) -> Iterator[PlannedRun]:
    """Each control that is not among the methods, at its defaults, with each final seed."""
    for control in study.controls:
        if control in study.methods:
            continue
        cls: type[Method[Any]] = registry.load(registry.METHODS, control).METHOD
        for model in study.models:
            for seed in study.final_seeds:
                run = study.template.run(cls(), model, seed, test=True, known=True)
                yield PlannedRun("baseline", f"{control}/{model}", 0, run, {}, (seed, seed))


def _repeated(study: Study, kind: str, cell: Cell, number: int, params: Mapping[str, Any]) -> Iterator[PlannedRun]:
    """A configuration with all pairs of seeds. Where a cell has its own start, the run's seed differs between dense seeds."""
    shown = cell.params if cell.variant is not None else params
    for dense, seed in study.pairs:
        run_seed = seed
        if cell.own_start and dense != seed:
            run_seed = address(dense, "repetition", seed) % 2**31
        run = cell.run(params, run_seed, test=True, start=start_of(study, cell, dense, test=True))
        yield PlannedRun(kind, cell.key, number, run, shown, (dense, seed))

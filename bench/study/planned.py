"""The runs that a study comes to besides its trials, as a pure function of its declaration and of what was chosen.

    dense models to start from -> (trials) -> finals and baselines, each with every pair of a dense and a final seed

The seeds say nothing of the method: in repetition i all methods start from one dense model, and see one order of the data and
one augmentation.
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
    """A run that a study lists, and its role there; ``seeds`` are those of its dense model and of its repetition."""

    kind: str
    cell: str
    number: int
    run: Run
    params: Mapping[str, Any]
    seeds: tuple[int, int]
    of: str = ""

    @property
    def label(self) -> str:
        """What it is called while it is computed."""
        dense, seed = self.seeds
        if self.kind == "trial":
            return f"{self.cell} trial {self.number}"
        return f"{self.cell} {self.kind} {self.number} seed {seed}" + (f" of dense {dense}" if dense != seed else "")

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
    """The dense models that all other runs start from. Those of the finals are the dense control too; trials have one of their
    own, which never sees the test split."""
    control = study.controls[0]
    for model in study.models:
        for seed in dict.fromkeys(dense for dense, _ in study.pairs):
            run = study.dense_run(model, seed, test=True)
            yield PlannedRun("baseline", f"{control}/{model}", 0, run, {}, (seed, seed))
        if tuned:
            run = study.dense_run(model, study.seed)
            yield PlannedRun("start", f"{control}/{model}", 0, run, {}, (study.seed, study.seed))


def start_of(study: Study, cell: Cell, seed: int, *, test: bool = False) -> str:
    """What the runs of a cell start from, where the study trains dense models; ``test``: the final ones."""
    if study.dense is None or cell.own_start:
        return ""
    return f"{START_RUN}{study.dense_run(cell.model, seed, test=test).id}"


def finals(study: Study, chosen: Chosen) -> Iterator[PlannedRun]:
    """The runs with the final seeds: of what was chosen, or of all where nothing is; then of baselines and controls."""
    for cell in study.cells():
        if not cell.trials:
            yield from _repeated(study, "final", cell, cell.number, {})
        for trial in chosen[cell.key] if cell.trials else ():
            yield from _repeated(study, "final", cell, trial.number, trial.params)
    for cell in study.baseline_cells():
        yield from _repeated(study, "baseline", cell, 0, {})
    for control in study.controls if study.dense is None else ():
        cls: type[Method[Any]] = registry.load(registry.METHODS, control).METHOD
        for model in study.models if control not in study.methods else ():
            for seed in study.final_seeds:
                run = study.template.run(cls(), model, seed, test=True, known=True)
                yield PlannedRun("baseline", f"{control}/{model}", 0, run, {}, (seed, seed))


def _repeated(study: Study, kind: str, cell: Cell, number: int, params: Mapping[str, Any]) -> Iterator[PlannedRun]:
    """A configuration with all pairs of seeds. Where no dense model is there to differ, the run's own seed does."""
    shown = cell.params if cell.variant is not None else params
    for dense, seed in study.pairs:
        own = address(dense, "repetition", seed) % 2**31 if cell.own_start and dense != seed else seed
        run = cell.run(params, own, test=True, start=start_of(study, cell, dense, test=True))
        yield PlannedRun(kind, cell.key, number, run, shown, (dense, seed))

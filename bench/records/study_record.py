"""The record of a study: its declaration (``studies/<study>/study.json``), and its entries (``entries/<entry>.json``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.claims import Claim
from bench.records.part import Part, part
from bench.records.run_record import FAILED, FINISHED

TRIAL, FINAL, BASELINE, START, LOOSE_RUN = "trial", "final", "baseline", "start", "run"
"""Kinds of entries. "start" is the dense model that the trials start from; "run" stands for a run that no study lists."""
ENDED = (FINISHED, FAILED)

PARETO, LADDER, GRID = "pareto", "ladder", "grid"
"""The names of the kinds of studies (`bench.study.kinds`)."""


@dataclass(frozen=True)
class Entry(Part):
    """One run of a study, and its role there."""

    kind: str
    cell: str
    number: int  # of a final, that of the trial that was chosen; in a grid, of the variant
    seed: int
    run: str  # the run's id; "" where it was refused before it had one
    params: Mapping[str, Any] = field(default_factory=dict)  # what was tuned, or set by a variant
    values: tuple[float, ...] | None = None  # of a trial: the objectives, as Optuna was told them
    state: str = FINISHED  # or "running", "failed"
    reason: str | None = None  # of a failure
    of: str = part(default="")  # of a control that follows from a final (`bench.study.controls`): the final's cell
    dense_seed: int | None = part(
        default=None
    )  # of the dense model that it starts from, where that is another than `seed`

    @property
    def name(self) -> str:
        """Kind, cell, number and seed; the same in the folder and in MLflow."""
        cell = self.cell.replace("/", "-").replace(":", "-")
        dense = f"-d{self.dense_seed}" if self.dense_seed is not None else ""
        return f"{self.kind}-{cell}-{self.number:04d}-s{self.seed}{dense}"

    @property
    def finished(self) -> bool:
        """Whether its run came to a result."""
        return self.state == FINISHED

    @property
    def ended(self) -> bool:
        """Whether it is finished or failed."""
        return self.state in ENDED


@dataclass(frozen=True)
class CellRecord(Part):
    """A cell of a study, or of its baselines. The fields from `variant` to `facts` are those of grids, but `settings`.

    Cells of grids are named method/model:variant, those of ladders method/model@target, others method/model.
    """

    method: str  # of a baseline: its label
    model: str
    target: float | None = None
    variant: str | None = part(default=None)  # "" where it is the only variant of its method
    group: str | None = part(default=None)  # what it is compared with: cells of one group make one panel or curve
    number: int | None = part(default=None)  # of its entries: the position among the variants
    settings: tuple[str, ...] | None = part(default=None)  # key=value settings that it adds to the study's
    facts: Mapping[str, float] | None = part(default=None)  # numbers that belong beside its result
    runs: str = part(default="")  # of a baseline: the method's name in the registry
    recovery: str = part(default="")  # where the study declares recoveries
    reconstruction: bool = False  # whether this configuration departs from its paper
    space: Mapping[str, str] = field(default_factory=dict)  # what is tuned: Optuna's distributions as JSON
    importances: Mapping[str, Mapping[str, float]] | None = part(
        default=None
    )  # by objective and field; not of baselines


@dataclass(frozen=True)
class StudyRecord(Part):
    """The declaration of a study."""

    schema: int
    protocol: str
    name: str
    kind: str  # `PARETO`, `LADDER` or `GRID`
    topic: str  # the name of a study that brings its own methods, or ""
    state: str  # "running" or "finished"
    question: str
    select: str  # how numbers are chosen, in words
    objectives: tuple[str, ...]  # names of the values of trials; none in a grid
    task: str
    models: tuple[str, ...]
    methods: tuple[str, ...]
    targets: tuple[float, ...] | None
    settings: tuple[str, ...]
    trials: int  # of each cell; 0 in a grid
    sampler: str | None
    generation: int  # trials that are chosen without knowing each other's results
    seed: int
    final_seeds: tuple[int, ...]
    controls: tuple[str, ...]
    derived: tuple[str, ...] = ()  # controls that follow from finals
    figures: tuple[str, ...] = ()  # names of figures that the report adds
    lenient: bool = False  # whether models that cannot take part are failures among the entries
    speed: tuple[str, ...] = ()  # modes in which finals are timed
    cells: Mapping[str, CellRecord] = field(default_factory=dict)
    claims: Mapping[str, tuple[Claim, ...]] = field(default_factory=dict)  # by method
    reconstructions: Mapping[str, Any] = field(default_factory=dict)  # by method: what the paper leaves open
    documentation: Mapping[str, str] = field(default_factory=dict)  # by method: the first line
    command: str = ""
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # settings of single methods
    dense: tuple[str, ...] | None = None  # settings of the dense stage; null: there is no such stage
    dense_seeds: tuple[int, ...] = ()
    pairing: str = ""  # which seeds a repetition has, in words
    recoveries: tuple[str, ...] = ()  # then each cell has a recovery
    baselines: Mapping[str, CellRecord] = field(default_factory=dict)  # cells of what runs beside the methods
    baseline: str | None = None  # the baseline that all methods are compared with
    frozen: str | None = None  # digest of all that numbers depend on; null: the study may grow
    imported_from: str | None = part(default=None)  # the file, of another lab's study

    @property
    def finished(self) -> bool:
        """Whether nothing was left to compute."""
        return self.state == FINISHED

    @property
    def pareto(self) -> bool:
        """Whether a trial has two values: accuracy and size."""
        return self.kind == PARETO

    @property
    def grid(self) -> bool:
        """Whether its configurations are the declared variants."""
        return self.kind == GRID

    @property
    def tuned(self) -> bool:
        """Whether it has trials."""
        return not self.grid and self.trials > 0

    def cell_of(self, entry: Entry) -> CellRecord | None:
        """The cell of an entry, of a derived control that of its final; None where it is not declared."""
        for name in (entry.cell, entry.of):
            found = self.cells.get(name) or self.baselines.get(name)
            if found is not None:
                return found
        return None

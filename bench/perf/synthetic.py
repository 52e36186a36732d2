"""A home of made-up runs, to time what reads and shows records: copies of real records with random numbers.

The fields and the sizes of the records are realistic, their numbers are not, and each study's name says "synthetic". Use such
a home for timing only.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from bench.errors import MissingData
from bench.records.folder import Folder
from bench.records.reading import to_text
from bench.records.run_record import FAILED, Cost, Metrics, RunRecord, RunSpec
from bench.records.study_record import LADDER, PARETO, TRIAL, CellRecord, Entry, StudyRecord
from bench.seeds import generator

SEEDS = (1000, 1001, 1002, 1003, 1004)
EPOCHS = 60
FAILS = 0.02  # share of the trials that fail
CONTROL = "dense"
WEIGHTS_LEFT = (0.02, 0.6)  # the range of weights left in the trials of a Pareto study


@dataclass(frozen=True)
class Shape:
    """A study to make up: its ``share`` of all runs, its methods, models and targets."""

    name: str
    share: float
    methods: tuple[str, ...]
    models: tuple[str, ...]
    targets: tuple[float, ...] = ()
    figures: tuple[str, ...] = ()
    topic: str = ""
    finals: int = 1  # configurations of a cell


SHAPES = (
    Shape("synthetic-pareto", 0.45, ("gradual", "oneshot"), ("model_a", "model_b"), finals=3),
    Shape("synthetic-ladder", 0.4, ("gradual", "oneshot", "lottery"), ("model_a", "model_b"), (0.8, 0.95)),
    Shape(
        "synthetic-compare",
        0.15,
        ("adaptive", "drop", "gradual", "lottery", "oneshot", "rigl", "sap"),
        ("model_a", "model_b", "model_c"),
        (0.8, 0.9, 0.95, 0.98),
        ("comparison", "overall", "ledger", "profiles", "ranks", "improvement", "costs", "allocation"),
        "compare",
    ),
)
"""Two studies with many trials, and a comparison in which most runs are finals."""

Cell = tuple[str, str, float | None]
"""Method, model and target."""


@dataclass
class Maker:
    """Writes made-up runs to ``home``, from the finished runs in ``templates``."""

    templates: Folder
    home: Path
    records: dict[str, list[RunRecord]] = field(default_factory=dict)
    curves: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Reads the templates.

        Raises:
            MissingData: there is no study among them, or no finished run of a method and of a dense control.
        """
        names = self.templates.studies()
        for run in self.templates.run_ids():
            record = self.templates.record(run)
            if record is not None and record.finished:
                self.records.setdefault(_role(record.run.method_name), []).append(record)
                self.curves[run] = _longer(self.templates.curves(run))
        if not names or len(self.records) < 2:
            raise MissingData(
                f"made-up runs are made of real ones, but {self.templates.path} has no study with finished runs of a method "
                "and of its dense control; give a folder of results that has"
            )
        self.declared = self.templates.study(names[0])

    def study(self, shape: Shape, runs: int) -> str:
        """Writes a study of about ``runs`` runs; returns its name."""
        cells, numbers = _fitting(shape, runs), generator(0, "synthetic", shape.name)
        models = sorted({model for _, model, _ in cells})
        for model in models:
            for seed in SEEDS:
                self._run(shape, ("baseline", (CONTROL, model, None), 0, seed), numbers)
        finals = shape.finals * len(SEEDS)
        trials = max(shape.finals, (runs - len(SEEDS) * len(models)) // len(cells) - finals)
        for cell in cells:
            for number in range(trials):
                self._run(shape, ("trial", cell, number, 0), numbers)
            for number, seed in itertools.product(range(shape.finals), SEEDS):
                self._run(shape, ("final", cell, number, seed), numbers)
        Folder(self.home).write_study(self._declaration(shape, cells, trials))
        return shape.name

    def _run(self, shape: Shape, whose: tuple[str, Cell, int, int], numbers: torch.Generator) -> None:
        kind, (method, model, target), number, seed = whose
        drawn = torch.rand(8, generator=numbers).tolist()
        run = hashlib.sha256(repr((shape.name, whose)).encode()).hexdigest()[:12]
        params = dict[str, Any]()
        if method != CONTROL:
            params = _params(self._space, drawn[3:])
        entry = Entry(kind, _named((method, model, target)), number, seed, run, params)
        record = self._record(method, model, target, seed, drawn, test=kind != TRIAL)
        curves = self.curves[record.id]
        if kind == TRIAL and number >= shape.finals and drawn[0] < FAILS:
            reason = "the loss must stay finite, but it is nan"
            entry = replace(entry, state=FAILED, reason=reason)
            record = replace(record, status=FAILED, reason=reason, metrics=Metrics(), layers=(), phases=(), cost=Cost())
        elif kind == TRIAL:
            values: tuple[float, ...] = (record.metrics.val_top1, record.metrics.weights_left)
            if shape.targets:
                values = values[:1]
            entry = replace(entry, values=values)
        self._write(shape.name, entry, replace(record, id=run), curves)

    def _record(
        self, method: str, model: str, target: float | None, seed: int, drawn: Sequence[float], *, test: bool
    ) -> RunRecord:
        """Returns a copy of a template's record with another method, model and seed, and other numbers."""
        known = self.records[_role(method)]
        template = known[int(drawn[1] * len(known))]
        left = _weights_left(method, target, drawn[2])
        better = 4 * drawn[4] - 0.3 / left**0.7 - 3
        metrics = {k: v for k, v in template.metrics.numbers().items() if test or not k.startswith("test/")}
        for key in ("val/top1", "test/top1", "val_best/top1"):
            if key in metrics:
                metrics[key] = min(100.0, 96 + better + drawn[5] * (key == "test/top1"))
        metrics |= {"weights_left": left, "sparsity/prunable": 1 - left, "macs/fraction": left**0.8}
        how = {**template.run.method, "name": method}
        if target is not None and "final" in how:
            how["final"] = target
        run = RunSpec({**template.run.to_json(), "method": how, "model": model, "seed": seed})
        return replace(template, run=run, metrics=Metrics.from_numbers(metrics))

    def _write(self, study: str, entry: Entry, record: RunRecord, curves: bytes) -> None:
        """Writes files directly, not atomically: these records may be lost."""
        folder, entries = self.home / "runs" / entry.run, self.home / "studies" / study / "entries"
        folder.mkdir(parents=True, exist_ok=True)
        entries.mkdir(parents=True, exist_ok=True)
        (folder / "record.json").write_text(to_text(record))
        run = {"run": record.run.to_json(), "identity": record.identity}
        (folder / "run.json").write_text(json.dumps(run, indent=1))
        (folder / "curves.parquet").write_bytes(curves)
        (entries / f"{entry.name}.json").write_text(to_text(entry))

    @cached_property
    def _space(self) -> Mapping[str, str]:
        return next((cell.space for cell in self.declared.cells.values() if cell.space), {})

    def _declaration(self, shape: Shape, cells: Sequence[Cell], trials: int) -> StudyRecord:
        space = self._space
        kind, objectives = PARETO, ["accuracy", "weights_left"]
        if shape.targets:
            kind, objectives = LADDER, ["accuracy"]
        shares = {objective: {name: 1 / len(space) for name in space} for objective in objectives}
        methods = sorted({method for method, *_ in cells})
        return replace(
            self.declared,
            name=shape.name,
            kind=kind,
            topic=shape.topic,
            question="None: these runs are made up, to time what shows them.",
            objectives=tuple(objectives),
            models=tuple(sorted({model for _, model, _ in cells})),
            methods=tuple(methods),
            targets=shape.targets or None,
            trials=trials,
            final_seeds=SEEDS,
            figures=shape.figures,
            claims={},
            documentation=dict.fromkeys(methods, "Made up."),
            cells={_named(cell): CellRecord(*cell, space=space, importances=shares) for cell in cells},
            baselines={},
            baseline=None,
            command="python -m bench.perf.scale",
        )


def make(home: Path, templates: Path, runs: int, shapes: Sequence[Shape] = SHAPES) -> int:
    """Writes about ``runs`` made-up runs to a new folder, from the real runs in ``templates``; returns their number.

    Raises:
        MissingData: ``templates`` has no study with finished runs.
    """
    maker = Maker(Folder(templates), home)
    for shape in shapes:
        maker.study(shape, round(shape.share * runs))
    return len(Folder(home).run_ids())


def _fitting(shape: Shape, runs: int) -> list[Cell]:
    """Returns as many of the study's cells as have at least one trial for each final; at least one cell."""
    targets: Sequence[float | None] = shape.targets or (None,)
    cells = list[Cell](itertools.product(shape.methods, shape.models, targets))
    return cells[: max(1, (runs - len(SEEDS) * len(shape.models)) // (2 * shape.finals * len(SEEDS)))]


def _role(method: str) -> str:
    """Returns the key of a method's templates."""
    if method == CONTROL:
        return CONTROL
    return "pruned"


def _weights_left(method: str, target: float | None, drawn: float) -> float:
    """Returns the share of weights left in a run; without a target it is log-uniform over `WEIGHTS_LEFT`."""
    if method == CONTROL:
        return 1.0
    if target is not None:
        return 1 - target
    low, high = (math.log(left) for left in WEIGHTS_LEFT)
    return math.exp(low + drawn * (high - low))


def _named(cell: Cell) -> str:
    method, model, target = cell
    if target is None:
        return f"{method}/{model}"
    return f"{method}/{model}@{target:g}"


def _params(space: Mapping[str, str], drawn: Sequence[float]) -> dict[str, Any]:
    """Returns a value for each tuned parameter."""
    found: dict[str, Any] = {}
    for (name, text), share in zip(space.items(), itertools.cycle(drawn), strict=False):
        about = json.loads(text)["attributes"]
        if "choices" in about:
            found[name] = about["choices"][int(share * len(about["choices"]))]
        else:
            found[name] = about["low"] + share * (about["high"] - about["low"])
            if isinstance(about["low"], int):
                found[name] = round(found[name])
    return found


def _longer(curves: pd.DataFrame) -> bytes:
    """Returns the bytes of a parquet file with curves stretched to 60 epochs, as of runs on real images."""
    places, wanted = np.linspace(0, 1, len(curves)), np.linspace(0, 1, EPOCHS)
    made = {name: curves[name].iloc[(wanted * (len(curves) - 1)).astype(int)].to_numpy() for name in curves}
    for name in curves.select_dtypes("number"):
        made[name] = np.interp(wanted, places, curves[name].astype(float))
    longer = pd.DataFrame(made).assign(step=range(1, EPOCHS + 1), epoch=[float(e) for e in range(1, EPOCHS + 1)])
    file = io.BytesIO()
    longer.to_parquet(file)
    return file.getvalue()

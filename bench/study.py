"""A study: a question declared as data, and how it is answered: tuned trials, then finals with seeds of their own.

    declare -> for each cell, generations of trials: ask, run, tell -> choose on validation -> finals and controls, test

A cell is a method on a model (on a ladder: at one target). Whatever a cell computes is found again by its run's id, so the
same command goes on where it stopped and computes nothing twice.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bench import PROTOCOL, machine, plugins, select, tasks
from bench.config import digest
from bench.errors import BenchError, one_of
from bench.method import Method
from bench.place import Place
from bench.pool import Outcome, Pool
from bench.record import SCHEMA, write_json
from bench.spec import Run
from bench.tuner import SAMPLERS, Space, Tuner, check_space, open_storage, spaces_json

OWN = {
    "task": "use --task",
    "model": "use --models",
    "seed": "use --seed and --final-seeds",
    "test": "only finals open the test split",
}
COSTS = ("weights_left", "macs/fraction")
SELECTION = {
    "pareto": "of the trials that no other beats in validation top-1 (last epoch) and {cost} at once, the {finals} that "
    "together dominate the largest area of accuracy above chance against log compression, without those that lost more than "
    "half of it",
    "ladder": "the trial with the best validation top-1 (last epoch) at each target",
}


@dataclass(frozen=True)
class Study:
    """A question, declared. ``settings`` are key=value settings for every run; a method's field set there is not tuned."""

    kind: str
    question: str
    methods: tuple[str, ...]
    models: tuple[str, ...]
    task: str = "digits"
    targets: tuple[float, ...] = ()
    settings: tuple[str, ...] = ()
    trials: int = 8
    finals: int = 2
    final_seeds: tuple[int, ...] = (1000, 1001, 1002)
    controls: tuple[str, ...] = ()
    cost: str = "weights_left"
    sampler: str = "tpe"
    generation: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Seeds that tuning used never report."""
        if self.seed in self.final_seeds:
            raise BenchError(
                f"tuning and reporting seeds must differ, but seed={self.seed} is among final_seeds={self.final_seeds}; "
                "choose another --seed"
            )
        for setting in self.settings:
            key = setting.partition("=")[0]
            if key in OWN:
                raise BenchError(f"a study sets `{key}` of its runs itself, but got {setting!r}; {OWN[key]}")
        if self.cost not in COSTS:
            raise one_of("cost", self.cost, COSTS)
        if self.sampler not in SAMPLERS:
            raise one_of("sampler", self.sampler, SAMPLERS)
        if self.kind == "ladder" and not self.targets:
            raise BenchError("a ladder needs targets, but got none; give --targets 0.8,0.9")
        if not self.methods or not self.models or not self.final_seeds or self.trials < 1:
            raise BenchError("a study needs a method, a model, a final seed and a trial at least")

    @property
    def name(self) -> str:
        """Kind, methods and task, with a digest of everything that its numbers depend on but how many there are."""
        what = (self.models, self.targets, self.settings, self.cost, self.sampler, self.generation, self.seed)
        task = self.task.rstrip("/").rpartition("/")[2].replace(":", "-")
        return f"{self.kind}-{'-'.join(self.methods)}-{task}-{digest({'': repr(what)})[:6]}"

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the values that trials are told with."""
        return ("accuracy", self.cost) if self.kind == "pareto" else ("accuracy",)

    @property
    def directions(self) -> tuple[Literal["minimize", "maximize"], ...]:
        """Optuna's direction of each objective."""
        return ("maximize", "minimize") if self.kind == "pareto" else ("maximize",)

    def cells(self) -> list[Cell]:
        """Methods x models x targets, in this order."""
        targets: tuple[float | None, ...] = self.targets if self.kind == "ladder" else (None,)
        return [Cell(self, m, model, t) for m in self.methods for model in self.models for t in targets]

    def run(self, method: Method[Any], model: str, seed: int, *, test: bool = False) -> Run:
        """A run of this study."""
        base = Run(method=method, task=self.task, model=model, seed=seed, test=test)
        return base.with_values(self.settings)


@dataclass(frozen=True)
class Cell:
    """One method on one model, at one target on a ladder: what one Optuna study tunes."""

    study: Study = field(repr=False)
    method: str
    model: str
    target: float | None

    @property
    def key(self) -> str:
        """The cell's name, such as ``sap/test_vit`` or ``sap/test_vit@0.9``."""
        return f"{self.method}/{self.model}" + (f"@{self.target:g}" if self.target is not None else "")

    @property
    def base(self) -> Method[Any]:
        """The method at its defaults, with the study's settings and the cell's target."""
        cls: type[Method[Any]] = plugins.load(plugins.METHODS, self.method).METHOD
        method = self.study.run(cls(), self.model, self.study.seed).method
        if self.target is None:
            return method
        if method.target is None:
            raise BenchError(f"a ladder needs a method with a target, but {self.method!r} has none; use STUDY=pareto")
        return replace(method, **{method.target: self.target})

    @property
    def space(self) -> Space:
        """What is tuned: the method's SPACE without what the target or the settings fix."""
        module = plugins.load(plugins.METHODS, self.method)
        check_space(module.METHOD, module.SPACE)
        fixed = {s.partition("=")[0].removeprefix("method.") for s in self.study.settings}
        fixed |= {self.base.target} if self.target is not None and self.base.target else set()
        return {k: v for k, v in module.SPACE.items() if k not in fixed}

    def run(self, params: Mapping[str, Any], seed: int, *, test: bool = False) -> Run:
        """The run of a configuration."""
        return self.study.run(replace(self.base, **params), self.model, seed, test=test)


@dataclass
class Result:
    """What a study came to."""

    name: str
    chosen: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by cell: number, params, values
    failures: Counter[str] = field(default_factory=Counter)  # reasons of the entries that failed
    computed: int = 0  # runs that were not on record before


@dataclass
class Conductor:
    """Carries a study out. ``expect`` is told how many more runs than the trials there will be."""

    study: Study
    place: Place
    pool: Pool
    expect: Callable[[int], None] = lambda more: None

    def conduct(self) -> Result:
        """All trials, the choice, all finals.

        Raises:
            BenchError: every trial failed (with the reasons), the study is held by another process, or the disk is full.
            KeyboardInterrupt: after Ctrl-C; everything finished is kept.
        """
        with self._hold():
            result = Result(self.study.name)
            tuners = self._tuners()
            self._declare(tuners, final=False)
            while work := self._generations(tuners):
                self._trials(work, tuners, result)
            self._require_some()
            self._finals(result)
            result.failures = self._failures()
            self._declare(tuners, final=True)
            write_json(self.place.home / "studies" / self.study.name / "best.json", result.chosen)
            return result

    @contextlib.contextmanager
    def _hold(self) -> Iterator[None]:
        folder = self.place.home / "studies" / self.study.name
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BenchError(
                    f"one process conducts a study, but another holds {self.study.name!r}; wait for it, or stop it"
                ) from None
            yield

    def _tuners(self) -> dict[str, Tuner]:
        study = self.study
        storage = open_storage(self.place.storage, self.place.home / "studies" / study.name / "optuna.journal")
        tuners = {}
        for cell in study.cells():
            tuners[cell.key] = Tuner(
                storage,
                f"{study.name}/{cell.key}",
                cell.space,
                study.directions,
                default=cell.base.to_dict(),
                sampler=study.sampler,
                seed=study.seed,
                trials=study.trials if cell.space else 1,
            )
        return tuners

    def _generations(self, tuners: Mapping[str, Tuner]) -> dict[tuple[str, int], dict[str, Any]]:
        """The next trials of every cell, by cell and number, with their parameters."""
        return {
            (key, number): params
            for key, tuner in tuners.items()
            for number, params in tuner.generation(self.study.generation).items()
        }

    def _trials(
        self, work: Mapping[tuple[str, int], dict[str, Any]], tuners: Mapping[str, Tuner], result: Result
    ) -> None:
        cells, runs = {c.key: c for c in self.study.cells()}, list[tuple[str, Run]]()
        outcomes = dict[str, Outcome]()
        for (key, number), params in work.items():
            label = f"{key} trial {number}"
            try:
                run = cells[key].run(params, self.study.seed)
            except BenchError as error:  # a combination that the method refuses
                outcomes[label] = Outcome(
                    self.study.run(cells[key].base, cells[key].model, 0), "failed", "", str(error)
                )
                continue
            runs.append((label, run))
            self._note("trial", key, number, run, params, "running")
        outcomes |= self.pool.run(runs)
        for (key, number), params in work.items():  # told in order, whatever the order of ending was
            outcome = outcomes[f"{key} trial {number}"]
            values = self._values(outcome)
            tuners[key].tell(number, values, run=outcome.run.id, reason=outcome.reason)
            state = "finished" if values else "failed"
            self._note("trial", key, number, outcome.run, params, state, values=values, reason=outcome.reason)
            result.computed += not outcome.cached

    def _require_some(self) -> None:
        trials = [e for e in self.place.records.entries(self.study.name) if e["kind"] == "trial"]
        if not any(e["state"] == "finished" for e in trials):
            reasons = "; ".join(f"{n} x {reason}" for reason, n in self._failures().most_common(3))
            raise BenchError(f"a study needs one finished trial at least, but all {len(trials)} failed: {reasons}")

    def _failures(self) -> Counter[str]:
        entries = self.place.records.entries(self.study.name)
        return Counter(str(e["reason"]) for e in entries if e["state"] == "failed")

    def _values(self, outcome: Outcome) -> list[float] | None:
        if outcome.state != "finished":
            return None
        metrics = (self.place.records.record(outcome.run.id) or {})["metrics"]
        return [metrics["val/top1"], metrics[self.study.cost]][: len(self.study.objectives)]

    def _choose(self, cell: Cell) -> list[dict[str, Any]]:
        """The configurations that go to the finals: a function of validation numbers only."""
        trials = [
            e
            for e in self.place.records.entries(self.study.name)
            if e["kind"] == "trial" and e["cell"] == cell.key and e["state"] == "finished"
        ]
        if self.study.kind == "ladder":
            picked = select.best([t["values"][0] for t in trials])
        else:
            chance = 100 / tasks.info(self.study.task, self.place.data).classes
            picked = select.spread([(t["values"][0], t["values"][1]) for t in trials], self.study.finals, chance)
        return [trials[i] for i in picked]

    def _finals(self, result: Result) -> None:
        runs = list[tuple[str, Run]]()
        notes = dict[str, tuple[str, str, int, Run, dict[str, Any]]]()
        for cell in self.study.cells():
            result.chosen[cell.key] = self._choose(cell)
            for trial in result.chosen[cell.key]:
                for seed in self.study.final_seeds:
                    label = f"{cell.key} final {trial['number']} seed {seed}"
                    run = cell.run(trial["params"], seed, test=True)
                    notes[label] = ("final", cell.key, trial["number"], run, trial["params"])
                    runs.append((label, run))
        for control in self.study.controls:
            cls: type[Method[Any]] = plugins.load(plugins.METHODS, control).METHOD
            for model in self.study.models if control not in self.study.methods else ():
                for seed in self.study.final_seeds:
                    label, run = f"{control}/{model} control seed {seed}", self._control(cls(), model, seed)
                    notes[label] = ("baseline", f"{control}/{model}", 0, run, {})
                    runs.append((label, run))
        self._forget_former({(n[1], n[2]) for n in notes.values() if n[0] == "final"})
        for kind, cell_key, number, run, params in notes.values():
            self._note(kind, cell_key, number, run, params, "running")
        self.expect(len(runs))
        outcomes = self.pool.run(runs, keep_weights=True)
        for label, (kind, key, number, _, params) in notes.items():
            outcome = outcomes[label]
            self._note(kind, key, number, outcome.run, params, outcome.state, reason=outcome.reason)
            result.computed += not outcome.cached

    def _forget_former(self, chosen: set[tuple[str, int]]) -> None:
        """Finals of configurations that more trials have replaced are no part of the study's answer any more."""
        for entry in list(self.place.records.entries(self.study.name)):
            if entry["kind"] == "final" and (entry["cell"], entry["number"]) not in chosen:
                self.place.records.drop_entry(self.study.name, entry)

    def _control(self, method: Method[Any], model: str, seed: int) -> Run:
        """A control's run: the study's settings, as far as they do not speak of the tuned method's own fields."""
        base = Run(method=method, task=self.study.task, model=model, seed=seed, test=True)
        known = base.keys()
        own = [s for s in self.study.settings if s.partition("=")[0].removeprefix("recipe.") in known]
        return base.with_values(own)

    def _note(
        self,
        kind: str,
        cell: str,
        number: int,
        run: Run,
        params: Mapping[str, Any],
        state: str,
        values: Sequence[float] | None = None,
        reason: str = "",
    ) -> None:
        entry = {
            "kind": kind,
            "cell": cell,
            "number": number,
            "seed": run.seed,
            "run": run.id,
            "params": dict(params),
            "values": list(values) if values else None,
            "state": state,
            "reason": reason or None,
        }
        self.place.records.write_entry(self.study.name, entry)

    def _declare(self, tuners: Mapping[str, Tuner], *, final: bool) -> None:
        """Write study.json: what reports and MLflow need to know about the study as a whole."""
        study = self.study
        modules = {m: plugins.load(plugins.METHODS, m) for m in study.methods}
        cells = {
            c.key: {
                "method": c.method,
                "model": c.model,
                "target": c.target,
                "space": spaces_json(c.space),
                "importances": tuners[c.key].importances(study.objectives) if final else {},
            }
            for c in study.cells()
        }
        declaration = {
            "schema": SCHEMA,
            "protocol": PROTOCOL,
            "name": study.name,
            "kind": study.kind,
            "state": "finished" if final else "running",
            "question": study.question,
            "select": SELECTION[study.kind].format(cost=study.cost, finals=study.finals),
            "objectives": list(study.objectives),
            "task": study.task,
            "models": list(study.models),
            "methods": list(study.methods),
            "targets": list(study.targets) or None,
            "settings": list(study.settings),
            "trials": study.trials,
            "sampler": study.sampler,
            "generation": study.generation,
            "seed": study.seed,
            "final_seeds": list(study.final_seeds),
            "controls": list(study.controls),
            "cells": cells,
            "claims": {m: [claim.to_dict() for claim in module.CLAIMS] for m, module in modules.items()},
            "reconstructions": {
                m: module.METHOD.reconstruction for m, module in modules.items() if module.METHOD.reconstruction
            },
            "documentation": {m: (module.__doc__ or "").strip().partition("\n")[0] for m, module in modules.items()},
            "command": machine.command(),
        }
        write_json(self.place.home / "studies" / study.name / "study.json", declaration)

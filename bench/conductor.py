"""How a study is answered: tuned trials, or a grid's variants; then finals with seeds of their own.

    declare -> dense models to start from, where the study has such a stage -> for each cell, generations of trials: ask, run,
    tell -> choose on validation -> finals, baselines and controls, test

In a grid there are no trials: every variant goes to the finals. Whatever a cell computes is found again by its run's id, so
the same command goes on where it stopped and computes nothing twice.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench import plugins, select, tasks
from bench.cell import Cell
from bench.declaration import declaration
from bench.derived import derive
from bench.errors import BenchError
from bench.method import Method
from bench.place import Place
from bench.planned import Note, begun, finals, start_of
from bench.pool import Outcome, Pool
from bench.record import read_json, write_json
from bench.spec import Run
from bench.study import Study
from bench.tuner import Tuner, open_storage


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
            BenchError: every trial failed, or every run of a grid (with the reasons), the study is held by another process,
                or the disk is full.
            KeyboardInterrupt: after Ctrl-C; everything finished is kept.
        """
        with self._hold():
            result = Result(self.study.name)
            tuners = self._tuners()
            self._declare(tuners, final=False)
            if self.study.dense is not None:
                self._compute(list(begun(self.study, tuned=bool(tuners))), result)
            while work := self._generations(tuners):
                self._trials(work, tuners, result)
            if tuners:
                self._require_some("trial")
            self._finals(result)
            if not tuners:
                self._require_some("final")
            result.failures = self._failures()
            self._declare(tuners, final=True)
            if tuners:
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
        if study.kind == "grid" or not study.trials:
            return {}
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
                trials=cell.trials,
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
                run = cells[key].run(params, self.study.seed, start=start_of(self.study, cells[key], self.study.seed))
            except BenchError as error:  # a combination that the method refuses
                outcomes[label] = Outcome(
                    self.study.run(cells[key].base, cells[key].model, 0), "failed", "", str(error)
                )
                continue
            runs.append((label, run))
            self._note(self._trial(key, number, run, params), run, "running")
        outcomes |= self.pool.run(runs)
        for (key, number), params in work.items():  # told in order, whatever the order of ending was
            outcome = outcomes[f"{key} trial {number}"]
            values = self._values(outcome)
            tuners[key].tell(number, values, run=outcome.run.id, reason=outcome.reason)
            state = "finished" if values else "failed"
            note = self._trial(key, number, outcome.run, params)
            self._note(note, outcome.run, state, values=values, reason=outcome.reason)
            result.computed += not outcome.cached

    def _trial(self, key: str, number: int, run: Run, params: Mapping[str, Any]) -> Note:
        return Note("trial", key, number, run, params, (self.study.seed, self.study.seed))

    def _require_some(self, kind: str) -> None:
        found = [e for e in self.place.records.entries(self.study.name) if e["kind"] == kind]
        if not any(e["state"] == "finished" for e in found):
            reasons = "; ".join(f"{n} x {reason}" for reason, n in self._failures().most_common(3))
            raise BenchError(f"a study needs one finished {kind} at least, but all {len(found)} failed: {reasons}")

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
        tuned = [cell for cell in self.study.cells() if cell.trials]
        result.chosen = {cell.key: self._choose(cell) for cell in tuned}
        planned = list(finals(self.study, result.chosen))
        self._forget_former({(n.cell, n.number) for n in planned if n.kind == "final"})
        self._compute(planned, result)
        self._compute(list(self._following(planned)), result)

    def _compute(self, planned: Sequence[Note], result: Result) -> None:
        notes = {n.label: n for n in planned}
        for n in notes.values():
            self._note(n, n.run, "running")
        self.expect(len(notes))
        outcomes = self.pool.run([(label, n.run) for label, n in notes.items()], keep_weights=True)
        for label, n in notes.items():
            outcome = outcomes[label]
            self._note(n, outcome.run, outcome.state, reason=outcome.reason)
            result.computed += not outcome.cached

    def _following(self, planned: Sequence[Note]) -> Iterator[Note]:
        """The controls that follow from the finals that are finished."""
        plain: Method[Any] | None = None
        for name in self.study.derived:
            plain = plain or plugins.load(plugins.METHODS, self.study.controls[0]).METHOD()
            for n in planned:
                record = self.place.records.record(n.run.id) if n.kind == "final" else None
                if record is None or record["status"] != "finished":
                    continue
                made = derive(name, n.run, record, plain, self.study.scratch)
                if made is not None:
                    whose = n.run.method.name + n.cell.removeprefix(f"{n.run.method.name}/{n.run.model}").replace(
                        ":", " "
                    )
                    cell = f"{name}/{n.run.model}:{whose}"
                    yield Note("baseline", cell, n.number, made, {"of": n.run.id}, n.seeds, n.cell)

    def _forget_former(self, chosen: set[tuple[str, int]]) -> None:
        """Finals of configurations that more trials have replaced are no part of the study's answer any more."""
        for entry in list(self.place.records.entries(self.study.name)):
            if entry["kind"] == "final" and (entry["cell"], entry["number"]) not in chosen:
                self.place.records.drop_entry(self.study.name, entry)

    def _note(self, note: Note, run: Run, state: str, values: Sequence[float] | None = None, reason: str = "") -> None:
        dense, seed = note.seeds
        entry = {
            "kind": note.kind,
            "cell": note.cell,
            "number": note.number,
            "seed": seed,
            "run": run.id,
            "params": dict(note.params),
            "values": list(values) if values else None,
            "state": state,
            "reason": reason or None,
            **({"of": note.of} if note.of else {}),
            **({"dense_seed": dense} if dense != seed else {}),
        }
        self.place.records.write_entry(self.study.name, entry)

    def _declare(self, tuners: Mapping[str, Tuner], *, final: bool) -> None:
        """Write study.json; that of a frozen study is what it was when it started, or it is refused."""
        study, done = self.study, tuners if final else {}
        path = self.place.home / "studies" / study.name / "study.json"
        importances = {key: tuner.importances(study.objectives) for key, tuner in done.items()}
        told = declaration(study, importances, state="finished" if final else "running")
        before = read_json(path).get("frozen") if study.frozen and path.exists() else told["frozen"]
        if before != told["frozen"]:
            raise BenchError(
                f"a study is frozen when it starts, but {study.name} was started with another declaration ({before}, now "
                f"{told['frozen']}): defaults or spaces have changed since; go back to that version, or rename its folder"
            )
        write_json(path, told)

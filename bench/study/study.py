"""A study: a question declared as data. `bench.scheduler.coordinator` answers it.

What a study varies, tunes and chooses depends on its kind (`bench.study.kinds`). A cell is a method on a model (on a ladder: at
one target; in a grid: one variant). A run is found again by its id, whatever study it was computed for.

A study with a dense stage first trains dense models; every other run starts from the one of its model and dense seed. By
default repetition i has the i-th final seed for both trainings; with dense seeds of their own the two levels are crossed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from bench import registry
from bench.errors import BenchError, one_of
from bench.records.protocol import PROTOCOL
from bench.run import Run
from bench.study import controls
from bench.study.cell import Cell
from bench.study.kinds import Axes, Direction, Kind, kind_of
from bench.study.naming import name_digest
from bench.study.space import SAMPLERS
from bench.study.template import RunTemplate
from bench.study.variant import Baseline, Variant, key_of

__all__ = ["Baseline", "Cell", "Study", "Variant", "key_of"]

RESERVED = {
    "task": "use --task",
    "data": "it is the digest of the images in the task's folder",
    "model": "use --models",
    "seed": "use --seed and --final-seeds",
    "test": "only finals open the test split",
}
"""What a study sets of its runs itself, and how a person sets it instead."""

COSTS = ("weights_left", "macs/fraction")


@dataclass(frozen=True)
class Study:
    """A question, declared.

    What it varies:
        kind: `Pareto`, `Ladder` or `Grid` (`bench.study.kinds`), or the name of one.
        question: what it asks, in a sentence.
        methods, models, task: of its runs.
        targets: the budgets of a ladder, as shares to remove.
        variants: the points of a grid.
        recoveries: on a ladder, every cell runs with each of these (`bench.training.recovery`); none: as the settings say.

    What its runs are set to (key=value; a method's field that is set is not tuned):
        settings: for every run.
        own: for the runs of single methods, by the method's name.
        dense: for the dense models that other runs start from; None: there is no dense stage.

    How it tunes and chooses:
        trials, sampler, seed: of each cell. No trials: the methods run as they are set.
        generation: how many trials do not know each other's results.
        cost: the size that a Pareto study trades for accuracy.
        tuned_recipe: fields of the recipe that every cell tunes besides its method's own, baselines too (`bench.study.space`).
        finals: how many configurations of a cell go to the finals of a Pareto study.

    What it is repeated with, and compared with:
        final_seeds: of the finals.
        dense_seeds: of the dense models, crossed with the final seeds; none: one dense model to each final seed.
        controls: methods that run with the final seeds at their defaults; the first one trains the dense models.
        derived: controls that follow from each finished final (`bench.study.controls`), of which those that start from an
            initialisation have the settings ``scratch`` too.
        baselines: run besides the methods. ``baseline``: the name that all are compared with.

    What it is called, and how it is shown:
        topic: names a study that brings its own methods.
        figures: the report adds these.
        lenient: a model that cannot be built, or where a method cannot act, is a recorded failure; otherwise it is refused.
        speed: modes ("eager", "compiled") in which a final of each configuration is timed when all runs are done.
        frozen: with any other count of seeds or trials it is another study.
        unsafe_start: runs may start from weights that do not declare their images; every number that follows is marked.
        data: the digest of the images of folder:PATH; other images are another study.
    """

    kind: Kind
    question: str
    methods: tuple[str, ...]
    models: tuple[str, ...]
    task: str = "digits"
    targets: tuple[float, ...] = ()
    variants: tuple[Variant, ...] = ()
    settings: tuple[str, ...] = ()
    trials: int = 8
    finals: int = 2
    final_seeds: tuple[int, ...] = (1000, 1001, 1002)
    controls: tuple[str, ...] = ()
    cost: str = "weights_left"
    sampler: str = "tpe"
    generation: int = 4
    seed: int = 0
    topic: str = ""
    figures: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    lenient: bool = False
    speed: tuple[str, ...] = ()
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    dense: tuple[str, ...] | None = None
    dense_seeds: tuple[int, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    baseline: str = ""
    recoveries: tuple[str, ...] = ()
    frozen: bool = False
    tuned_recipe: tuple[str, ...] = ()
    unsafe_start: bool = field(default=False, metadata={"identity": False})
    data: str = ""

    def __post_init__(self) -> None:
        """Raises `BenchError` for a declaration that cannot be carried out, or of which a part has no effect."""
        object.__setattr__(self, "kind", kind_of(self.kind))
        self._check_seeds()
        self._check_settings()
        self._check_parts()
        self.kind.check(self.axes, self.settings)
        self._check_dense()
        self._check_baselines()

    def _check_seeds(self) -> None:
        """The seed of the tuning is none of those that reported numbers come from."""
        if self.seed in (reporting := (*self.final_seeds, *self.dense_seeds)):
            raise BenchError(
                f"tuning and reporting seeds must differ, but seed={self.seed} is among final_seeds={reporting}; "
                "choose another --seed"
            )

    def _check_settings(self) -> None:
        """No setting is one that the study makes itself, or of a method that is not in the study."""
        for setting in self._all_settings():
            key = setting.partition("=")[0]
            if key in RESERVED:
                raise BenchError(f"a study sets `{key}` of its runs itself, but got {setting!r}; {RESERVED[key]}")
        if stray := sorted(set(self.own) - set(self.methods)):
            raise BenchError(
                f"settings of single methods are for the study's own, but {stray[0]!r} is none of {self.methods}; "
                "leave it out, or name the method"
            )

    def _all_settings(self) -> Iterator[str]:
        yield from self.settings
        yield from self.dense or ()
        for variant in self.variants:
            yield from variant.settings
        for baseline in self.baselines:
            yield from baseline.settings
        for own in self.own.values():
            yield from own

    def _check_parts(self) -> None:
        """Each name is one that exists, and nothing that a study needs is empty."""
        if self.cost not in COSTS:
            raise one_of("cost", self.cost, COSTS)
        if self.sampler not in SAMPLERS:
            raise one_of("sampler", self.sampler, SAMPLERS)
        for name in self.derived:
            controls.check(name)
        if not self.methods or not self.models or not self.final_seeds or self.trials < self.kind.least_trials:
            raise BenchError(
                "a study needs a method, a model, a final seed and a trial at least, but got "
                f"methods={self.methods}, models={self.models}, final_seeds={self.final_seeds}, trials={self.trials}"
            )

    def _check_dense(self) -> None:
        """What trains plainly has a control that says how; dense seeds have a dense stage."""
        if self.derived and not self.controls:
            raise BenchError(
                "controls that follow from a run train plainly, but this study has no plain training among controls; "
                "add dense to controls="
            )
        if self.dense is not None and not self.controls:
            raise BenchError(
                "a dense stage trains plainly, but this study has no plain training among controls; add dense to controls="
            )
        if self.dense_seeds and self.dense is None:
            raise BenchError(
                "dense seeds are those of a dense stage, but this study has none; leave --dense-seeds out, or take a study "
                "that has one: compare"
            )

    def _check_baselines(self) -> None:
        """Methods, baselines and the control have different names, and the one to compare with is among them."""
        names = [*self.methods, *(b.label for b in self.baselines), *self.controls[:1]]
        twice = [name for name, n in Counter(names).items() if n > 1]
        if self.baselines and twice:
            raise BenchError(
                f"methods, baselines and the control differ in their names, but {twice[0]!r} is there twice; rename one"
            )
        if self.baseline and self.baseline not in names:
            raise one_of("baseline", self.baseline, names)

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as JSON has them: the form in which workers find the study in the storage."""
        return {**asdict(self), "kind": self.kind.name}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Study:
        """Returns the study of `to_dict`, of this version or an earlier one; a field that is missing has its default."""
        read: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in values.items()}
        read["variants"] = tuple(Variant.from_dict(value) for value in values.get("variants", ()))
        read["baselines"] = tuple(Baseline.from_dict(value) for value in values.get("baselines", ()))
        read["own"] = {name: tuple(settings) for name, settings in values.get("own", {}).items()}
        return cls(**read)

    @property
    def name(self) -> str:
        """Topic (or kind and methods) and task, with a digest of all that its numbers depend on but how many there are; of a
        frozen study that too."""
        task = self.task.rstrip("/").rpartition("/")[2].replace(":", "-")
        about = self.topic or f"{self.kind.name}-{'-'.join(self.methods)}"
        return f"{about}-{task}-{name_digest(self._named_by(), self, self.variants, self.baselines)}"

    def _named_by(self) -> list[Any]:
        """The values of the first version's fields that enter the name, in its order; a part that is empty is left out."""
        values: list[Any] = [self.models, self.targets, self.settings, self.cost, self.sampler]
        values += [self.generation, self.seed]
        if self.topic:
            values.append(self.methods)
        if self.variants:
            values.append([v.named_by for v in self.variants])
        values += [part for part in (sorted(self.own.items()), self.baselines, self.recoveries) if part]
        if self.dense is not None:
            values.append(self.dense)
        if self.frozen:
            values += [self.trials, self.finals, self.final_seeds, self.dense_seeds]
            values += [self.controls, self.derived, self.scratch, PROTOCOL]
        return values

    @property
    def tuned(self) -> bool:
        """Whether there are trials."""
        return self.kind.tuned and self.trials > 0

    @property
    def compares(self) -> bool:
        """Whether it compares methods, and not settings of one method."""
        return len({*self.methods, *(b.method for b in self.baselines)}) > 1

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the values of a trial; empty where the kind has no trials."""
        return self.kind.objectives(self.cost)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Optuna's direction of each objective."""
        return self.kind.directions()

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The repetitions of a final: the seed of the dense model that it starts from, and its own."""
        if not self.dense_seeds:
            return [(seed, seed) for seed in self.final_seeds]
        return [(dense, seed) for dense in self.dense_seeds for seed in self.final_seeds]

    @property
    def axes(self) -> Axes:
        """What it varies."""
        return Axes(**{f.name: getattr(self, f.name) for f in fields(Axes)})

    @property
    def template(self) -> RunTemplate:
        """What all of its runs have in common."""
        control = self.controls[0] if self.controls else ""
        return RunTemplate(
            self.task, self.seed, self.settings, self.own, self.dense, control, self.tuned_recipe, self.data
        )

    def dense_run(self, model: str, seed: int, *, test: bool = False) -> Run:
        """Returns the run that trains the dense model of a seed, from which the other runs on ``model`` start."""
        return self.template.dense_run(model, seed, test=test)

    def cells(self) -> list[Cell]:
        """Returns all cells of the methods, in the order in which they are shown."""
        return self.kind.cells(self.axes, self.template, self.trials)

    def tuned_cells(self) -> list[Cell]:
        """Returns the cells of the methods and of the baselines that have trials."""
        return [cell for cell in (*self.cells(), *self.baseline_cells()) if cell.trials]

    def baseline_cells(self) -> list[Cell]:
        """Returns the cells of the baselines: one at each target where the method has a target, with as many trials as a
        method's."""
        template, found, most = self.template, list[Cell](), self.trials if self.tuned else 0
        for baseline in self.baselines:
            aimed = registry.load(registry.METHODS, baseline.method).METHOD.target is not None
            targets: tuple[float | None, ...] = self.targets if aimed and self.targets else (None,)
            recoveries = self.recoveries if aimed and self.recoveries else ("",)
            points = [(m, t, r) for m in self.models for t in targets for r in recoveries]
            found += [Cell(template, baseline.method, m, t, None, 0, baseline, r, most) for m, t, r in points]
        return found

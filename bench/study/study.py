"""A study: a question declared as data. `bench.scheduler.coordinator` answers it.

There are three kinds. "pareto" and "ladder" tune: on a ladder at each of the given targets. A "grid" compares variants that
are spelled out, and tunes nothing. A cell is a method on a model (on a ladder: at one target; in a grid: one variant).
Whatever a cell computes is found again by its run's id.

A study with a dense stage first trains dense models; every other run starts from the one of its model and dense seed. By
default repetition i has the i-th final seed for both trainings; with dense seeds of their own the two levels are crossed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from bench import registry
from bench.config import digest
from bench.errors import BenchError, one_of
from bench.method import Method
from bench.protocol import PROTOCOL
from bench.run import Run
from bench.study import controls
from bench.study.cell import Cell
from bench.study.space import SAMPLERS
from bench.study.variant import Baseline, Variant, key_of

__all__ = ["Baseline", "Cell", "Study", "Variant", "key_of"]

KINDS = ("pareto", "ladder", "grid")
OWN = {
    "task": "use --task",
    "model": "use --models",
    "seed": "use --seed and --final-seeds",
    "test": "only finals open the test split",
}
COSTS = ("weights_left", "macs/fraction")


@dataclass(frozen=True)
class Study:
    """A question, declared. ``settings`` are key=value settings for every run; a method's field set there is not tuned.

    ``topic`` names a study that brings its own methods; ``figures`` are figures that the report adds for it; ``derived``
    are controls that follow from each finished final (`bench.study.controls`), of which those that start from an
    initialisation take the settings ``scratch`` besides; ``lenient``: a
    model that cannot be built, or where a method cannot act, is a recorded failure and no reason to refuse the study;
    ``speed`` are the modes ("eager", "compiled") in which a final of each configuration is timed when all runs are done.

    ``own`` are settings of single methods, by name; ``dense`` are those of the dense stage (None: there is none);
    ``dense_seeds`` are crossed with the final seeds (none: one dense model to each final seed); ``baselines`` come besides the
    methods, and ``baseline`` is the one that all are compared with; on a ladder each runs with each of the ``recoveries``
    (`bench.training.recovery`; none: as the settings say). No ``trials``: the methods run as they are set. Of a
    ``frozen`` study not even the number of seeds can change without its becoming another one.
    """

    kind: str
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

    def __post_init__(self) -> None:
        """Seeds that tuning used never report."""
        if self.seed in (reporting := (*self.final_seeds, *self.dense_seeds)):
            raise BenchError(
                f"tuning and reporting seeds must differ, but seed={self.seed} is among final_seeds={reporting}; "
                "choose another --seed"
            )
        of_one = [*(s for v in self.variants for s in v.settings), *(s for b in self.baselines for s in b.settings)]
        for setting in (*self.settings, *(self.dense or ()), *of_one, *(s for own in self.own.values() for s in own)):
            key = setting.partition("=")[0]
            if key in OWN:
                raise BenchError(f"a study sets `{key}` of its runs itself, but got {setting!r}; {OWN[key]}")
        if self.kind not in KINDS:
            raise one_of("kind of study", self.kind, KINDS)
        if self.cost not in COSTS:
            raise one_of("cost", self.cost, COSTS)
        if self.sampler not in SAMPLERS:
            raise one_of("sampler", self.sampler, SAMPLERS)
        if self.kind == "ladder" and not self.targets:
            raise BenchError("a ladder needs targets, but got none; give --targets 0.8,0.9")
        if not self.methods or not self.models or not self.final_seeds or self.trials < (self.kind == "pareto"):
            raise BenchError("a study needs a method, a model, a final seed and a trial at least")
        for name in self.derived:
            controls.check(name)
        if self.derived and not self.controls:
            raise BenchError(
                "controls that follow from a run train plainly, but this study has no plain training among controls"
            )
        self._check_variants()
        self._check_baselines()

    def _check_variants(self) -> None:
        """Variants are what a grid is made of; each can be told from the others, and no setting is without effect."""
        if (self.kind == "grid") != bool(self.variants):
            raise BenchError(
                f"a grid has variants and no other study has, but this {self.kind} has {len(self.variants)}"
            )
        twice = [k for k, n in Counter((v.method, v.label) for v in self.variants).items() if n > 1]
        if twice:
            raise BenchError(f"the variants of a method differ in their labels, but {twice[0]} is there more than once")
        if self.variants and {v.method for v in self.variants} != set(self.methods):
            raise BenchError(f"methods= must name those of the variants, but got {self.methods}")
        for variant in self.variants:
            if variant.model and variant.model not in self.models:
                raise BenchError(f"models= must name those of the variants, but {variant.model!r} is missing")
        for setting in self.settings if self.variants else ():
            if all(key_of(setting) in v.keys for v in self.variants):
                raise BenchError(
                    f"each variant of this grid sets `{key_of(setting)}` itself, but got {setting!r}; drop it"
                )

    def _check_baselines(self) -> None:
        """Each is named once, and no method's own settings are without effect."""
        names = [*self.methods, *(b.label for b in self.baselines), *self.controls[:1]]
        twice = [name for name, n in Counter(names).items() if n > 1]
        if self.baselines and twice:
            raise BenchError(
                f"methods, baselines and the control differ in their names, but {twice[0]!r} is there twice"
            )
        if stray := sorted(set(self.own) - set(self.methods)):
            raise BenchError(
                f"settings of single methods are of the study's own, but {stray[0]!r} is none of {self.methods}"
            )
        if self.dense is not None and not self.controls:
            raise BenchError("a dense stage trains plainly, but this study has no plain training among controls")
        if self.dense_seeds and self.dense is None:
            raise BenchError(
                "dense seeds are those of a dense stage, but this study has none; leave --dense-seeds out, or take a study "
                "that has one: compare"
            )
        if self.recoveries and (self.kind != "ladder" or len(set(self.recoveries)) < len(self.recoveries)):
            raise BenchError(
                f"ways to recover are an axis of ladders, each once, but this {self.kind} has {self.recoveries}"
            )
        if self.recoveries and any(key_of(setting) == "recovery" for setting in self.settings):
            raise BenchError("each cell sets `recovery` itself, but it is among the settings; use --recoveries")
        if self.baseline and self.baseline not in names:
            raise one_of("baseline", self.baseline, names)

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON has them: what a worker on another machine makes the study from."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Study:
        """The study of `to_dict`."""
        told: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        told["variants"] = tuple(Variant(**{**v, "settings": tuple(v["settings"])}) for v in values["variants"])
        told["baselines"] = tuple(Baseline(**{**b, "settings": tuple(b["settings"])}) for b in values["baselines"])
        told["own"] = {name: tuple(settings) for name, settings in values["own"].items()}
        return cls(**told)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The repetitions of a final: the seed of the dense model that it starts from, and its own."""
        if not self.dense_seeds:
            return [(seed, seed) for seed in self.final_seeds]
        return [(dense, seed) for dense in self.dense_seeds for seed in self.final_seeds]

    @property
    def name(self) -> str:
        """Topic (or kind and methods) and task, with a digest of all that its numbers depend on but how many there are; of a
        frozen study that too."""
        what: tuple[Any, ...] = (self.models, self.targets, self.settings, self.cost, self.sampler)
        what = (*what, self.generation, self.seed)
        what = (*what, self.methods) if self.topic else what
        what = (
            (*what, [(v.method, v.label, v.settings, *filter(None, [v.model])) for v in self.variants])
            if self.variants
            else what
        )
        what = (
            *what,
            *filter(None, (sorted(self.own.items()), self.baselines, self.recoveries)),
            *((self.dense,) if self.dense is not None else ()),
        )
        if self.frozen:
            counts = (self.trials, self.finals, self.final_seeds, self.dense_seeds)
            what = (*what, *counts, self.controls, self.derived, self.scratch, PROTOCOL)
        task = self.task.rstrip("/").rpartition("/")[2].replace(":", "-")
        about = self.topic or f"{self.kind}-{'-'.join(self.methods)}"
        return f"{about}-{task}-{digest({'': repr(what)})[:6]}"

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the values that trials are told with; a grid has no trials."""
        return {"pareto": ("accuracy", self.cost), "ladder": ("accuracy",)}.get(self.kind, ())

    @property
    def directions(self) -> tuple[Literal["minimize", "maximize"], ...]:
        """Optuna's direction of each objective."""
        return ("maximize", "minimize") if self.kind == "pareto" else ("maximize",)

    def cells(self) -> list[Cell]:
        """Methods x models x targets, or variants x models, in this order."""
        if self.kind == "grid":
            numbered = enumerate(self.variants)
            return [Cell(self, v.method, m, None, v, i) for i, v in numbered for m in self.models if v.model in ("", m)]
        targets: tuple[float | None, ...] = self.targets if self.kind == "ladder" else (None,)
        names = [(m, model) for m in self.methods for model in self.models]
        return [Cell(self, *name, t, recovery=r) for name in names for t in targets for r in self.recoveries or ("",)]

    def beside(self) -> list[Cell]:
        """The cells of the baselines: at each target where the method has one."""
        found = []
        for baseline in self.baselines:
            aimed = registry.load(registry.METHODS, baseline.method).METHOD.target is not None
            targets: tuple[float | None, ...] = self.targets if aimed and self.targets else (None,)
            recoveries = (aimed and self.recoveries) or ("",)
            places = [(m, t, r) for m in self.models for t in targets for r in recoveries]
            found += [Cell(self, baseline.method, m, t, baseline=baseline, recovery=r) for m, t, r in places]
        return found

    def begin(self, model: str, seed: int, *, test: bool = False) -> Run:
        """The dense model of a seed that the other runs on ``model`` start from."""
        plain: type[Method[Any]] = registry.load(registry.METHODS, self.controls[0]).METHOD
        return self.run(plain(), model, seed, test=test, settings=self.dense or (), known=True)

    def run(
        self,
        method: Method[Any],
        model: str,
        seed: int,
        *,
        test: bool = False,
        settings: tuple[str, ...] = (),
        known: bool = False,
    ) -> Run:
        """A run of this study; ``settings`` are applied after the study's, of which those that this method does not have are
        left out where only the ``known`` are wanted."""
        base = Run(method=method, task=self.task, model=model, seed=seed, test=test)
        fields = base.keys()
        shared = [s for s in self.settings if not known or key_of(s) in fields]
        return base.with_values((*shared, *settings))

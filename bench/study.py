"""A study: a question declared as data. `bench.conductor` answers it.

There are three kinds. "pareto" and "ladder" tune: on a ladder at each of the given targets. A "grid" compares variants that
are spelled out, and tunes nothing. A cell is a method on a model (on a ladder: at one target; in a grid: one variant).
Whatever a cell computes is found again by its run's id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Literal

from bench import derived, plugins
from bench.config import digest
from bench.errors import BenchError, one_of
from bench.method import Method
from bench.spec import Run
from bench.tuner import SAMPLERS, Space, check_space

KINDS = ("pareto", "ladder", "grid")
OWN = {
    "task": "use --task",
    "model": "use --models",
    "seed": "use --seed and --final-seeds",
    "test": "only finals open the test split",
}
COSTS = ("weights_left", "macs/fraction")


@dataclass(frozen=True)
class Variant:
    """One point of a grid: a method with key=value settings, which win over the study's.

    ``label`` tells the variants of a method apart (it may be empty where there is one), ``group`` says what is compared
    with what, and ``facts`` are numbers that belong beside the result, such as a predicted one. Without ``model`` it runs on
    all of the study's.
    """

    label: str
    method: str
    settings: tuple[str, ...] = ()
    group: str = ""
    facts: Mapping[str, float] = field(default_factory=dict, hash=False)
    model: str = ""

    def __post_init__(self) -> None:
        """A label is part of names of files and of cells."""
        if set(self.label) & set("/:\\\n"):
            raise BenchError(f"labels hold no slash, colon or line break, but got {self.label!r}; write it in words")

    @property
    def keys(self) -> set[str]:
        """The names of the fields that it sets."""
        return set(map(key_of, self.settings))


def key_of(setting: str) -> str:
    """The field that a setting such as ``method.p=0.5`` sets."""
    return setting.partition("=")[0].removeprefix("method.").removeprefix("recipe.")


@dataclass(frozen=True)
class Study:
    """A question, declared. ``settings`` are key=value settings for every run; a method's field set there is not tuned.

    ``topic`` names a study that brings its own methods; ``figures`` are figures that the report adds for it; ``derived``
    are controls that follow from each finished final (`bench.derived`), of which those that start from an initialisation take
    the settings ``scratch`` besides; ``lenient``: a
    model that cannot be built, or where a method cannot act, is a recorded failure and no reason to refuse the study;
    ``speed`` are the modes ("eager", "compiled") in which a final of each configuration is timed when all runs are done.
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

    def __post_init__(self) -> None:
        """Seeds that tuning used never report."""
        if self.seed in self.final_seeds:
            raise BenchError(
                f"tuning and reporting seeds must differ, but seed={self.seed} is among final_seeds={self.final_seeds}; "
                "choose another --seed"
            )
        for setting in (*self.settings, *(s for v in self.variants for s in v.settings)):
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
        if not self.methods or not self.models or not self.final_seeds or self.trials < 1:
            raise BenchError("a study needs a method, a model, a final seed and a trial at least")
        for name in self.derived:
            derived.check(name)
        if self.derived and not self.controls:
            raise BenchError(
                "controls that follow from a run train plainly, but this study has no plain training among controls"
            )
        self._check_variants()

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

    @property
    def name(self) -> str:
        """Topic (or kind and methods) and task, with a digest of all that its numbers depend on but how many there are."""
        what: tuple[Any, ...] = (self.models, self.targets, self.settings, self.cost, self.sampler)
        what = (*what, self.generation, self.seed)
        what = (*what, self.methods) if self.topic else what
        what = (
            (*what, [(v.method, v.label, v.settings, *filter(None, [v.model])) for v in self.variants])
            if self.variants
            else what
        )
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
        return [Cell(self, m, model, t) for m in self.methods for model in self.models for t in targets]

    def run(
        self, method: Method[Any], model: str, seed: int, *, test: bool = False, settings: tuple[str, ...] = ()
    ) -> Run:
        """A run of this study; ``settings`` are applied after the study's."""
        base = Run(method=method, task=self.task, model=model, seed=seed, test=test)
        return base.with_values((*self.settings, *settings))


@dataclass(frozen=True)
class Cell:
    """One method on one model, at one target on a ladder: what one Optuna study tunes. In a grid: one variant on one model,
    whose position among the variants is ``number``."""

    study: Study = field(repr=False)
    method: str
    model: str
    target: float | None
    variant: Variant | None = None
    number: int = 0

    @property
    def key(self) -> str:
        """The cell's name: ``sap/test_vit``, on a ladder ``sap/test_vit@0.9``, in a grid ``sap/test_vit:gamma=3``."""
        at = f"@{self.target:g}" if self.target is not None else ""
        return f"{self.method}/{self.model}{at}" + (
            f":{self.variant.label}" if self.variant and self.variant.label else ""
        )

    @property
    def base(self) -> Method[Any]:
        """The method at its defaults, with the settings of the study and the variant, and the cell's target."""
        cls: type[Method[Any]] = plugins.load(plugins.METHODS, self.method).METHOD
        method = self.study.run(cls(), self.model, self.study.seed, settings=self._settings).method
        if self.target is None:
            return method
        if method.target is None:
            raise BenchError(f"a ladder needs a method with a target, but {self.method!r} has none; use STUDY=pareto")
        if method.target in map(key_of, self.study.settings):
            raise BenchError(f"a ladder sets `{method.target}` itself, but it is among the settings; use --targets")
        return replace(method, **{method.target: self.target})

    @property
    def _settings(self) -> tuple[str, ...]:
        return self.variant.settings if self.variant else ()

    @property
    def space(self) -> Space:
        """What is tuned: the method's SPACE without what the target or the settings fix; nothing in a grid."""
        module = plugins.load(plugins.METHODS, self.method)
        check_space(module.METHOD, module.SPACE)
        if self.variant is not None:
            return {}
        fixed = set(map(key_of, self.study.settings))
        fixed |= {self.base.target} if self.target is not None and self.base.target else set()
        return {k: v for k, v in module.SPACE.items() if k not in fixed}

    @property
    def trials(self) -> int:
        """How many trials there will be: one where nothing is left to tune, and none in a grid."""
        return 0 if self.variant is not None else self.study.trials if self.space else 1

    @property
    def params(self) -> dict[str, Any]:
        """What the variant sets, as the fields' values; of no other cell."""
        run, found = self.run({}, self.study.seed), dict[str, Any]()
        values = {**run.to_dict(), **run.recipe.to_dict(), **run.method.to_dict()}
        for setting in self._settings:
            key = key_of(setting)
            found[key] = reduce(lambda inner, part: inner[part], key.split("."), values)
        return found

    def run(self, params: Mapping[str, Any], seed: int, *, test: bool = False) -> Run:
        """The run of a configuration."""
        method = replace(self.base, **params)
        return self.study.run(method, self.model, seed, test=test, settings=self._settings)

"""A cell of a study: what is set, what is tuned, and the run of each configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from bench import registry
from bench.errors import BenchError
from bench.method import Method
from bench.run import Run
from bench.study.space import Space, check_space
from bench.study.variant import Baseline, Variant, key_of

if TYPE_CHECKING:
    from bench.study.study import Study


@dataclass(frozen=True)
class Cell:
    """One method on one model, at one target on a ladder: what one Optuna study tunes. In a grid: one variant on one model,
    whose position among the variants is ``number``. A ``baseline`` is tuned nowhere."""

    study: Study = field(repr=False)
    method: str
    model: str
    target: float | None
    variant: Variant | None = None
    number: int = 0
    baseline: Baseline | None = None
    recovery: str = ""

    @property
    def key(self) -> str:
        """The cell's name: ``sap/test_vit``, on a ladder ``sap/test_vit@0.9``, in a grid ``sap/test_vit:gamma=3``; of a
        baseline with its label."""
        at = f"@{self.target:g}" if self.target is not None else ""
        at += f":recovery={self.recovery}" if self.recovery else ""
        return f"{self.baseline.label if self.baseline else self.method}/{self.model}{at}" + (
            f":{self.variant.label}" if self.variant and self.variant.label else ""
        )

    @property
    def base(self) -> Method[Any]:
        """The method at its defaults, with the settings of the study and the variant, and the cell's target."""
        cls: type[Method[Any]] = registry.load(registry.METHODS, self.method).METHOD
        method = self._run(cls(), self.study.seed).method
        if self.target is None:
            return method
        if method.target is None:
            raise BenchError(f"a ladder needs a method with a target, but {self.method!r} has none; use STUDY=pareto")
        if method.target in map(key_of, (*self.study.settings, *self.settings)):
            raise BenchError(f"a ladder sets `{method.target}` itself, but it is among the settings; use --targets")
        return replace(method, **{method.target: self.target})

    @property
    def settings(self) -> tuple[str, ...]:
        """What is set for this cell alone."""
        part = self.variant or self.baseline
        own = part.settings if part else self.study.own.get(self.method, ())
        return (*own, f"recovery={self.recovery}") if self.recovery else own

    @property
    def scratch(self) -> bool:
        """Whether its runs do not start from the study's dense models: their own settings say what from."""
        return "start" in map(key_of, self.settings)

    @property
    def space(self) -> Space:
        """What is tuned: the method's SPACE without what the target or the settings fix; nothing in a grid."""
        module = registry.load(registry.METHODS, self.method)
        check_space(module.METHOD, module.SPACE)
        if self.variant is not None or self.baseline is not None or not self.study.trials:
            return {}
        fixed = set(map(key_of, (*self.study.settings, *self.settings)))
        fixed |= {self.base.target} if self.target is not None and self.base.target else set()
        return {k: v for k, v in module.SPACE.items() if k not in fixed}

    @property
    def trials(self) -> int:
        """How many trials there will be: one where nothing is left to tune, and none where nothing is tuned."""
        untuned = self.variant is not None or self.baseline is not None or not self.study.trials
        return 0 if untuned else self.study.trials if self.space else 1

    @property
    def params(self) -> dict[str, Any]:
        """What the variant sets, as the fields' values; of no other cell."""
        run, found = self.run({}, self.study.seed), dict[str, Any]()
        values = {**run.to_dict(), **run.recipe.to_dict(), **run.method.to_dict()}
        for setting in self.variant.settings if self.variant else ():
            key = key_of(setting)
            found[key] = reduce(lambda inner, part: inner[part], key.split("."), values)
        return found

    def run(self, params: Mapping[str, Any], seed: int, *, test: bool = False, start: str = "") -> Run:
        """The run of a configuration, from the dense model ``start`` (``run:ID``). One that cannot use it is trained from
        its own start for as many epochs more as the dense model was."""
        run = self._run(replace(self.base, **params), seed, test=test)
        if not self.scratch:
            return replace(run, start=start) if start else run
        before = self.study.begin(self.model, seed).epochs if self.study.dense is not None else 0.0
        return replace(run, epochs=run.epochs + before)

    def _run(self, method: Method[Any], seed: int, *, test: bool = False) -> Run:
        known = self.baseline is not None
        return self.study.run(method, self.model, seed, test=test, settings=self.settings, known=known)

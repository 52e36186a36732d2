"""A cell of a study: what is set, what is tuned, and the run of each configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from bench import registry
from bench.errors import BenchError
from bench.method import Method
from bench.run import Run
from bench.study.space import RECIPE, Space, check_space, recipe_space
from bench.study.template import RunTemplate
from bench.study.variant import Baseline, Variant, key_of


@dataclass(frozen=True)
class Cell:
    """One method on one model (on a ladder: at one target; in a grid: one variant). One Optuna study tunes one cell.

    Attributes:
        template: what all runs of the study have in common.
        method: the method's name.
        model: the model's name.
        target: the budget of a ladder's cell, as a share to remove.
        variant: the variant of a grid's cell, and ``number`` its position among the variants.
        baseline: the baseline that this cell runs.
        recovery: how the runs recover after the method; empty: as the settings say.
        most_trials: how many trials it has where there is something to tune; 0: nothing is tuned.
    """

    template: RunTemplate = field(repr=False)
    method: str
    model: str
    target: float | None = None
    variant: Variant | None = None
    number: int = 0
    baseline: Baseline | None = None
    recovery: str = ""
    most_trials: int = 0

    @property
    def key(self) -> str:
        """The cell's name: ``sap/test_vit``, on a ladder ``sap/test_vit@0.9``, in a grid ``sap/test_vit:gamma=3``; a baseline's
        begins with its label."""
        name = self.baseline.label if self.baseline else self.method
        key = f"{name}/{self.model}"
        if self.target is not None:
            key += f"@{self.target:g}"
        if self.recovery:
            key += f":recovery={self.recovery}"
        if self.variant and self.variant.label:
            key += f":{self.variant.label}"
        return key

    @property
    def base(self) -> Method[Any]:
        """The method at its defaults, with the settings of the study and of the cell, and the cell's target."""
        cls: type[Method[Any]] = registry.load(registry.METHODS, self.method).METHOD
        method = self._run(cls(), self.template.seed).method
        if self.target is None:
            return method
        if method.target is None:
            raise BenchError(f"a ladder needs a method with a target, but {self.method!r} has none; use STUDY=pareto")
        if method.target in self._fixed:
            raise BenchError(f"a ladder sets `{method.target}` itself, but it is among the settings; use --targets")
        return replace(method, **{method.target: self.target})

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings of this cell alone."""
        part = self.variant or self.baseline
        own = part.settings if part else self.template.own.get(self.method, ())
        return (*own, f"recovery={self.recovery}") if self.recovery else own

    @property
    def _fixed(self) -> set[str]:
        """The fields that settings set, those of the study or those of this cell."""
        return set(map(key_of, (*self.template.settings, *self.settings)))

    @property
    def own_start(self) -> bool:
        """Whether the cell's own settings say what its runs start from, so that it is no dense model of the study."""
        return "start" in map(key_of, self.settings)

    @property
    def space(self) -> Space:
        """What is tuned: the method's SPACE without the fields that the target or the settings fix, and the study's fields of
        the recipe."""
        module = registry.load(registry.METHODS, self.method)
        check_space(module.METHOD, module.SPACE)
        if not self.most_trials:
            return {}
        fixed = self._fixed
        if self.target is not None and self.base.target:
            fixed.add(self.base.target)
        own = {k: v for k, v in module.SPACE.items() if k not in fixed}
        return {**own, **recipe_space(self.template.tuned_recipe, self._run(self.base, self.template.seed).recipe)}

    @property
    def default(self) -> dict[str, Any]:
        """The configuration of the first trial: what is tuned, as it is set."""
        recipe = self._run(self.base, self.template.seed).recipe.to_dict()
        values = {**self.base.to_dict(), **{f"{RECIPE}{name}": value for name, value in recipe.items()}}
        return {name: values[name] for name in self.space}

    @property
    def trials(self) -> int:
        """How many trials there are: one where the settings leave nothing to tune."""
        if not self.most_trials:
            return 0
        return self.most_trials if self.space else 1

    @property
    def params(self) -> dict[str, Any]:
        """The fields that the variant sets, with their values; empty for a cell without a variant."""
        if self.variant is None:
            return {}
        run, found = self.run({}, self.template.seed), dict[str, Any]()
        values = {**run.to_dict(), **run.recipe.to_dict(), **run.method.to_dict()}
        for setting in self.variant.settings:
            key = key_of(setting)
            found[key] = reduce(lambda inner, part: inner[part], key.split("."), values)
        return found

    def run(self, params: Mapping[str, Any], seed: int, *, test: bool = False, start: str = "") -> Run:
        """Returns the run of a configuration, from the dense model ``start`` (``run:ID``).

        A cell with a start of its own cannot use the dense model: its run gets the epochs of that model besides its own.
        """
        own = {name: value for name, value in params.items() if not name.startswith(RECIPE)}
        shared = {name.removeprefix(RECIPE): value for name, value in params.items() if name.startswith(RECIPE)}
        run = self._run(replace(self.base, **own), seed, test=test)
        run = replace(run, recipe=replace(run.recipe, **shared))
        if not self.own_start:
            return replace(run, start=start) if start else run
        if self.template.dense is None:
            return run
        return replace(run, epochs=run.epochs + self.template.dense_run(self.model, seed).epochs)

    def _run(self, method: Method[Any], seed: int, *, test: bool = False) -> Run:
        known = self.baseline is not None
        return self.template.run(method, self.model, seed, test=test, settings=self.settings, known=known)

"""The kinds of studies: which cells a study has, what its trials optimise, and which of them go to the finals.

A `Pareto` study and a `Ladder` tune each method: on a ladder at each of the given targets. A `Grid` compares variants that are
written out, and tunes nothing. In JSON a kind is its name.
"""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.errors import BenchError, one_of
from bench.records.run_record import Metrics
from bench.records.study_record import GRID, LADDER, PARETO
from bench.study import selection
from bench.study.cell import Cell
from bench.study.template import RunTemplate
from bench.study.variant import Variant, key_of

Direction = Literal["minimize", "maximize"]
UNTUNED = "nothing is tuned or chosen: every method runs as it is set, with every seed"


@dataclass(frozen=True)
class Axes:
    """What a study varies: its cells are combinations of these."""

    methods: tuple[str, ...]
    models: tuple[str, ...]
    targets: tuple[float, ...] = ()
    variants: tuple[Variant, ...] = ()
    recoveries: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind(abc.ABC):
    """A kind of study.

    Class attributes:
        name: its name in the declarations of studies, and in records.
        tuned: whether a study of this kind can have trials.
        least_trials: how many it must have.
        repeats_runs: whether two cells may come to the same run.
    """

    name: ClassVar[str]
    tuned: ClassVar[bool] = True
    least_trials: ClassVar[int] = 0
    repeats_runs: ClassVar[bool] = False

    def objectives(self, cost: str) -> tuple[str, ...]:
        """Returns the names of the values of a trial; ``cost`` is the size that may be one of them."""
        return ("accuracy",)

    def directions(self) -> tuple[Direction, ...]:
        """Returns Optuna's direction of each objective."""
        return ("maximize",)

    def values(self, metrics: Metrics, cost: str) -> list[float]:
        """Returns the values of a finished trial, one to each objective."""
        return [metrics.val_top1]

    def finals(self, wanted: int) -> int:
        """Returns how many configurations of a cell go to the finals; ``wanted`` is the number that the study asks for."""
        return 1

    @abc.abstractmethod
    def cells(self, axes: Axes, template: RunTemplate, trials: int) -> list[Cell]:
        """Returns the cells of a study, of which each has ``trials`` trials, in the order in which they are shown."""

    @abc.abstractmethod
    def choose(self, values: Sequence[Sequence[float]], finals: int, chance: Callable[[], float]) -> list[int]:
        """Returns the positions of the trials that go to the finals.

        Args:
            values: those of each trial, measured on the validation split.
            finals: at most how many, where the kind chooses several.
            chance: gives the accuracy of guessing, in per cent.
        """

    @abc.abstractmethod
    def selection(self, *, cost: str, finals: int, trials: int) -> str:
        """Returns a sentence that says how the finals are chosen."""

    def check(self, axes: Axes, settings: Sequence[str]) -> None:
        """Raises `BenchError` where a study of this kind cannot have these axes or ``settings``."""
        if axes.variants:
            raise self._wrong_variants(axes)
        if axes.recoveries:
            raise self._wrong_recoveries(axes)

    def _wrong_variants(self, axes: Axes) -> BenchError:
        return BenchError(
            f"a grid has variants and no other study has, but this {self.name} has {len(axes.variants)}; "
            "give variants= to a grid, and only there"
        )

    def _wrong_recoveries(self, axes: Axes) -> BenchError:
        return BenchError(
            f"ways to recover are an axis of ladders, each once, but this {self.name} has {axes.recoveries}; "
            "leave recoveries= out, or take a ladder"
        )


@dataclass(frozen=True)
class Pareto(Kind):
    """Tunes each method for accuracy and size at once, and takes configurations of the front to the finals."""

    name = PARETO
    least_trials = 1

    def objectives(self, cost: str) -> tuple[str, ...]:
        """Returns the accuracy and the size."""
        return ("accuracy", cost)

    def directions(self) -> tuple[Direction, ...]:
        """Returns the direction of the accuracy, then that of the size."""
        return ("maximize", "minimize")

    def values(self, metrics: Metrics, cost: str) -> list[float]:
        """Returns the validation top-1 and the size."""
        return [metrics.val_top1, metrics.numbers()[cost]]

    def finals(self, wanted: int) -> int:
        """Returns the number that the study asks for."""
        return wanted

    def cells(self, axes: Axes, template: RunTemplate, trials: int) -> list[Cell]:
        """Returns methods x models."""
        return [Cell(template, name, model, most_trials=trials) for name in axes.methods for model in axes.models]

    def choose(self, values: Sequence[Sequence[float]], finals: int, chance: Callable[[], float]) -> list[int]:
        """Returns at most ``finals`` trials of the front (`bench.study.selection.spread`)."""
        return selection.spread([(accuracy, size) for accuracy, size in values], finals, chance())

    def selection(self, *, cost: str, finals: int, trials: int) -> str:
        """Returns the rule of `bench.study.selection.spread` in words."""
        return (
            f"of the trials that no other beats in validation top-1 (last epoch) and {cost} at once, the {finals} that "
            "together dominate the largest area of accuracy above chance against log compression, without those that lost "
            "more than half of it"
        )


@dataclass(frozen=True)
class Ladder(Kind):
    """Tunes each method for accuracy at each of the given targets, and takes the best configuration to the finals."""

    name = LADDER

    def cells(self, axes: Axes, template: RunTemplate, trials: int) -> list[Cell]:
        """Returns methods x models x targets x ways to recover."""
        return [
            Cell(template, name, model, target, recovery=recovery, most_trials=trials)
            for name in axes.methods
            for model in axes.models
            for target in axes.targets
            for recovery in axes.recoveries or ("",)
        ]

    def choose(self, values: Sequence[Sequence[float]], finals: int, chance: Callable[[], float]) -> list[int]:
        """Returns the trial of the highest accuracy."""
        return selection.best([accuracy for accuracy, *_ in values])

    def selection(self, *, cost: str, finals: int, trials: int) -> str:
        """Returns the rule in words, for a ladder with trials or without."""
        return "the trial with the best validation top-1 (last epoch) at each target" if trials else UNTUNED

    def check(self, axes: Axes, settings: Sequence[str]) -> None:
        """Raises `BenchError` where there is no target, or where one field is set twice."""
        if axes.variants:
            raise self._wrong_variants(axes)
        if not axes.targets:
            raise BenchError("a ladder needs targets, but got none; give --targets 0.8,0.9")
        if len(set(axes.recoveries)) < len(axes.recoveries):
            raise self._wrong_recoveries(axes)
        if axes.recoveries and "recovery" in map(key_of, settings):
            raise BenchError("each cell sets `recovery` itself, but it is among the settings; use --recoveries")


@dataclass(frozen=True)
class Grid(Kind):
    """Runs each variant with each seed; tunes and chooses nothing."""

    name = GRID
    tuned = False
    repeats_runs = True

    def objectives(self, cost: str) -> tuple[str, ...]:
        """Returns nothing, as there are no trials."""
        return ()

    def cells(self, axes: Axes, template: RunTemplate, trials: int) -> list[Cell]:
        """Returns variants x models; a variant with a model of its own has one cell."""
        return [
            Cell(template, variant.method, model, None, variant, number)
            for number, variant in enumerate(axes.variants)
            for model in axes.models
            if variant.model in ("", model)
        ]

    def choose(self, values: Sequence[Sequence[float]], finals: int, chance: Callable[[], float]) -> list[int]:
        """Returns nothing, as there are no trials."""
        return []

    def selection(self, *, cost: str, finals: int, trials: int) -> str:
        """Returns that nothing is chosen."""
        return "nothing is chosen: every variant runs with every seed"

    def check(self, axes: Axes, settings: Sequence[str]) -> None:
        """Raises `BenchError` where variants are missing, cannot be told apart, or leave a setting without effect."""
        if not axes.variants:
            raise self._wrong_variants(axes)
        if axes.recoveries:
            raise self._wrong_recoveries(axes)
        labels = Counter((v.method, v.label) for v in axes.variants)
        twice = [label for label, count in labels.items() if count > 1]
        if twice:
            raise BenchError(
                f"the variants of a method differ in their labels, but {twice[0]} is there more than once; rename one"
            )
        if {v.method for v in axes.variants} != set(axes.methods):
            raise BenchError(f"methods= must name those of the variants, but got {axes.methods}")
        for variant in axes.variants:
            if variant.model and variant.model not in axes.models:
                raise BenchError(f"models= must name those of the variants, but {variant.model!r} is missing; add it")
        for setting in settings:
            if all(key_of(setting) in v.keys for v in axes.variants):
                raise BenchError(
                    f"each variant of this grid sets `{key_of(setting)}` itself, but got {setting!r}; drop it"
                )


KINDS: dict[str, Kind] = {kind.name: kind for kind in (Pareto(), Ladder(), Grid())}
"""Every kind, by its name."""


def kind_of(kind: Kind | str) -> Kind:
    """Returns a kind; of a name, as JSON has it, the kind of that name.

    Raises:
        BenchError: there is no kind of this name.
    """
    if isinstance(kind, Kind):
        return kind
    if kind not in KINDS:
        raise one_of("kind of study", kind, KINDS)
    return KINDS[kind]

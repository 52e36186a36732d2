"""Search spaces: Optuna's distributions over the fields of a method; their checks, their text, Halton's sequence."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from scipy.stats.qmc import Halton

from bench.config import inside, rule
from bench.errors import BenchError, one_of
from bench.method import Method
from bench.recipe import Recipe

Space = Mapping[str, BaseDistribution]
"""The distribution of each field that is tuned."""

SAMPLERS = ("tpe", "random", "qmc")

RECIPE = "recipe."
"""What a tuned field of the recipe has before its name, as a method may have a field of that name."""

AROUND: Mapping[str, float] = {"lr": 5.0, "weight_decay": 5.0}
"""The fields of a recipe that can be tuned, and the factor by which each may leave the study's value, up and down."""


def recipe_space(names: Sequence[str], recipe: Recipe) -> Space:
    """Returns the space of some fields of a recipe: ranges on a log scale around its own values, which are the first trial's.

    Raises:
        BenchError: a field cannot be tuned.
    """
    found = dict[str, BaseDistribution]()
    for name in names:
        if name not in AROUND:
            raise one_of("tuned field of the recipe", name, AROUND)
        value, factor = float(getattr(recipe, name)), AROUND[name]
        if value <= 0:
            raise BenchError(f"a tuned field of the recipe is above 0, but {name}={value}; set it, or do not tune it")
        found[f"{RECIPE}{name}"] = FloatDistribution(value / factor, value * factor, log=True)
    return found


def check_space(method: type[Method[Any]], space: Space) -> None:
    """Checks that a space fits its method. Optuna itself refuses a log scale at zero.

    Raises:
        BenchError: a name is no field; a range holds fewer than two values; the method refuses a bound; or the default, which
            is the first trial, lies outside.
    """
    defaults = method()
    names = {f.name for f in dataclasses.fields(method)}
    for name, distribution in space.items():
        if name not in names:
            raise one_of(f"field of {method.__name__} (in its SPACE)", name, names)
        if isinstance(distribution, (FloatDistribution, IntDistribution)):
            low, high, step = distribution.low, distribution.high, distribution.step
            if low >= high or (step is not None and step > high - low):
                raise BenchError(
                    f"a range must hold at least two values, but SPACE[{name!r}] is {distribution}; widen it or drop it"
                )
        value = getattr(defaults, name)
        if value is not None and not distribution._contains(distribution.to_internal_repr(value)):
            raise BenchError(f"defaults must lie inside SPACE, but {name}={value!r} is not in {distribution}")
        for bound in _bounds(distribution):
            _accepts(method, name, bound)


def _bounds(distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    return (distribution.low, distribution.high)


def _accepts(method: type[Method[Any]], name: str, value: Any) -> None:
    field = next(f for f in dataclasses.fields(method) if f.name == name)
    if not inside(field.metadata, value):
        raise BenchError(f"SPACE must stay inside `{rule(field)}`, but for {name!r} it reaches {value!r}")


def spaces_json(space: Space) -> dict[str, str]:
    """Returns each distribution as a JSON text that Optuna can read."""
    return {name: distribution_to_json(d) for name, d in space.items()}


def readable(distribution: BaseDistribution) -> str:
    """Returns a distribution as a person writes it: ``0.1 ... 0.9``, ``1 ... 100, log``, ``layer | global``."""
    if isinstance(distribution, CategoricalDistribution):
        return " | ".join(map(str, distribution.choices))
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    text = f"{distribution.low:g} ... {distribution.high:g}"
    return f"{text}, log" if distribution.log else text


def quasi_random(seed: int, space: Space, number: int) -> dict[str, Any]:
    """Returns the point with this number in Halton's sequence, which ``seed`` scrambles. It depends on nothing else.

    Optuna's `QMCSampler` is not used: it draws its first trials at random, and counts in the storage, so that its points depend
    on the number of workers.
    """
    if not space:
        return {}
    halton = Halton(len(space), scramble=True, rng=np.random.default_rng(seed))
    if number:
        halton.fast_forward(number)
    point = halton.random(1)[0]
    return {name: _at(d, float(x)) for (name, d), x in zip(sorted(space.items()), point, strict=True)}


def _at(distribution: BaseDistribution, x: float) -> Any:
    """The value at the share ``x`` (0 to 1) of a distribution's range, on its scale and its grid of steps."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(x * len(distribution.choices)), len(distribution.choices) - 1)]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high, step = distribution.low, distribution.high, distribution.step
    if isinstance(distribution, IntDistribution):
        low, high = low - 0.5, high + 0.5  # so each whole number has an equal share
    value = math.exp(math.log(low) + x * math.log(high / low)) if distribution.log else low + x * (high - low)
    if step is not None and not distribution.log:
        value = distribution.low + step * round((value - distribution.low) / step)
    value = min(max(value, distribution.low), distribution.high)
    return round(value) if isinstance(distribution, IntDistribution) else value

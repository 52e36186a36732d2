"""Tuning with Optuna, which only this room imports: spaces that are checked, asks that are reproducible, importances.

Trials are asked for in generations: all trials of a generation know the results of earlier generations only, and each
ask seeds its sampler from (study seed, cell, trial number). So the configurations depend neither on how many runs go
side by side, nor on the order in which they end, nor on a kill in between.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from scipy.stats.qmc import Halton

from bench.config import inside, rule
from bench.errors import BenchError, one_of
from bench.method import Method
from bench.seeds import address
from bench.storages import open_storage as open_storage  # the conductor finds it here

Space = Mapping[str, BaseDistribution]
SAMPLERS = ("tpe", "random", "qmc")
optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def check_space(method: type[Method[Any]], space: Space) -> None:
    """Refuse a space that cannot mean what it says: a name that is no field, a step wider than the range, bounds that
    the method itself refuses, a default outside (trial 0 is the default). Optuna refuses a log scale at zero itself."""
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
    """The space as JSON texts that Optuna reads back."""
    return {name: distribution_to_json(d) for name, d in space.items()}


def readable(distribution: BaseDistribution) -> str:
    """A distribution as a person writes it: ``0.1 ... 0.9``, ``1 ... 100, log``, ``layer | global``."""
    if isinstance(distribution, CategoricalDistribution):
        return " | ".join(map(str, distribution.choices))
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    return f"{distribution.low:g} ... {distribution.high:g}{', log' if distribution.log else ''}"


class QuasiRandomSampler(BaseSampler):
    """Halton's sequence (scrambled) as a pure function of the trial's number: the same points for any number of workers.

    Optuna's own `QMCSampler` draws its first trials at random and counts in the storage.
    """

    def __init__(self, seed: int, space: Space) -> None:
        self._seed, self._space = seed, dict(space)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space."""
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The point of the trial's number."""
        if not search_space:
            return {}
        halton = Halton(len(search_space), scramble=True, rng=np.random.default_rng(self._seed))
        point = halton.fast_forward(trial.number).random(1)[0] if trial.number else halton.random(1)[0]
        return {name: _at(d, float(x)) for (name, d), x in zip(sorted(search_space.items()), point, strict=True)}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed: the whole space is sampled together."""
        raise BenchError(f"a quasi-random point holds the whole space, but {param_name!r} is not in it")


def _at(distribution: BaseDistribution, x: float) -> Any:
    """The value at the share ``x`` (0 to 1) of a distribution's range, on its scale and its grid."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(x * len(distribution.choices)), len(distribution.choices) - 1)]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high, step = distribution.low, distribution.high, distribution.step
    if isinstance(distribution, IntDistribution):
        low, high = low - 0.5, high + 0.5  # each whole number has its share
    value = math.exp(math.log(low) + x * math.log(high / low)) if distribution.log else low + x * (high - low)
    if step is not None and not distribution.log:
        value = distribution.low + step * round((value - distribution.low) / step)
    value = min(max(value, distribution.low), distribution.high)
    return round(value) if isinstance(distribution, IntDistribution) else value


def make_sampler(kind: str, seed: int, number: int, trials: int, space: Space) -> BaseSampler:
    """The sampler that asks for one trial; "qmc" is the quasi-random one, whose sequence the seed fixes."""
    own = address(seed, "sampler", number) % 2**32
    if kind == "qmc":
        return QuasiRandomSampler(seed, space)
    if kind == "random":
        return RandomSampler(seed=own)
    if kind == "tpe":
        return TPESampler(seed=own, n_startup_trials=max(4, min(10, trials // 2)), multivariate=True)
    raise one_of("sampler", kind, SAMPLERS)


class Tuner:
    """The trials of one cell of a study."""

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        space: Space,
        directions: Sequence[Literal["minimize", "maximize"]],
        *,
        default: Mapping[str, Any],
        sampler: str,
        seed: int,
        trials: int,
    ) -> None:
        self.space, self.kind, self.seed, self.trials = dict(space), sampler, address(seed, name), trials
        self.study = optuna.create_study(
            storage=storage, study_name=name, directions=list(directions), load_if_exists=True
        )
        if not self.study.get_trials(deepcopy=False):
            self.study.enqueue_trial({k: default[k] for k in self.space})

    def open_trials(self) -> dict[int, dict[str, Any]]:
        """Trials that were asked for and not told, by number: those in progress, or cut off by a kill."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {t.number: dict(t.params) for t in running if set(t.params) == set(self.space)}

    @property
    def told(self) -> int:
        """How many trials have ended, one way or the other."""
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL)))

    def generation(self, size: int) -> dict[int, dict[str, Any]]:
        """The next trials to compute, by number: what is left of a generation that was cut off, filled up with new asks.

        A generation is the block of numbers k*size ... (k+1)*size - 1, cut at the number of trials.
        """
        self._drop_torn()
        told, found = self.told, self.open_trials()
        end = min((told // size + 1) * size, self.trials)
        while told + len(found) < end:
            number = told + len(found)
            self.study.sampler = make_sampler(self.kind, self.seed, number, self.trials, self.space)
            trial = self.study.ask(self.space)
            found[trial.number] = dict(trial.params)
        return found

    def _drop_torn(self) -> None:
        """A kill between an ask and its parameters leaves a trial without them; ask those parameters now."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if set(trial.params) != set(self.space):
                self.study.sampler = make_sampler(self.kind, self.seed, trial.number, self.trials, self.space)
                live = optuna.trial.Trial(self.study, trial._trial_id)
                for name, distribution in self.space.items():
                    live._suggest(name, distribution)

    def tell(self, number: int, values: Sequence[float] | None, **attributes: Any) -> None:
        """The result of a trial (None: it failed); telling a trial that has ended already changes nothing."""
        trial = next(t for t in self.study.get_trials(deepcopy=False) if t.number == number)
        if trial.state != TrialState.RUNNING:
            return
        for key, value in attributes.items():
            self.study._storage.set_trial_user_attr(trial._trial_id, key, value)
        if values is None:
            self.study.tell(number, state=TrialState.FAIL)
        else:
            self.study.tell(number, list(values))

    def importances(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Each parameter's share in explaining each objective (fANOVA); empty while there are fewer than 4 results."""
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(complete) < 4 or not self.space:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.seed % 2**32)
        found = {}
        for index, name in enumerate(names):
            values = {t.values[index] for t in complete}
            if len(values) > 1:
                value = functools.partial(_value, index=index)
                found[name] = optuna.importance.get_param_importances(self.study, evaluator=evaluator, target=value)
        return {name: {k: round(float(v), 6) for k, v in shares.items()} for name, shares in found.items()}


def _value(trial: FrozenTrial, index: int) -> float:
    return float(trial.values[index])

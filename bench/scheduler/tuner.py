"""The trials of a study's cells: their configurations, which are reproducible, their results, and importances.

Trials are grouped in generations: a trial uses the results of earlier generations only, and its sampler is seeded with (study
seed, cell, trial number). So a configuration depends neither on how many runs are computed in parallel, nor on the order in
which they end, nor on interruptions.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from bench.errors import one_of
from bench.scheduler.job_queue import JobQueue, Lease
from bench.seeds import address
from bench.study.space import SAMPLERS, Space, quasi_random

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@dataclass
class Tuner:
    """The trials of one cell of a study: the configuration of each number, and the results.

    A configuration is a function of the cell's seed, the trial's number and the results of earlier generations (``size`` trials
    each).
    """

    storage: BaseStorage
    name: str
    space: Space
    directions: Sequence[Literal["minimize", "maximize"]]
    default: Mapping[str, Any]
    sampler: str
    seed: int
    trials: int
    size: int = 4

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise one_of("sampler", self.sampler, SAMPLERS)
        self.seed = address(self.seed, self.name)
        self.queue = JobQueue(self.storage, self.name, self.trials, self.directions)
        self._memory: tuple[int, optuna.Study | None] = (-1, None)

    def lease(self, owner: str) -> tuple[Lease, dict[str, Any]] | None:
        """Lease the next free trial; returns the lease and the trial's configuration, or None if no trial is free now."""
        lease = self.queue.lease(owner, self._generation_end())
        if lease is None:
            return None
        return lease, self.configuration(lease)

    def _generation_end(self) -> int:
        """One past the last trial of the open generation. Only TPE uses results; other samplers have one generation."""
        if self.sampler != "tpe":
            return self.trials
        ended, start = self.queue.ended(), 0
        while start < self.trials and all(n in ended for n in range(start, min(start + self.size, self.trials))):
            start += self.size
        return min(start + self.size, self.trials)

    def configuration(self, lease: Lease) -> dict[str, Any]:
        """The configuration of a leased trial; writes it to the storage, unless a former owner has done so."""
        known = self.storage.get_trial(lease.trial).params
        if set(known) == set(self.space):
            return {name: known[name] for name in self.space}
        asked = self._ask(lease.number)
        for name, distribution in self.space.items():
            if name not in known:
                inner = distribution.to_internal_repr(asked[name])
                self.storage.set_trial_param(lease.trial, name, inner, distribution)
        return asked

    def _ask(self, number: int) -> dict[str, Any]:
        if number == 0:
            return {name: self.default[name] for name in self.space}
        if self.sampler == "qmc":
            return quasi_random(self.seed, self.space, number)
        own = address(self.seed, "sampler", number) % 2**32
        if self.sampler == "random":
            study = optuna.create_study(sampler=RandomSampler(seed=own))
        else:
            study = self._history(number // self.size * self.size)
            startup = max(4, min(10, self.trials // 2))
            study.sampler = TPESampler(seed=own, n_startup_trials=startup, multivariate=True)
        params = study.ask(dict(self.space)).params
        return {name: params[name] for name in self.space}

    def _history(self, end: int) -> optuna.Study:
        """A study in memory with the results of the trials before ``end``."""
        if self._memory[0] != end or self._memory[1] is None:
            study = optuna.create_study(directions=list(self.directions))
            ended = [t for n, t in sorted(self.queue.ended().items()) if n < end]
            study.add_trials([t for t in ended if t.state == TrialState.COMPLETE])
            self._memory = (end, study)
        assert self._memory[1] is not None
        return self._memory[1]

    def results(self) -> list[tuple[int, dict[str, Any], list[float]]]:
        """Number, configuration and values of the trials that finished, by number."""
        finished = [(n, t) for n, t in sorted(self.queue.ended().items()) if t.state == TrialState.COMPLETE]
        return [(n, {name: t.params[name] for name in self.space}, list(t.values)) for n, t in finished]

    def importances(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """The importance of each parameter for each objective (fANOVA), as shares; empty with fewer than 4 results."""
        complete = self.results()
        if len(complete) < 4 or not self.space:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.seed % 2**32)
        found = {}
        for index, name in enumerate(names):
            if len({values[index] for *_, values in complete}) > 1:
                value = functools.partial(_value, index=index)
                study = self.queue.study
                found[name] = optuna.importance.get_param_importances(study, evaluator=evaluator, target=value)
        return {name: {k: round(float(v), 6) for k, v in shares.items()} for name, shares in found.items()}


def _value(trial: FrozenTrial, index: int) -> float:
    return float(trial.values[index])

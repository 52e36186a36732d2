"""Tuning with Optuna: spaces that are checked, configurations that are reproducible, importances.

Trials come in generations: those of a generation know the results of earlier generations only, and each configuration seeds its
sampler from (study seed, cell, trial number). So configurations depend neither on how many runs go side by side, nor on the
order in which they end, nor on a kill in between.
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
    """The trials of one cell of a study: which configuration each number has, and what they came to.

    A configuration is a function of the cell's seed, the trial's number and the results of earlier generations: it depends
    neither on who asks, nor on how many ask at once, nor on which trials of its own generation have ended.
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

    def claim(self, owner: str) -> tuple[Lease, dict[str, Any]] | None:
        """The next trial that no worker has, with its configuration; None where there is none now."""
        claim = self.queue.claim(owner, self._end())
        return None if claim is None else (claim, self.configuration(claim))

    def _end(self) -> int:
        """The end of the generation that is open: block k*size ... (k+1)*size - 1. Only TPE looks at results at all."""
        if self.sampler != "tpe":
            return self.trials
        told, block = self.queue.ended(), 0
        while block < self.trials and all(n in told for n in range(block, min(block + self.size, self.trials))):
            block += self.size
        return min(block + self.size, self.trials)

    def configuration(self, claim: Lease) -> dict[str, Any]:
        """The configuration of a claimed trial; it is written down there, unless a former owner has done so."""
        known = self.storage.get_trial(claim.trial).params
        if set(known) == set(self.space):
            return {name: known[name] for name in self.space}
        asked = self._ask(claim.number)
        for name, distribution in self.space.items():
            if name not in known:
                inner = distribution.to_internal_repr(asked[name])
                self.storage.set_trial_param(claim.trial, name, inner, distribution)
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
        """The results of the trials before ``end``, by themselves."""
        if self._memory[0] != end or self._memory[1] is None:
            study = optuna.create_study(directions=list(self.directions))
            told = [t for n, t in sorted(self.queue.ended().items()) if n < end]
            study.add_trials([t for t in told if t.state == TrialState.COMPLETE])
            self._memory = (end, study)
        assert self._memory[1] is not None
        return self._memory[1]

    def results(self) -> list[tuple[int, dict[str, Any], list[float]]]:
        """Number, configuration and values of the trials that did not fail, by number."""
        told = [(n, t) for n, t in sorted(self.queue.ended().items()) if t.state == TrialState.COMPLETE]
        return [(n, {name: t.params[name] for name in self.space}, list(t.values)) for n, t in told]

    def importances(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Each parameter's share in explaining each objective (fANOVA); empty while there are fewer than 4 results."""
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

"""What all runs of a study have in common, and the two ways to make a run from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench import registry
from bench.method import Method
from bench.run import Run
from bench.study.variant import key_of


@dataclass(frozen=True)
class RunTemplate:
    """The task, the tuning's seed and the settings of a study's runs.

    Attributes:
        task: the data set.
        seed: of all runs of the tuning.
        settings: key=value settings for every run.
        own: settings of single methods, by the method's name.
        dense: settings of the dense models that other runs start from; None: there are none.
        control: the method that trains these dense models, without pruning.
        tuned_recipe: fields of the recipe that every cell with trials tunes.
        data: the digest of the images of folder:PATH.
    """

    task: str
    seed: int
    settings: tuple[str, ...] = ()
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    dense: tuple[str, ...] | None = None
    control: str = ""
    tuned_recipe: tuple[str, ...] = ()
    data: str = ""

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
        """Returns a run with the study's settings, then with ``settings``, which win.

        ``known``: leaves out those of the study's settings that the method does not have, where others refuse them.
        """
        base = Run(method=method, task=self.task, data=self.data, model=model, seed=seed, test=test)
        fields = base.keys()
        shared = [s for s in self.settings if not known or key_of(s) in fields]
        return base.with_values((*shared, *settings))

    def dense_run(self, model: str, seed: int, *, test: bool = False) -> Run:
        """Returns the run that trains the dense model of a seed, from which other runs on ``model`` start."""
        plain: type[Method[Any]] = registry.load(registry.METHODS, self.control).METHOD
        return self.run(plain(), model, seed, test=test, settings=self.dense or (), known=True)

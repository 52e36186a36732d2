"""Dense training: no pruning, the control of every comparison.

It trains the same model for the same steps with the same recipe. A difference in accuracy between another method and this
one is therefore due to that method.

Differs from the paper: there is none.
Differs from the official code: there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

from optuna.distributions import BaseDistribution
from torch import Tensor, nn

from bench.claims import Claim
from bench.method import Method

SPACE: dict[str, BaseDistribution] = {}
CLAIMS: tuple[Claim, ...] = ()


@dataclass
class State:
    """Empty: only the weights change."""


@dataclass(frozen=True)
class Dense(Method[State]):
    """One phase of plain training."""

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Leaves the model as it is."""
        return State()


METHOD = Dense

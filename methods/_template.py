"""Name of the method (authors, year, arXiv:number).

Copy this file to `methods/<name>.py`: the file's name is the method's name on the command line, in MLflow and in the plots,
and nothing has to be registered. Then describe here what is removed, when, and by which score, with the paper's equations in
plain text; `bench show <name>` prints this text. This example masks the share `final` of the weights, the smallest, once at
step `when` * steps, and continues training under the mask:

    keep w  where  |w| is among the (1 - final) * n largest of its layer

`make test` runs the laws that every method must pass (tests/test_contract.py); add the laws that are special to your method
in tests/methods/test_<name>.py.

Differs from the paper: a list, or "nothing known".
Differs from the official code: a list, or "no official code".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optuna.distributions import BaseDistribution, FloatDistribution
from torch import Tensor, nn

from bench import masks
from bench.claims import Claim
from bench.config import hp
from bench.errors import Ineffective
from bench.method import Clock, Method

# The search space: Optuna distributions over fields of the method; each default must lie inside its distribution. A field
# that is not listed is not tuned.
SPACE: dict[str, BaseDistribution] = {"when": FloatDistribution(0.0, 0.9), "final": FloatDistribution(0.5, 0.98)}

# The paper's results, such as Claim("resnet56", "cifar10", 93.1, "arXiv:..., table 2", sparsity=0.9, note="3 seeds").
CLAIMS: tuple[Claim, ...] = ()


# Put arithmetic into pure functions, which a test can check on four numbers.
def magnitude(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One score per weight: its magnitude."""
    return {name: weight.detach().abs() for name, weight in weights.items()}


# All that changes during a run. Checkpoints save every field, so a field is a tensor, a number, text, None, or a dict or list
# of those: store names of parameters, not parameters. `masks.Masked` has the field `masks` and applies the masks.
@dataclass
class State(masks.Masked):
    """The masks, by parameter name."""


# The hyper-parameters, frozen; each with its default, its range and a line of help. `target` names the field that holds the
# wanted sparsity. Override the hooks that you need (see `bench.method.Method`), and no other method.
@dataclass(frozen=True)
class OneShot(Method[State]):
    """Magnitude pruning at one step."""

    target = "final"

    when: float = hp(0.5, low=0, high=1, help="where the weights are masked, as a fraction of the run")
    final: float = hp(0.8, low=0, high=1, help="share of each layer's weights that is masked")

    def attach(self, model: nn.Module, example: Tensor) -> State:
        """Makes the state before the first step. A method that finds nothing to prune must raise."""
        weights = self.prunable(model)
        if not weights:
            raise Ineffective("one-shot needs a layer to prune, but found none; choose another model")
        return State(masks.all_live(weights))

    def after_backward(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Zeros the gradients of masked weights; as their momentum is zero too, they stay exactly 0."""
        state.mask_gradients_(model)

    def after_step(self, state: State, model: nn.Module, clock: Clock) -> None:
        """Masks once. Take random numbers from `clock.rng("purpose")` only; do not wait for the device in other steps."""
        if clock.step == max(1, round(self.when * clock.budget.steps)):
            state.masks = masks.keep_top(magnitude(state.weights(model)), self.final, "layer")
            state.mask_weights_(model, clock.optimizer)

    def finish(self, state: State, model: nn.Module) -> nn.Module:
        """The plain model. A method that misses its target must raise."""
        if masks.count(state.masks) != sum(round(self.final * m.numel()) for m in state.masks.values()):
            raise Ineffective(f"one-shot must mask final={self.final} of the weights, but the run ended before `when`")
        return model


METHOD = OneShot

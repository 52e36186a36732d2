"""The base of the unstructured methods: weights to prune, gradients of masked weights, and the number of zeros."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import methods
from bench import masks
from bench.errors import Ineffective
from methods._masked import Unstructured

UNSTRUCTURED = [n for n in methods.names() if issubclass(methods.load(n).METHOD, Unstructured)]


@dataclass(frozen=True)
class Toy(Unstructured[masks.Masked]):
    """Wants a given number of zeros, or None."""

    goal: int | None = None

    @property
    def name(self) -> str:
        return "toy"

    def attach(self, model: nn.Module, example: Tensor) -> masks.Masked:
        return masks.Masked(masks.all_live(self.weights_to_prune(model)))

    def zeros_wanted(self, sizes: Sequence[int]) -> int | None:
        return self.goal


def finished(goal: int | None, zeros: int) -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    method = Toy(goal)
    state = method.attach(model, torch.zeros(1, 4))
    scores = masks.magnitudes(state.weights(model), state.masks)
    state.masks = masks.keep_counts(scores, {"0.weight": zeros, "2.weight": 0})
    return method.finish(state, model)


def test_who_shares_the_base():
    assert UNSTRUCTURED == ["adaptive", "drop", "gradual", "lottery", "oneshot", "rigl", "sap"]


@pytest.mark.parametrize("name", UNSTRUCTURED)
def test_a_model_without_weights_to_prune_is_refused_by_each_in_the_same_words(name: str) -> None:
    method = methods.load(name).METHOD()
    message = f"^{name} needs a layer to prune, but found none besides what is spared; .*, or choose another model$"
    with pytest.raises(Ineffective, match=message):
        method.attach(nn.Sequential(nn.ReLU()), torch.zeros(1))


def test_the_right_number_of_zeros_passes():
    assert isinstance(finished(5, zeros=5), nn.Module)
    assert isinstance(finished(None, zeros=1), nn.Module)
    assert isinstance(finished(0, zeros=0), nn.Module)


@pytest.mark.parametrize("zeros", [4, 6])
def test_a_wrong_number_of_zeros_is_no_result(zeros: int) -> None:
    with pytest.raises(Ineffective, match=f"toy must mask 5 of 18 weights, but masked {zeros}; the run was cut short"):
        finished(5, zeros)


def test_a_method_without_a_target_must_mask_something():
    with pytest.raises(Ineffective, match="toy must mask a weight, but masked none of 18"):
        finished(None, zeros=0)


def test_masked_weights_get_no_gradient():
    model, method = nn.Sequential(nn.Linear(2, 2)), Toy()
    state = method.attach(model, torch.zeros(1, 2))
    state.masks = {"0.weight": torch.tensor([[True, False], [False, True]])}
    model(torch.ones(1, 2)).sum().backward()
    method.after_backward(state, model, None)  # type: ignore[arg-type]
    assert model[0].weight.grad.tolist() == [[1, 0], [0, 1]]

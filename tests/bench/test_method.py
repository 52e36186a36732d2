"""The method's interface: its defaults, and the protocols that only some methods take part in."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

import methods
from bench import method as interface
from bench.errors import BenchError
from bench.method import (
    AltersFunction,
    Attains,
    Budget,
    Clock,
    EffectiveWeights,
    FromTrained,
    Labels,
    Method,
    Phase,
    Rebuilds,
    RemovesChannels,
    ReplacesModel,
    attained,
    method_from,
)
from bench.training.recovery import Recover
from tests.toys import ToyNet

PROTOCOLS = (AltersFunction, Attains, EffectiveWeights, FromTrained, Labels, Rebuilds, RemovesChannels, ReplacesModel)
STRUCTURED = {Attains, Labels, Rebuilds, RemovesChannels}
PARTS: dict[str, set[type]] = {
    "adaptive": {AltersFunction, EffectiveWeights, Rebuilds},
    "decay": STRUCTURED,
    "dense": set(),
    "depgraph": STRUCTURED,
    "drop": set(),
    "gate_decorator": STRUCTURED,
    "gradual": {AltersFunction},
    "lottery": {FromTrained},
    "oneshot": {AltersFunction},
    "otov2": STRUCTURED,
    "rigl": {AltersFunction},
    "sap": {FromTrained},
    "small_dense": {ReplacesModel},
}


def made(name: str) -> Method[Any]:
    method: Method[Any] = methods.load(name).METHOD()
    return method


@pytest.mark.parametrize("name", sorted(PARTS))
def test_a_method_takes_part_in_the_protocols_that_it_needs(name: str) -> None:
    assert {p for p in PROTOCOLS if isinstance(made(name), p)} == PARTS[name]


def test_each_of_our_methods_is_asked() -> None:
    assert set(PARTS) == {n for n in methods.names() if type(made(n)).__module__.startswith("methods.")}


def test_the_recovery_is_a_method_that_rebuilds_and_passes_on_what_was_left() -> None:
    recover = Recover(made("depgraph"))
    assert {p for p in PROTOCOLS if isinstance(recover, p)} == {Rebuilds, RemovesChannels, Labels}


def test_the_base_class_has_the_hooks_of_the_loop_and_little_else() -> None:
    hooks = {"attach", "phase", "optimizer", "penalty", "after_backward", "after_step", "end_phase", "finish", "stats"}
    about = {"name", "reconstructed", "wanted", "prunable", "masks", "to_dict", "identity"}
    own = {n for n, v in vars(Method).items() if not n.startswith("_") and (callable(v) or isinstance(v, property))}
    assert own == hooks | about
    for hook in hooks - {"stats"}:
        assert f"method.{hook}(" in (interface.__doc__ or "")
    for protocol in PROTOCOLS:
        assert protocol.__name__ in (interface.__doc__ or "")
        assert len([n for n, v in vars(protocol).items() if inspect.isfunction(v) and not n.startswith("_")]) == 1


def test_without_a_word_of_its_own_a_method_attains_the_sparsity_of_its_prunable_weights() -> None:
    metrics = {"sparsity/prunable": 0.8, "macs/fraction": 0.3}
    assert attained(made("gradual"), metrics) == 0.8
    assert attained(made("depgraph"), metrics) == 0.7


def test_the_default_phase_takes_all_steps_and_hooks_do_nothing() -> None:
    method, model = made("dense"), ToyNet()
    state = method.attach(model, torch.zeros(1, 1, 6, 6))
    assert method.phase(state, 0, Budget(10, 10, 5)) == Phase("train", 10)
    assert method.phase(state, 1, Budget(10, 0, 5)) is None
    assert method.stats(state, model) == {}
    assert method.masks(state) == {}
    assert method.finish(state, model) is model


def test_a_budget_knows_what_is_spent() -> None:
    assert (Budget(10, 4, 5).spent, [Budget(10, 10, 5).share(i, 3) for i in range(3)]) == (6, [3, 3, 4])


def test_randomness_has_an_address() -> None:
    def drawn(seed: int, step: int, purpose: str) -> float:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        clock = Clock(seed, Budget(10, 10, 5), Phase("train", 10), 0, step, step, optimizer)
        assert clock.progress == step / 10
        return float(torch.rand((), generator=clock.rng(purpose)))

    assert drawn(0, 3, "drop") == drawn(0, 3, "drop")
    assert len({drawn(0, 3, "drop"), drawn(1, 3, "drop"), drawn(0, 4, "drop"), drawn(0, 3, "grow")}) == 4


def test_a_method_is_made_from_its_description() -> None:
    method = methods.load("gradual").METHOD(final=0.5)
    assert method_from(method.to_dict()) == method
    assert method.identity() == {"name": "gradual", "final": 0.5}
    with pytest.raises(BenchError, match="gradual"):
        method_from({"name": "gradul"})

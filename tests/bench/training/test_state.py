"""The state of a training: that all of it is saved, how it comes back, and what its configuration says of it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field, fields
from typing import Any

import pytest
import torch

import methods
from bench.method import Budget
from bench.recipe import Recovery
from bench.training.recovery import Recover
from bench.training.state import NOT_SAVED, Generators, Position, Stateful, Training, to
from tests.toys import toy_training


def made(**more: Any) -> Training:
    return toy_training(methods.load("gradual").METHOD(), steps=20, **more)


def test_a_field_is_saved_unless_it_says_otherwise() -> None:
    training = made()
    training.state = training.setup.method.attach(training.model, torch.zeros(1, 1, 6, 6))
    saved = training.state_dict()
    left_out = {f.name for f in fields(Training) if f.metadata == NOT_SAVED}
    assert saved.keys() == {f.name for f in fields(Training)} - left_out
    assert left_out == {"setup", "kept", "label", "measured", "last_save", "resumed"}
    assert saved["at"].keys() == {f.name for f in fields(Position)}
    assert "ready" not in saved["state"]


def test_a_new_field_is_part_of_the_checkpoint_by_itself() -> None:
    @dataclass
    class Count:
        seen: int = 0

    @dataclass(eq=False)
    class Longer(Training):
        count: Count = field(default_factory=Count)

    one, other = (Longer(made().setup, made().model) for _ in range(2))
    one.count.seen, one.at.step = 7, 3
    other.load_state_dict(one.state_dict())
    assert (other.count.seen, other.at.step) == (7, 3)


def test_state_that_is_neither_a_dataclass_nor_saves_itself_is_refused() -> None:
    training = made()
    training.state = 3
    with pytest.raises(TypeError, match="dataclass"):
        training.state_dict()


def test_the_optimiser_and_the_generators_come_back_when_the_phase_goes_on() -> None:
    training, resumed = made(), made()
    training.optimizer = torch.optim.SGD(training.model.parameters(), lr=0.5, momentum=0.9)
    torch.manual_seed(3)
    saved, drawn = training.state_dict(), torch.rand(2)
    resumed.load_state_dict(saved)
    torch.manual_seed(4)
    resumed.optimizer = torch.optim.SGD(resumed.model.parameters(), lr=0.1, momentum=0.9)
    resumed.resume_phase_()
    assert resumed.optimizer.param_groups[0]["lr"] == 0.5
    assert torch.equal(torch.rand(2), drawn)
    resumed.optimizer.param_groups[0]["lr"] = 0.2
    resumed.resume_phase_()  # once
    assert resumed.optimizer.param_groups[0]["lr"] == 0.2


def test_generators_are_those_of_the_cpu_and_save_themselves() -> None:
    generators = Generators(torch.device("cpu"))
    assert isinstance(generators, Stateful)
    torch.manual_seed(1)
    saved, drawn = generators.state_dict(), torch.rand(3)
    torch.manual_seed(2)
    generators.load_state_dict(saved)
    assert torch.equal(torch.rand(3), drawn)
    assert len(saved) == 1


def test_the_configuration_is_frozen_and_has_one_stage_or_two() -> None:
    setup = made().setup
    with pytest.raises(FrozenInstanceError):
        setup.steps = 3  # type: ignore[misc]
    (only,) = setup.stages
    assert (only.method, only.recipe, only.end) == (setup.method, setup.recipe, 20)
    setup = made(recovery=Recovery("finetune", 0.25)).setup
    first, second = setup.stages
    assert (first.method, first.recipe, first.end) == (setup.method, setup.recipe, 15)
    assert (second.end, second.recipe.schedule) == (20, "constant")
    assert isinstance(second.method, Recover)
    assert second.method.ended == setup.method
    assert setup.rewinds_to is None
    assert made(recovery=Recovery("weights", 0.25)).setup.rewinds_to == 0


def test_the_budget_is_the_stages() -> None:
    training = made(recovery=Recovery("lr", 0.25))
    training.at.step, training.at.phase_step = 6, 2
    assert training.budget == Budget(15, 11, 7)
    assert not training.recovering
    training.at.stage, training.at.step, training.at.phase_step = 1, 15, 0
    assert training.budget == Budget(20, 5, 7)
    assert training.recovering


def test_zeros_of_a_given_shape_are_held_in_the_methods_stage_alone() -> None:
    held = {"fc.weight": torch.ones(64, 16, dtype=torch.bool)}
    first, second = made(recovery=Recovery("lr", 0.25), held=held).setup.stages
    assert first.held.keys() == {"fc.weight"}
    assert second.held == {}


def test_tensors_inside_plain_containers_are_moved() -> None:
    moved = to({"a": [torch.zeros(1), 2], "b": {"c": "text"}}, torch.device("meta"))
    assert moved["a"][0].device.type == "meta"
    assert (moved["a"][1], moved["b"]) == (2, {"c": "text"})

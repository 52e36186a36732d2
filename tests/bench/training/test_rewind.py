"""Rewinding: what is kept, and that putting it back is exact."""

from __future__ import annotations

import pytest
import torch

from bench.errors import BenchError
from bench.training.recovery import zeros
from bench.training.rewind import Origin, restore_, rewind_, snapshot, tensors, values
from tests.toys import ToyNet, toy_batch, weights


def disturb(model: ToyNet) -> None:
    """Another value everywhere: a forward pass moves the statistics, an addition the parameters."""
    model.train()(toy_batch("rewind")[0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)


@pytest.mark.parametrize("norms", [True, False])
def test_what_was_kept_comes_back_and_nothing_else(norms):
    model = ToyNet()
    before, kept = weights(model), snapshot(model, norms)
    assert set(kept) == set(before if norms else dict(model.named_parameters()))
    disturb(model)
    moved, places = weights(model), {name: value.data_ptr() for name, value in model.state_dict().items()}
    assert not any(torch.equal(moved[name], before[name]) for name in before)
    restore_(model, kept)
    for name, value in weights(model).items():
        assert torch.equal(value, (before if name in kept else moved)[name]), name
    assert places == {name: value.data_ptr() for name, value in model.state_dict().items()}


def test_a_snapshot_is_a_copy_without_a_history():
    model = ToyNet()
    kept, before = snapshot(model, norms=True), weights(model)
    disturb(model)
    assert all(torch.equal(kept[name], before[name]) for name in before)
    assert not any(value.requires_grad for value in kept.values())
    restore_(model, kept)
    disturb(model)
    assert all(torch.equal(kept[name], before[name]) for name in before)
    assert all(p.requires_grad for p in model.parameters())


def test_a_part_can_be_put_back_and_a_stranger_cannot():
    model = ToyNet()
    restore_(model, {"head.bias": torch.full((4,), 7.0)})
    assert model.head.bias.tolist() == [7] * 4
    with pytest.raises(KeyError):
        restore_(model, {"other": torch.zeros(1)})


def test_values_of_a_whole_model_are_cut_by_the_plan_and_keep_the_zeros() -> None:
    model, small = ToyNet(seed=1), ToyNet(seed=2)
    origin = values(model, tensors(model))
    kept = {"conv1.weight": {0: [1, 3, 4]}, "conv2.weight": {0: [0, 5], 1: [1, 3, 4]}, "conv2.bias": {0: [0, 5]}}
    for name, dims in kept.items():
        value = small.get_parameter(name).detach()
        for dim, positions in dims.items():
            value = value.index_select(dim, torch.tensor(positions))
        layer, _, leaf = name.partition(".")
        setattr(small.get_submodule(layer), leaf, torch.nn.Parameter(value))
    with torch.no_grad():
        small.conv2.weight[0, 2].zero_()
    rewind_(small, origin, kept, zeros(small))
    assert torch.equal(small.conv1.weight, model.conv1.weight[[1, 3, 4]])
    wanted = model.conv2.weight[[0, 5]][:, [1, 3, 4]].detach().clone()
    wanted[0, 2] = 0
    assert torch.equal(small.conv2.weight, wanted)
    assert torch.equal(small.get_parameter("conv2.bias"), model.get_parameter("conv2.bias")[[0, 5]])
    assert torch.equal(small.head.weight, model.head.weight)


def test_values_of_a_model_that_was_cut_are_refused() -> None:
    model = ToyNet()
    found = tensors(model)
    model.fc.weight = torch.nn.Parameter(model.fc.weight[:4].detach())
    with pytest.raises(BenchError, match=r"kept while the model is whole, but fc.weight was cut"):
        values(model, found)


def test_an_origin_keeps_the_values_of_its_step_and_of_no_other() -> None:
    model = ToyNet()
    origin, before = Origin(2, tensors(model)), weights(model)
    origin.keep(1, model)
    assert origin.values == {}
    origin.keep(2, model)
    disturb(model)
    origin.keep(2, model)
    assert all(torch.equal(value, before[name]) for name, value in origin.values.items())
    assert origin.values.keys() == before.keys()


def test_an_origin_comes_back_from_a_checkpoint_unless_it_is_the_start() -> None:
    model = ToyNet()
    for step in (0, 3):
        origin, resumed = (Origin(step, tensors(model)) for _ in range(2))
        origin.keep(step, model)
        resumed.load_state_dict(origin.state_dict())
        assert resumed.values.keys() == (origin.values.keys() if step else set())
    assert Origin().state_dict() == {}

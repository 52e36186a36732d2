"""Rewinding: what is kept, and that putting it back is exact."""

from __future__ import annotations

import pytest
import torch

from bench.training.rewind import restore_, snapshot
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

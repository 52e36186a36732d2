"""Effective sparsity: what is cut off at either end is found, and nothing else."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from bench import masks
from bench.measure.connected import effective


class Net(nn.Module):
    """Two convolutions, of 3 x 3 x 1 x 1 and 4 x 3 x 1 x 1 weights, and a classifier of 2 x 4."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.two, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.two(torch.relu(self.norm(self.one(x))))).mean(dim=(2, 3)))


def found(net: nn.Module, **zeros: tuple[slice | int, slice | int]) -> dict[str, float]:
    with torch.no_grad():
        for name, place in zeros.items():
            net.get_parameter(f"{name}.weight")[place] = 0.0
    return effective(net, ["one.weight", "two.weight", "head.weight"], (3, 4, 4))


ALL = slice(None)


def test_a_dense_net_is_connected() -> None:
    assert found(Net()) == {"sparsity/effective": 0.0, "weights/disconnected": 0}


def test_a_unit_that_reads_nothing_is_of_no_use_to_others() -> None:
    """Its 3 weights are gone, so that the 4 that read it are cut off, though its bias still reaches them."""
    assert found(Net(), one=(1, ALL)) == {"sparsity/effective": pytest.approx(7 / 29), "weights/disconnected": 4}


def test_a_unit_that_nothing_reads_is_cut_off() -> None:
    """Nothing reads unit 2 of the second convolution: its 3 weights; and then nothing reads what only it read."""
    assert found(Net(), head=(ALL, 2))["weights/disconnected"] == 3
    assert found(Net(), head=(ALL, slice(1, 4)), two=(0, 1))["weights/disconnected"] == 9 + 3


def test_a_scale_of_a_norm_that_is_zero_cuts_too() -> None:
    net = Net()
    with torch.no_grad():
        net.norm.weight[0] = 0.0
    assert found(net)["weights/disconnected"] == 3 + 4


def test_the_model_is_not_changed() -> None:
    net = Net()
    before = copy.deepcopy(net.state_dict())
    found(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
def test_models_with_gates_attention_and_residuals_are_connected(name: str) -> None:
    model = timm.create_model(name, num_classes=10, pretrained=False)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.ones_(norm.weight)  # the last ones of residuals begin at 0, which cuts them off
    names = list(masks.prunable(model))
    assert effective(model, names, (3, 160, 160))["weights/disconnected"] == 0
    weight = model.get_parameter(names[1])
    with torch.no_grad():
        weight[0] = 0.0
    assert effective(model, names, (3, 160, 160))["sparsity/effective"] > 0

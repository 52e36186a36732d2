"""Channel groups: what is coupled leaves together, and the smaller model computes what the masked one did."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import cache

import pytest
import torch
import torch_pruning
from torch import nn

from bench import masks, models
from bench.channels import groups
from bench.channels.groups import Group
from bench.errors import Ineffective
from bench.seeds import generator
from tests.toys import StuckNet, ToyNet, toy_batch

DENSENET = pytest.param("densenet121", marks=pytest.mark.slow)  # Torch-Pruning takes half a minute


@cache
def built(name: str) -> tuple[nn.Module, torch.Tensor, list[Group]]:
    """A model, to be copied before it is changed, with images and its groups: made once."""
    model, images = build(name)
    return model, images, groups.find(model, images)


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    model, size = models.create(name, classes=10, channels=3, image_size=32, seed=0)
    images = torch.randn(4, 3, size, size, generator=generator("groups", name))
    model.train()(images)  # statistics that differ from channel to channel
    return model.eval(), images


def halves(found: list[Group]) -> dict[str, torch.Tensor]:
    return {g.root: torch.randperm(g.channels, generator=generator(g.root))[: g.channels // 2].sort()[0] for g in found}


def masked(model: nn.Module, found: list[Group], kept: dict[str, torch.Tensor]) -> nn.Module:
    result = copy.deepcopy(model)
    for group in found:
        gone = torch.ones(group.channels, dtype=torch.bool)
        gone[kept[group.root]] = False
        groups.zero_(result, group, gone)
    return result


def test_the_groups_of_the_toy() -> None:
    found = groups.find(ToyNet(), toy_batch("groups")[0])
    assert [(g.root, g.channels) for g in found] == [("conv1", 8), ("conv2", 16), ("fc", 64)]
    members = {(m.name, m.dim, m.kind) for m in found[0].members}
    norm = {(f"bn1.{t}", 0, "norm") for t in ("weight", "bias", "running_mean", "running_var")}
    assert members == {("conv1.weight", 0, "out"), ("conv2.weight", 1, "in"), *norm}


def test_norms_and_products_by_hand() -> None:
    model = ToyNet()
    (group, *_) = groups.find(model, toy_batch("groups")[0])
    values = dict(model.named_parameters())
    conv1, conv2, bn = values["conv1.weight"], values["conv2.weight"], model.bn1
    wanted = torch.stack(
        [conv1[k].square().sum() + conv2[:, k].square().sum() + bn.weight[k] ** 2 + bn.bias[k] ** 2 for k in range(8)]
    )
    assert torch.allclose(groups.norms(values, group), wanted)
    assert torch.allclose(groups.norms(values, group, ["in"]), conv2.square().sum((0, 2, 3)))
    assert torch.allclose(groups.dots(values, values, group), wanted)


@pytest.mark.parametrize(
    "name", ["cifar_resnet20b", "cifar_vgg16_bn:width=0.5", "test_resnet", "test_efficientnet", "resnet18"]
)
def test_removed_is_masked_made_smaller(name: str) -> None:
    model, images, found = built(name)
    kept = halves(found)
    zeroed = masked(model, found, kept)
    smaller = copy.deepcopy(model)
    groups.shrink_(smaller, json.loads(json.dumps(groups.keep(model, found, kept))))
    with torch.no_grad():
        assert torch.allclose(smaller(images), zeroed(images), atol=1e-5)
    sizes = [sum(p.numel() for p in m.parameters()) for m in (smaller, model)]
    assert sizes[0] < 0.3 * sizes[1]  # a quarter, but for the first and the last layer
    smaller.train()(images).sum().backward()


def test_the_model_is_left_as_it_was() -> None:
    model, images = build("test_resnet")
    before = copy.deepcopy(model.state_dict())
    model.train()
    groups.find(model, images)
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_channels_that_are_padded_leave_where_they_lie() -> None:
    model, images = build("cifar_resnet20")  # option A: between stages channels are padded with zeros on both sides
    found = groups.find(model, images)
    assert [g.root for g in found] == ["conv1", *(f"layer{s}.{b}.conv1" for s in (1, 2, 3) for b in (0, 1, 2))]
    last = {m.name: m.index for m in found[0].members if m.dim == 0}["layer3.2.conv2.weight"]
    assert last.tolist() == list(range(24, 40))  # 8 before and after in the second stage, 16 in the third
    smaller = copy.deepcopy(model)
    groups.shrink_(smaller, groups.keep(model, found, halves(found)))
    with torch.no_grad():
        assert torch.allclose(smaller(images), masked(model, found, halves(found))(images), atol=1e-5)


@pytest.mark.parametrize("name", ["cifar_resnet20b", "cifar_vgg16_bn:width=0.5", "resnet18", DENSENET])
def test_groups_are_those_of_torch_pruning_where_it_is_right(name: str) -> None:
    model, images, found = built(name)
    ours = {positions(g.members) for g in found}
    model = copy.deepcopy(model)
    graph = torch_pruning.DependencyGraph().build_dependency(model, images, customized_pruners={}, ignored_params=[])
    names = {id(module): name for name, module in model.named_modules()}
    theirs = set()
    for traced in graph.get_all_groups(ignored_layers=list(masks.classifier_modules(model))):
        members = []
        for dep, index in traced:
            side = "out" if graph.is_out_channel_pruning_fn(dep.handler) else "in"
            if id(dep.target.module) in names:
                members += bare(dep.target.module, names[id(dep.target.module)], side, index)
        theirs.add(frozenset(members))
    assert ours == theirs


def positions(members: tuple[groups.Member, ...]) -> frozenset[tuple[str, int, frozenset[int]]]:
    """What leaves with a group, without the order of its channels; weights only."""
    return frozenset((m.name, m.dim, frozenset(m.index.tolist())) for m in members if m.name.endswith("weight"))


def bare(module: nn.Module, name: str, side: str, index: list[int]) -> list[tuple[str, int, frozenset[int]]]:
    if not isinstance(getattr(module, "weight", None), nn.Parameter):
        return []
    return [(f"{name}.weight", int(side == "in" and isinstance(module, masks.LAYERS)), frozenset(index))]


@pytest.mark.parametrize("lost", [1, 2])
def test_a_group_that_misses_a_member_is_not_sound(lost: int) -> None:
    model, (images, _) = ToyNet().eval(), toy_batch("groups")
    (group, *_) = groups.find(model, images)
    stirred, two = groups.ready(model, images)
    assert groups.sound(stirred, two, [group])
    short = replace(group, members=group.members[:-lost] if lost == 1 else group.members[1:])
    assert not groups.sound(stirred, two, [short])


def test_scaling_a_group_scales_its_parameters_and_no_others() -> None:
    model, (images, _) = ToyNet(), toy_batch("groups")
    (group, *_) = groups.find(model, images)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    factors = torch.arange(8.0)
    groups.scale_(model, group, factors)
    after = dict(model.named_parameters())
    assert torch.equal(after["conv1.weight"], before["conv1.weight"] * factors.view(-1, 1, 1, 1))
    assert torch.equal(after["conv2.weight"], before["conv2.weight"] * factors.view(1, -1, 1, 1))
    assert torch.equal(after["bn1.bias"], before["bn1.bias"] * factors)
    assert torch.equal(after["conv2.bias"], before["conv2.bias"])


def test_a_model_without_channels_is_refused() -> None:
    with pytest.raises(Ineffective, match="structured pruning needs"):
        groups.find(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.zeros(2, 1, 2, 2))


def test_where_nothing_can_leave_each_layer_s_outputs_can_be_masked() -> None:
    model, images = StuckNet(), toy_batch("groups")[0]
    with pytest.raises(Ineffective, match="none of 0 groups"):
        groups.find(model, images)
    found = groups.outputs(model, images)
    assert [(g.root, g.channels, g.removable) for g in found] == [
        ("conv1", 8, False),
        ("conv2", 16, False),
        ("fc", 64, False),
    ]
    groups.zero_(model, found[1], torch.arange(16) < 4)
    assert model.conv2.weight[:4].count_nonzero() == model.conv2.bias[:4].count_nonzero() == 0
    assert model.conv2.weight[4:].count_nonzero() == 12 * 72
    assert groups.keep(model, found, {"conv2": torch.arange(4, 16)}) == {}


def test_a_masked_channel_takes_along_the_batch_norm_that_reads_it_alone() -> None:
    class Shared(StuckNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + self.bn1(x.expand(-1, 8, -1, -1)).mean((1, 2, 3))[:, None]

    for kind, wanted in ((StuckNet, {"bn1.weight", "bn1.bias"}), (Shared, set[str]())):
        group = groups.outputs(kind(), toy_batch("groups")[0])[0]
        assert {m.name for m in group.members} == {"conv1.weight", *wanted}


def test_a_model_that_cannot_be_run_is_refused_with_its_reason() -> None:
    with pytest.raises(Ineffective, match="got RuntimeError: "):
        groups.find(ToyNet(), torch.zeros(2, 3, 6, 6))

"""Groups of blocks of every kind, and removal of their channels."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch

from bench.channels import groups
from bench.channels.couplings.axes import Axis
from bench.seeds import generator
from tests.bench.channels.blocks import (
    BLOCKS,
    Block,
    FromInput,
    made,
)


@pytest.mark.parametrize("kind", BLOCKS)
def test_the_groups_of_a_block(kind: type[Block]) -> None:
    model, images = made(kind)
    found = groups.find(model, images)
    assert {g.root: g.channels for g in found} == BLOCKS[kind]


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_without_a_group_is_the_block_with_it_masked(kind: type[Block]) -> None:
    model, images = made(kind)
    found = [g for g in groups.find(model, images) if g.exact]
    kept = {g.root: torch.randperm(g.channels, generator=generator(g.root))[: g.channels // 2].sort()[0] for g in found}
    masked, smaller = copy.deepcopy(model), copy.deepcopy(model)
    for group in found:
        gone = torch.ones(group.channels, dtype=torch.bool)
        gone[kept[group.root]] = False
        groups.zero_(masked, group, gone)
    groups.shrink_(smaller, json.loads(json.dumps(groups.keep(model, found, kept))))
    with torch.no_grad():
        assert torch.allclose(smaller(images), masked(images), atol=1e-5)
        assert smaller(images[:1]).shape == (1, 4)  # nothing depends on the number of images
    smaller.train()(images).sum().backward()
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_group_that_misses_any_of_its_members_is_found_out(kind: type[Block]) -> None:
    model, images = groups.ready(*made(kind))
    for group in groups.find(*made(kind)):
        for place, member in enumerate(group.members):
            if member.name in groups.tensors(model):
                short = replace(group, members=(*group.members[:place], *group.members[place + 1 :]))
                assert groups.unsound(model, images, [short]), member


def test_a_smaller_model_can_lose_more() -> None:
    model, images = made(FromInput)
    for _ in range(2):
        found = groups.find(model, images)
        groups.shrink_(model, groups.keep(model, found, {g.root: torch.arange(g.channels - 1) for g in found}))
    assert model.num_heads == 1
    assert model(images).shape == (3, 4)


def test_axes_are_told_apart_by_what_they_are_not_by_their_size() -> None:
    assert Axis(3) != Axis(3)

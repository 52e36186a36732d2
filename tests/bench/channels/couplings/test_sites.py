"""Sizes that code states explicitly: corrected by attributes or overridden at sites."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from bench.channels import groups
from bench.channels.couplings import sites
from tests.bench.channels.blocks import (
    BLOCKS,
    Block,
    FromInput,
    Fused,
    made,
)


@pytest.mark.parametrize(("kind", "attribute", "sizes"), [(Fused, "attn_dim", (3, 24)), (FromInput, "", (3,))])
def test_attributes_that_count_channels_are_corrected(
    kind: type[Block], attribute: str, sizes: tuple[int, ...]
) -> None:
    model, images = made(kind)
    found = groups.find(model, images)
    heads = next(g for g in found if g.channels == 3)
    groups.shrink_(model, groups.keep(model, found, {heads.root: torch.tensor([0, 2])}))
    assert model.num_heads == 2
    assert not attribute or getattr(model, attribute) == sizes[1] * 2 // 3


def test_only_code_that_gets_a_size_wrong_is_told_it() -> None:
    for kind, told in ((Fused, False), (FromInput, True)):
        model, images = made(kind)
        found = groups.find(model, images)
        groups.shrink_(model, groups.keep(model, found, groups.uneven(found)))
        assert isinstance(model, sites.Sited) is told
        assert type(model).__name__ == kind.__name__


def test_a_model_that_is_told_sizes_can_be_stored_copied_and_exported() -> None:
    model, images = made(FromInput)
    found = groups.find(model, images)
    groups.shrink_(model, groups.keep(model, found, groups.uneven(found)))
    with torch.no_grad():
        wanted = model(images)
        assert torch.equal(pickle.loads(pickle.dumps(model))(images), wanted)
        assert torch.equal(copy.deepcopy(model)(images), wanted)
        exported = torch.export.export(model, (images,)).module()
        assert torch.allclose(exported(images), wanted, atol=1e-6)


def test_a_method_held_under_another_name_is_told_too() -> None:
    class Held(FromInput):
        def __init__(self) -> None:
            super().__init__()
            self.block = self.slow  # type: ignore[method-assign]

        def slow(self, x: Tensor) -> Tensor:
            B, N, C = x.shape
            q, k, v = torch.cat([self.q(x), self.kv(x)], -1).view(B, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
            return x + self.proj(((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2).reshape(B, N, C))

    model, images = made(Held)
    found = groups.find(model, images)
    assert {g.root: g.channels for g in found} == BLOCKS[FromInput]
    groups.shrink_(model, groups.keep(model, found, groups.uneven(found)))
    assert model(images).shape == (3, 4)
    assert copy.deepcopy(model)(images).shape == (3, 4)


def test_sizes_that_agree_by_chance_are_told_apart() -> None:
    class Pair(FromInput):
        """Two heads, and a stream whose halves leave as a whole: both are halved to the same size."""

        def __init__(self) -> None:
            super().__init__()
            self.num_heads, self.wide = 2, nn.Conv2d(12, 12, 1, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.block(self.wide(self.stem(x)).flatten(2).transpose(1, 2)).mean(1))

    model, images = made(Pair)
    found = groups.find(model, images)
    for group in found:
        smaller = copy.deepcopy(model)
        groups.shrink_(smaller, groups.keep(smaller, [group], {group.root: torch.arange(group.channels // 2)}))
        assert smaller(images).shape == (3, 4)
    assert {g.channels for g in found} == {2}

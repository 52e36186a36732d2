"""Couplings: axes learn what they are from each other, and blocks of every kind lose what belongs together."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.channels import groups
from bench.channels.couplings import sites
from bench.channels.couplings.axes import Axis, Fixed, Sum, extent, fixed, free, freeze, fresh, resolve, times, unify
from bench.channels.couplings.members import positions
from bench.seeds import generator

# The algebra of axes.


def test_equal_axes_are_one() -> None:
    one, other = fresh(8), fresh(8)
    unify(one, other)
    assert resolve(one) == resolve(other)
    freeze(one, "a reason")
    assert resolve(other) == ((Fixed(8, "a reason"),),)


def test_a_product_is_taken_apart_and_put_together() -> None:
    rows, heads, each = fresh(24), fresh(3), fresh(8)
    unify(rows, times(heads, each))
    assert resolve(rows) == (heads[0] + each[0],)
    other = fresh(24)
    unify(other, times(fixed(3), fresh(8)))
    unify(rows, other)
    assert not [*free(heads)]  # what they meet is fixed
    assert [*free(rows)] == [*free(each)] == [*free(other)]


def test_a_concatenation_is_cut_where_it_was_joined() -> None:
    one, two = fresh(5), fresh(7)
    whole, left, right = fresh(12), fresh(9), fresh(3)
    unify(whole, one + two)
    unify(whole, left + right)
    assert [f.size for segment in resolve(whole) for f in segment] == [5, 4, 3]
    assert resolve(left)[0] == resolve(one)[0]
    assert resolve(left)[1:] + resolve(right) == resolve(two)


def test_a_concatenation_inside_a_product_stays_there() -> None:
    heads, key, value = fresh(4), fresh(2), fresh(3)
    rows = fresh(20)
    unify(rows, times(heads, key + value))
    assert resolve(rows) == ((heads[0][0], Sum(key + value)),)
    found = {a: (index.tolist(), channel.tolist()) for a, index, channel in positions(resolve(rows))}
    assert found[heads[0][0]] == (list(range(20)), [i // 5 for i in range(20)])
    assert found[key[0][0]] == ([0, 1, 5, 6, 10, 11, 15, 16], [0, 1] * 4)


def test_what_does_not_fit_is_fixed_on_both_sides() -> None:
    one, other = times(fresh(4), fresh(6)), times(fresh(8), fresh(3))
    assert extent(one) == extent(other) == 24
    unify(one, times(fresh(2), fresh(12)))  # 6 into 12 goes: 2 x 2 x 6
    assert [f.size for f in resolve(one)[0]] == [2, 2, 6]
    one, other = times(fresh(4), fresh(6)), times(fresh(6), fresh(4))
    unify(one, other)
    assert not [*free(one), *free(other)]


# Blocks: what an architecture may be made of, each with the groups that it must have.


class Block(nn.Module):
    """A block between a stem and a classifier, over 12 channels of a 4 x 4 image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 12, 1), nn.Linear(12, 4)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.stem(x)).mean((2, 3)))


class Tokens(Block):
    """A block over tokens (N, 16, 12)."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.stem(x).flatten(2).transpose(1, 2)).mean(1))


class Fused(Tokens):
    """Attention by attributes: they are corrected."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.attn_dim = 3, 24
        self.norm, self.qkv, self.proj = nn.LayerNorm(12), nn.Linear(12, 72), nn.Linear(24, 12)
        self.bias = nn.Parameter(torch.randn(9, 3))
        self.register_buffer("place", torch.arange(256) % 9)

    def block(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).reshape(len(x), 16, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.bias[self.place].view(16, 16, -1).permute(2, 0, 1)
        weights = (q @ k.transpose(-2, -1) + bias).softmax(-1)
        return x + self.proj((weights @ v).transpose(1, 2).reshape(len(x), 16, self.attn_dim))


class FromInput(Tokens):
    """Attention that takes its width to be its input's: it is told better."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = 3
        self.q, self.kv, self.proj = nn.Linear(12, 12), nn.Linear(12, 24), nn.Linear(12, 12)

    def block(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q = self.q(x).reshape(B, N, self.num_heads, C // self.num_heads).transpose(1, 2)
        k, v = self.kv(x).reshape(B, N, 2, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
        return x + self.proj(((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2).reshape(B, N, C))


class Interleaved(Tokens):
    """Heads whose rows hold query, key and value of one head side by side, merged with the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.key, self.value = 2, 3, 5
        self.qkv, self.proj = nn.Linear(12, 22), nn.Linear(10, 12)

    def block(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).view(len(x), 16, self.heads, -1).transpose(1, 2).reshape(len(x) * self.heads, 16, -1)
        q, k, v = qkv.split([self.key, self.key, self.value], dim=-1)
        out = torch.bmm(torch.bmm(q, k.transpose(1, 2)).softmax(-1), v)
        return x + self.proj(out.view(-1, self.heads, 16, self.value).transpose(1, 2).flatten(2))


class Gated(Block):
    """Squeeze and excitation, and a gate made by cutting a layer's outputs in two."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Conv2d(12, 20, 1), nn.Conv2d(10, 12, 1)
        self.reduce, self.expand = nn.Conv2d(12, 6, 1), nn.Conv2d(6, 12, 1)

    def block(self, x: Tensor) -> Tensor:
        value, gate = self.up(x).chunk(2, dim=1)
        y = self.down(value * gate.sigmoid())
        return x + y * self.expand(self.reduce(y.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Split(Block):
    """Outputs split by a number that the module remembers, each part convolved, put together again (Res2Net)."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 4
        self.first, self.last = nn.Conv2d(12, 12, 1), nn.Conv2d(12, 12, 1)
        self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))

    def block(self, x: Tensor) -> Tensor:
        a, b, c = torch.split(self.first(x), self.width, 1)
        return x + self.last(torch.cat([self.convs[0](a), self.convs[1](b), c], 1))


class Grouped(Block):
    """A grouped convolution and a group norm, of which whole groups leave; a dense connection."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(12, 16, 1), nn.Conv2d(16, 24, 3, padding=1, groups=4)
        self.norm, self.last = nn.GroupNorm(4, 24), nn.Conv2d(36, 12, 1)

    def block(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([x, self.norm(self.second(self.first(x)))], 1))


class Mixer(Tokens):
    """A class token, places, layer scale; and a layer over the places, which cannot leave."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 12)), nn.Parameter(torch.randn(1, 17, 12))
        self.scale, self.mix, self.up = nn.Parameter(torch.ones(12)), nn.Linear(17, 17), nn.Linear(12, 30)
        self.down = nn.Linear(30, 12)

    def block(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        x = x + self.mix(x.transpose(1, 2)).transpose(1, 2)
        return x + self.scale * self.down(self.up(x).relu())


BLOCKS = {
    Fused: {"stem": 12, "qkv": 3},
    FromInput: {"stem": 12, "q": 3},
    Interleaved: {"stem": 12, "qkv": 2},
    Gated: {"stem": 12, "up": 10, "reduce": 6},
    Split: {"stem": 12, "first": 4, "first/2": 4, "first/3": 4, "convs.0": 4, "convs.1": 4},
    Grouped: {"stem": 12, "first": 4, "last": 12},
    Mixer: {"stem": 12, "up": 30},
}


def made(kind: type[Block]) -> tuple[Block, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().eval(), torch.randn(3, 3, 4, 4)


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


def test_a_smaller_model_can_lose_more() -> None:
    model, images = made(FromInput)
    for _ in range(2):
        found = groups.find(model, images)
        groups.shrink_(model, groups.keep(model, found, {g.root: torch.arange(g.channels - 1) for g in found}))
    assert model.num_heads == 1
    assert model(images).shape == (3, 4)


def test_an_operation_without_a_rule_keeps_its_channels_and_no_others() -> None:
    class Sorted(Block):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Conv2d(12, 20, 1), nn.Conv2d(20, 12, 1)

        def block(self, x: Tensor) -> Tensor:
            return self.down(self.up(x.logcumsumexp(1)))

    found = groups.find(*made(Sorted))
    assert {g.root: g.channels for g in found} == {"up": 20, "down": 12}


def test_what_a_norm_sees_is_not_called_exact() -> None:
    found = groups.find(*made(Fused))
    assert {g.root: g.exact for g in found} == {"stem": False, "qkv": True}


def test_what_standardised_weights_or_attention_s_own_scale_see_is_not_exact() -> None:
    class Standard(Gated):
        def block(self, x: Tensor) -> Tensor:
            weight = nn.functional.batch_norm(self.reduce.weight.view(1, 6, -1), None, None, training=True).view(
                6, 12, 1, 1
            )
            value, gate = self.up(x).chunk(2, dim=1)
            return self.down(value * gate.sigmoid()) * self.expand(nn.functional.conv2d(x, weight)).sigmoid()

    class Own(Tokens):
        def __init__(self, scale: float | None = None) -> None:
            super().__init__()
            self.scale, self.qkv, self.proj = scale, nn.Linear(12, 27), nn.Linear(9, 12)

        def block(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).view(len(x), 1, 16, 3, 9).unbind(3)
            out = nn.functional.scaled_dot_product_attention(
                q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1), scale=self.scale
            )
            return x + self.proj(out[:, 0, 0])

    class Given(Own):
        def __init__(self) -> None:
            super().__init__(0.5)

    assert {g.root: g.exact for g in groups.find(*made(Standard))} == {
        **{"stem": False, "up": True, "down": True},
        **{"reduce": True},
    }
    for kind, wanted in ((Own, False), (Given, True)):
        assert {g.root: g.exact for g in groups.find(*made(kind))}["qkv"] is wanted


def test_axes_are_told_apart_by_what_they_are_not_by_their_size() -> None:
    assert Axis(3) != Axis(3)

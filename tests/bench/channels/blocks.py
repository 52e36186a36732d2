"""Blocks with coupled channels of every kind, each with its groups."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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

"""The trace of a forward pass: operations without a rule, and groups that are not exact."""

from __future__ import annotations

from torch import Tensor, nn

from bench.channels import groups
from tests.bench.channels.blocks import (
    Block,
    Fused,
    Gated,
    Tokens,
    made,
)


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

"""Which channels meet a budget: the ranking decides where it can."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench import models
from bench.channels import groups
from bench.channels.costs import Costs, choose
from bench.channels.influence import influential
from bench.channels.rounding import rounds
from bench.seeds import generator

SHAPE = (1, 3, 32, 32)


def vgg(budget: str = "macs") -> Costs:
    model = models.create("cifar_vgg16_bn:width=0.5", classes=10, channels=3, image_size=32, seed=0)[0]
    return Costs.of(model, groups.find(model, torch.zeros(SHAPE)), SHAPE, budget)


def drawn(costs: Costs, seed: int) -> dict[str, Tensor]:
    """Scores of all channels, which differ from group to group in their size."""
    return {
        g.root: torch.rand(g.channels, generator=generator("scores", seed, g.root)) * (1 + i % 3)
        for i, g in enumerate(costs.groups)
    }


def by_ranking(costs: Costs, scores: dict[str, Tensor], share: float) -> tuple[list[int], float]:
    """The numbers of channels that leave one by one in the order of their scores, where that comes nearest to the share, and
    by how much of the dense cost it misses; one channel of each group stays."""
    places = {g.root: i for i, g in enumerate(costs.groups)}
    queue = sorted(
        (float(s), places[root], k) for root, values in scores.items() for k, s in enumerate(values.sort().values[:-1])
    )
    removed, dense = [0] * len(places), costs.total([0] * len(places))
    best, least = list(removed), share
    for _, place, _ in queue:
        removed[place] += 1
        missed = abs(1 - costs.total(removed) / dense - share)
        if missed < least:
            best, least = list(removed), missed
    return best, least


@pytest.mark.parametrize("budget", ["macs", "params", "channels"])
def test_the_ranking_decides_where_it_meets_the_budget(budget: str) -> None:
    costs = vgg(budget)
    for seed, share in enumerate((0.3, 0.5, 0.7, 0.8)):
        scores = drawn(costs, seed)
        wanted, missed = by_ranking(costs, scores, share)
        assert missed < 0.005
        chosen = choose(costs, scores, share, scope="global")
        assert [int(chosen[g.root].sum()) for g in costs.groups] == wanted
        for group in costs.groups:
            gone = chosen[group.root]
            assert scores[group.root][gone].max() < scores[group.root][~gone].min()


@pytest.mark.parametrize("scope", ["global", "uniform"])
def test_where_the_ranking_misses_the_budget_single_steps_meet_it(scope: str) -> None:
    costs = vgg()
    dense = costs.total([0] * len(costs.groups))
    for share in (0.31, 0.52, 0.77):
        chosen = choose(costs, drawn(costs, 7), share, scope=scope, round_to=8)
        left = costs.total([int(chosen[g.root].sum()) for g in costs.groups]) / dense
        assert 1 - left == pytest.approx(share, abs=0.01)
        assert all(int((~c).sum()) % 8 == 0 for c in chosen.values())


class Grouped(nn.Module):
    """Groups of two channels of a convolution leave as wholes, channels of the others one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(3, 32, 1)
        self.conv = nn.Conv2d(32, 32, 3, padding=1, groups=16)
        self.last = nn.Conv2d(32, 160, 1)
        self.head = nn.Linear(160, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.last(torch.relu(self.conv(torch.relu(self.grouped(x))))))
        return self.head(x.mean((2, 3)))

    def get_classifier(self) -> nn.Module:
        return self.head


def test_heads_and_groups_are_counted_one_by_one_and_channels_by_width() -> None:
    found = groups.find(Grouped(), torch.zeros(SHAPE))
    assert dict(zip([g.channels for g in found], rounds(found, 8), strict=True)) == {16: 1, 160: 8}
    model = models.create("test_vit", classes=4, channels=3, image_size=32, seed=0)[0]
    found = groups.find(model, torch.zeros(SHAPE))
    units = dict(zip([g.root for g in found], rounds(found, 8), strict=True))
    assert {unit for root, unit in units.items() if root.endswith("qkv")} == {1}
    assert {unit for root, unit in units.items() if not root.endswith("qkv")} == {8}
    widths = [groups.Group(str(n), n, ()) for n in (8, 16, 31, 32, 64, 127, 128, 512)]
    assert rounds(widths, 0) == [1, 1, 1, 2, 4, 4, 8, 8]
    assert rounds(widths, 32) == [32] * 8


def test_heads_leave_by_default() -> None:
    model = models.create("vit_tiny_patch16_224", classes=4, channels=3, image_size=32, seed=0)[0]
    found = groups.find(model, torch.zeros(SHAPE))
    costs = Costs.of(model, found, SHAPE, "params")
    chosen = choose(costs, drawn(costs, 3), 0.5, scope="global", round_to=8)
    assert any(bool(out.any()) for root, out in chosen.items() if root.endswith("qkv"))


def test_a_ranking_without_influence_is_seen() -> None:
    """ResNet-20 at 82 % of the MACs: in multiples of 8 channels of 16, 32 and 64 most rankings leave one architecture."""
    model = models.create("cifar_resnet20", classes=10, channels=3, image_size=32, seed=0)[0]
    costs = Costs.of(model, groups.find(model, torch.zeros(SHAPE)), SHAPE, "macs")
    assert not influential(costs, 0.82, scope="global", round_to=8)
    assert influential(costs, 0.82, scope="global", round_to=0)

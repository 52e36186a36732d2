"""Which channels meet a budget: the ranking decides where it can."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench import models
from bench.channels import groups
from bench.channels.costs import Costs, choose
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

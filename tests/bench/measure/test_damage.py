"""Collapsed layers and batch-norm statistics of one's own, by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from bench.measure import accuracy, collapsed, layers, reestimated
from bench.recipe import Recipe
from bench.seeds import generator
from tests.toys import ToyBatches, ToyNet, toy_batch, weights

RECIPE = Recipe()
IMAGES = [toy_batch("damage", size=16)]


def found(model: nn.Module) -> dict[str, str]:
    rows = collapsed(model, layers(model, (), {}), IMAGES, RECIPE)
    return {row.name: row.reason for row in rows}


def test_a_model_that_is_well_raises_no_alarm_and_is_left_alone() -> None:
    model = ToyNet()
    before = weights(model)
    assert found(model) == {}
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in weights(model).items())
    assert not any(module._forward_hooks for module in model.modules())


def test_no_weights_few_weights_and_constant_outputs_behind_them() -> None:
    model = ToyNet()
    with torch.no_grad():
        model.conv2.weight.zero_()  # so that the hidden layer reads a constant
    assert found(model) == {
        "conv2.weight": "no weights left",
        "fc.weight": "constant outputs",
        "head.weight": "constant outputs",
    }


@pytest.mark.parametrize(("left", "reason"), [(10, "0.98 % of its weights left"), (11, None), (0, "no weights left")])
def test_one_per_cent_is_the_least(left: int, reason: str | None) -> None:
    """The hidden layer has 1024 weights, each of another output, so that outputs go on to differ."""
    model = ToyNet()
    with torch.no_grad():
        kept = torch.eye(64, 16).flatten().nonzero()[:left, 0] * 2
        model.fc.weight.mul_(torch.zeros(1024).index_fill_(0, kept, 1).view(64, 16))
        model.fc.bias.fill_(1.0)
    assert found(model).get("fc.weight") == reason


def test_outputs_are_constant_where_negative_sums_are_cut_off() -> None:
    model = ToyNet()
    with torch.no_grad():
        model.bn1.bias.fill_(-100.0)  # no weight is zero, and nothing comes through the first activation
    assert found(model) == dict.fromkeys(("conv2.weight", "fc.weight", "head.weight"), "constant outputs")


def test_one_image_tells_nothing_of_constant_outputs() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    one = [(torch.zeros(1, 1, 6, 6), torch.zeros(1, dtype=torch.long))]
    assert collapsed(model, layers(model, (), {}), one, RECIPE) == []


class Given:
    """Three batches that are handed out in every epoch."""

    def __init__(self, count: int = 3) -> None:
        self.batches = [torch.randn(5, 2, 1, 1, generator=generator("norms", i)) * (i + 1) + i for i in range(count)]

    def epoch(self, index: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for images in self.batches[skip:]:
            yield images, torch.zeros(len(images), dtype=torch.long)


def test_new_statistics_are_the_averages_over_the_batches() -> None:
    """A batch norm before a threshold: its mean decides what is predicted."""
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten())
    norm, given = model[0], Given()
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        norm.get_buffer("running_mean")[0] = 100.0
    mean = torch.stack([b.mean(dim=(0, 2, 3)) for b in given.batches]).mean(0)
    var = torch.stack([b.var(dim=(0, 2, 3), unbiased=True) for b in given.batches]).mean(0)
    images = torch.randn(40, 2, 1, 1, generator=generator("norms", "evaluation")) * 3 + 1
    wanted = ((images[:, :, 0, 0] - mean) / (var + norm.eps).sqrt()).argmax(1)
    labels = wanted.clone()
    labels[:3] = 1 - labels[:3]
    before = weights(model)
    assert reestimated(model, given, [(images, labels)], RECIPE) == {"top1_bn": pytest.approx(92.5)}
    assert accuracy(model, [(images, labels)], RECIPE)["top1"] < 80
    assert all(torch.equal(before[name], value) for name, value in weights(model).items())
    assert (norm.momentum, norm.training) == (0.1, True)


def test_no_more_than_twenty_batches_are_run_and_dropout_is_off() -> None:
    seen = list[bool]()
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten())
    model[1].register_forward_hook(lambda module, args, output: seen.append(bool((output == 0).any())))
    reestimated(
        model, Given(30), [(torch.randn(4, 2, 1, 1, generator=generator("few")), torch.zeros(4).long())], RECIPE
    )
    assert seen == [False] * 21


def test_a_model_without_statistics_has_none_to_estimate() -> None:
    model = nn.Sequential(
        nn.BatchNorm2d(1, track_running_stats=False), nn.GroupNorm(1, 1), nn.Flatten(), nn.Linear(36, 4)
    )
    assert reestimated(model, ToyBatches(), IMAGES, RECIPE) == {}
    assert 0 <= reestimated(ToyNet(), ToyBatches(), IMAGES, RECIPE)["top1_bn"] <= 100

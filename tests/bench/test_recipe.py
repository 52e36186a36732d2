"""The recipe: its parameter groups, its schedules, and how a recovery changes it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bench.errors import BenchError
from bench.recipe import FLOOR, Recipe, Recovery
from tests.toys import ToyNet


def test_norms_and_biases_are_in_a_group_without_decay_unless_all_is_decayed() -> None:
    (everything,) = Recipe(weight_decay=0.1).groups(ToyNet())
    assert everything["weight_decay"] == 0.1
    decayed, rest = Recipe(weight_decay=0.1, decay_all=False).groups(ToyNet())
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    model = ToyNet()
    names = {id(p): name for name, p in model.named_parameters()}
    _, rest = Recipe(decay_all=False).groups(model)
    found = {names[id(p)] for p in rest["params"]}  # type: ignore[attr-defined]
    assert found == {"bn1.weight", "bn1.bias", "conv2.bias", "fc.bias", "head.bias"}
    assert len(Recipe(decay_all=False).groups(nn.Conv2d(1, 1, 1, bias=False))) == 1


def test_frozen_parameters_are_not_trained() -> None:
    model = ToyNet()
    model.head.weight.requires_grad_(False)
    optimizer = Recipe().make_optimizer(model)
    assert all(p is not model.head.weight for group in optimizer.param_groups for p in group["params"])


def test_sgd_has_nesterovs_momentum_where_there_is_momentum_and_adamw_takes_it_for_beta1() -> None:
    assert Recipe().make_optimizer(ToyNet()).defaults["nesterov"]
    assert not Recipe(momentum=0.0).make_optimizer(ToyNet()).defaults["nesterov"]
    assert Recipe(optimizer="adamw", momentum=0.8).make_optimizer(ToyNet()).defaults["betas"] == (0.8, 0.999)


@pytest.mark.parametrize(
    ("recipe", "rates"),
    [
        (Recipe(schedule="constant"), [1, 1, 1, 1]),
        (Recipe(schedule="cosine"), [1, 0.5 * (1 + math.cos(math.pi / 4)), 0.5, 0.5 * (1 - math.cos(math.pi / 4))]),
        (Recipe(schedule="multistep", milestones=(0.5, 0.75), drop=0.1), [1, 1, 0.1, 0.01]),
        (Recipe(schedule="constant", warmup=0.5), [0.5, 1, 1, 1]),
        (Recipe(schedule="onecycle", warmup=0.5), [0.04, 0.52, 1, 0.5]),
        (Recipe(schedule="onecycle", warmup=1.0), [0.04, 0.04 + 0.48 * (1 - math.cos(math.pi / 4)), 0.52, None]),
    ],
)
def test_rates_of_four_steps(recipe: Recipe, rates: list[float | None]) -> None:
    for step, rate in enumerate(rates):
        if rate is not None:
            assert recipe.rate(step, 4) == pytest.approx(rate), step


def test_a_one_cycle_that_only_rises_ends_at_the_peak() -> None:
    assert Recipe(schedule="onecycle", warmup=1.0).rate(4, 4) == 1.0


def test_bf16_is_the_arithmetic_of_forward_and_not_of_the_weights() -> None:
    linear, images = nn.Linear(2, 2), torch.zeros(1, 2)
    with Recipe(precision="bf16").autocast(torch.device("cpu")):
        assert linear(images).dtype == torch.bfloat16
    with Recipe().autocast(torch.device("cpu")):
        assert linear(images).dtype == torch.float32
    assert linear.weight.dtype == torch.float32


def test_more_parts_than_images_are_refused() -> None:
    with pytest.raises(BenchError, match="micro_batches <= batch"):
        Recipe(batch=4, micro_batches=5)


def test_a_recovery_rewinds_to_a_step_of_the_method() -> None:
    assert Recovery("lr", 0.3).steps(37) == 11
    assert Recovery("lr", 0.01).steps(10) == 1
    assert Recovery("lr", 0.99).steps(10) == 9
    assert Recovery("lr", 0.5, 0.5).rewinds(20) is None
    assert [Recovery("weights", 0.5, to).rewinds(20) for to in (0.0, 0.01, 0.5)] == [0, 1, 5]
    with pytest.raises(BenchError, match="raise `epochs`"):
        Recovery("lr", 0.5).steps(1)


def test_fine_tuning_has_the_schedules_last_rate_or_the_floor() -> None:
    recipe = Recipe(schedule="multistep", milestones=(0.5,), drop=0.2, warmup=0.1)
    assert Recovery("finetune", 0.3).peak(recipe, 10) == pytest.approx(0.2)
    assert Recovery("finetune", 0.3).peak(Recipe(schedule="cosine"), 1000) == FLOOR
    assert Recovery("lr", 0.3).peak(recipe, 10) == 1.0
    tuned = Recovery("finetune", 0.3).recipe(recipe)
    assert (tuned.schedule, tuned.warmup, tuned.lr) == ("constant", 0.0, recipe.lr)
    assert Recovery("weights", 0.3).recipe(recipe) == recipe

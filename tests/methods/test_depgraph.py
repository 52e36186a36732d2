"""DepGraph: importances and the pull of sparse learning by hand, phases, and budgets that are met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import models
from bench.channels import groups
from bench.errors import BenchError
from bench.measure.operations import macs
from bench.method import Budget, Clock, Phase
from bench.seeds import generator
from bench.training.loop import Event, train
from methods._importance import (
    IMPORTANCES,
    ON_BATCHES,
    depthwise,
    hessian,
    importance,
    normalized,
    shrinkage,
    taylor,
    without,
)
from methods._leaving import Leave
from methods._structured import UNRANKED
from methods.depgraph import DepGraph
from tests.toys import RECIPE, ToyNet, toy_batch, toy_training, weights

SHAPE = (1, 1, 6, 6)


def first() -> tuple[ToyNet, groups.Group, dict[str, Tensor]]:
    """The toy with a norm whose scales differ, its first group, and gradients of all its parameters."""
    model = ToyNet()
    with torch.no_grad():
        model.bn1.weight.copy_(1 + torch.arange(8) / 8)
    group = next(g for g in groups.find(model, torch.zeros(SHAPE)) if g.root == "conv1")
    return model, group, {n: torch.randn(p.shape, generator=generator(n)) for n, p in model.named_parameters()}


def test_importances_by_hand() -> None:
    model, group, _ = first()
    values, k = {n: p.detach() for n, p in model.named_parameters()}, 3
    rows, scale, columns = values["conv1.weight"].flatten(1), values["bn1.weight"], values["conv2.weight"][:, k]
    wanted = {
        "group_norm": (rows[k].square().sum() + scale[k] ** 2 + columns.square().sum()) / 3,
        "magnitude": rows[k].abs().mean(),
        "bn_scale": scale[k].abs(),
        "fpgm": (rows[k] - rows).norm(dim=1).sum(),
    }
    for kind, value in wanted.items():
        found = importance(values, group, kind, generator("unused"))
        assert found.shape == (8,)
        assert found[k] == pytest.approx(float(value), rel=1e-4)
    drawn = [importance(values, group, "random", generator(i)) for i in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert {*wanted, "random", *ON_BATCHES} == set(IMPORTANCES)


def test_taylor_by_hand() -> None:
    """The root of the mean over batches of (sum w g)^2, of all parameters of a channel, the model in eval mode."""
    model, group, grads = first()
    batches, k = [toy_batch("taylor", i) for i in range(3)], 3
    for name, p in model.named_parameters():
        p.grad = grads[name].clone()
    found = taylor(model, [group], batches)["conv1"]
    assert model.training
    assert all(torch.equal(p.grad, grads[n]) for n, p in model.named_parameters() if p.grad is not None)
    squares = []
    for images, labels in batches:
        model.eval().zero_grad()
        F.cross_entropy(model(images), labels).backward()
        parts = [model.conv1.weight, model.bn1.weight, model.bn1.bias]
        change = [(p[k] * p.grad[k]).sum() for p in parts if p.grad is not None]
        assert model.conv2.weight.grad is not None
        squares.append((sum(change) + (model.conv2.weight[:, k] * model.conv2.weight.grad[:, k]).sum()).detach())
    assert float(found[k]) == pytest.approx(float(torch.stack(squares).square().mean().sqrt()), rel=1e-4)


def test_obd_c_by_hand() -> None:
    """Sum of w^2 F over the rows of a channel; F the mean over images of squared gradients, labels drawn by the model."""
    model, group, _ = first()
    batches = [toy_batch("hessian", i) for i in range(2)]
    found = hessian(model, [group], batches, generator("labels"))["conv1"]
    source, fisher = generator("labels"), torch.zeros_like(model.conv1.weight)
    model.eval()
    for images, _ in batches:
        drawn = torch.multinomial(model(images).softmax(1), 1, generator=source)[:, 0]
        for image, label in zip(images, drawn, strict=True):
            model.zero_grad()
            F.cross_entropy(model(image[None]), label[None]).backward()
            assert model.conv1.weight.grad is not None
            fisher += model.conv1.weight.grad.square() / 16
    assert torch.allclose(found, (model.conv1.weight.square() * fisher).sum((1, 2, 3)), rtol=1e-3)


def test_taylor_agrees_with_itself_over_sixteen_batches_more_than_over_one() -> None:
    model = train(toy_training(DepGraph(final=0.0), steps=40))
    found = [g for g in groups.find(model, torch.zeros(SHAPE)) if g.root == "fc"]

    def agreement(count: int) -> float:
        """Spearman's correlation between the ranks of two sets of batches."""
        sets = [[toy_batch("agree", half, i) for i in range(count)] for half in range(2)]
        ranks = [taylor(model, found, batches)["fc"].argsort().argsort().double() for batches in sets]
        return float(torch.corrcoef(torch.stack(ranks))[0, 1])

    assert agreement(16) > max(0.8, agreement(1))


@pytest.mark.parametrize("kind", ["taylor", "hessian"])
def test_scores_take_as_many_batches_as_the_method_says(kind: str) -> None:
    method, asked = DepGraph(importance=kind, batches=3), list[int]()
    model = ToyNet()

    def scoring(count: int) -> Iterator[tuple[Tensor, Tensor]]:
        asked.append(count)
        return (toy_batch("scoring", i) for i in range(count))

    state, optim = method.attach(model, torch.zeros(SHAPE)), torch.optim.SGD(model.parameters())
    clock = Clock(0, Budget(5, 5, 7), Phase("prune", 5), 0, 1, 1, optim)
    with pytest.raises(BenchError, match="need batches"):
        method.scores(state, model, clock)
    method.scores(state, model, replace(clock, scoring=scoring))
    assert asked == [3]
    assert DepGraph().batches == 16


def test_training_gives_batches_for_scores_that_it_does_not_train_on() -> None:
    setup = toy_training(DepGraph(), steps=5).setup
    images = [image for image, _ in setup.scoring(9)]
    assert len(images) == 9
    trained = [image for epoch in range(2) for image, _ in setup.batches.epoch(epoch)]
    assert not any(torch.equal(one, other) for one in images for other in trained)
    assert all(torch.equal(one, other) for one, (other, _) in zip(images, setup.scoring(9), strict=True))


def test_depthwise_filters_count_unless_they_are_left_out() -> None:
    model = models.create("mobilenetv2_035", classes=4, channels=3, image_size=32, seed=0)[0]
    names, values = depthwise(model), dict(model.named_parameters())
    assert len(names) == 17
    found = [g for g in groups.find(model, torch.zeros(1, 3, 32, 32)) if any(m.name in names for m in g.members)]
    group = next(g for g in found if sum(m.kind == "out" and m.name.endswith(".weight") for m in g.members) == 2)
    layers = [m.name for m in group.members if m.name.endswith(".weight")]
    squares = {n: values[n].detach().square() for n in layers}
    readers = {m.name for m in group.members if m.kind == "in"}
    rows = {
        n: (s.sum((0, 2, 3)) if n in readers else s.flatten(1).sum(1) if s.dim() > 1 else s) for n, s in squares.items()
    }
    own = [rows[n] for n in layers if n not in names]
    assert torch.allclose(
        importance(values, group, "group_norm", generator()), sum(rows.values()) / len(rows), rtol=1e-4
    )
    left = importance(values, without(group, names), "group_norm", generator())
    assert torch.allclose(left, sum(own) / len(own), rtol=1e-4)


def test_torch_prunings_schedule_by_independent_lines() -> None:
    """Twenty times: score, divide by the mean of the channels that are left, remove the lowest; nothing is trained between."""
    method = DepGraph(removals=20, between="nothing", budget="channels", round_to=1, final=0.5)
    model, state = ToyNet(), method.attach(ToyNet(), torch.zeros(SHAPE))
    assert method.choices(9) == {1: [pytest.approx(0.5 * (i + 1) / 20) for i in range(20)]}
    weight = {n: p.detach().clone() for n, p in model.named_parameters()}
    gone = {"conv1": torch.zeros(8).bool(), "conv2": torch.zeros(16).bool(), "fc": torch.zeros(64).bool()}
    for step in range(20):
        w1, w2, w3, w4 = (weight[f"{n}.weight"].square() for n in ("conv1", "conv2", "fc", "head"))
        parts = {
            "conv1": [w1.sum((1, 2, 3)), weight["bn1.weight"].square(), w2.sum((0, 2, 3))],
            "conv2": [w2.sum((1, 2, 3)), w3.sum(0)],
            "fc": [w3.sum(1), w4.sum(0)],
        }
        queue = []
        for name, layers in parts.items():
            score = torch.stack(layers).mean(0)
            score = score / score[~gone[name]].mean()
            queue += [(float(s), name, k) for k, s in enumerate(score) if not gone[name][k]]
        missing = round(88 * 0.5 * (step + 1) / 20) - sum(int(g.sum()) for g in gone.values())
        for _, name, k in sorted(queue)[:missing]:
            gone[name][k] = True
            weight[f"{name}.weight"][k] = 0
            following = {"conv1": "conv2.weight", "conv2": "fc.weight", "fc": "head.weight"}[name]
            weight[following][:, k] = 0
            if name == "conv1":
                weight["bn1.weight"][k] = 0
    optim = torch.optim.SGD(model.parameters())
    method.after_step(state, model, Clock(0, Budget(9, 9, 9), Phase("prune", 9), 0, 1, 1, optim))
    for name, out in gone.items():
        assert torch.equal(state.gone[name], out)


def test_normalisers_and_shrinkage_by_hand() -> None:
    scores = torch.tensor([1.0, 4.0, 16.0])
    assert normalized(scores, "mean").tolist() == pytest.approx([1 / 7, 4 / 7, 16 / 7])
    assert normalized(scores, "max").tolist() == pytest.approx([1 / 16, 1 / 4, 1])
    assert normalized(scores, "none").tolist() == [1, 4, 16]
    assert normalized(scores, "mean", torch.tensor([True, False, False])).tolist() == pytest.approx([0.1, 0.4, 1.6])
    assert shrinkage(scores, 3.0).tolist() == pytest.approx([8, 4, 1])  # square roots 1, 2, 4
    assert shrinkage(torch.ones(3), 4.0).tolist() == [1, 1, 1]


def test_the_pull_of_sparse_learning_by_hand() -> None:
    model, _, grads = first()
    method = DepGraph(reg=0.1, alpha=4.0)
    state = method.attach(model, torch.zeros(SHAPE))
    for name, p in model.named_parameters():
        p.grad = grads[name].clone()
    optimizer = method.optimizer(state, model, RECIPE, Phase("learn", 5))
    assert all(group["weight_decay"] == 0 for group in optimizer.param_groups)
    method.after_backward(state, model, Clock(0, Budget(5, 5, 7), Phase("learn", 5), 0, 0, 0, optimizer))
    values = weights(model)
    gamma = {g.root: 0.1 * shrinkage(importance(values, g, "group_norm", generator()), 4.0) for g in state.groups}
    one, two, three = gamma["conv1"], gamma["conv2"], gamma["fc"]
    wanted = {
        "conv1.weight": one[:, None, None, None],
        "bn1.weight": one,
        "bn1.bias": torch.zeros(8),
        "conv2.weight": two[:, None, None, None] + one[:, None, None],
        "fc.weight": three[:, None] + two,
        "head.weight": three,
    }
    for name, factor in wanted.items():
        grad = model.get_parameter(name).grad
        assert grad is not None
        assert torch.allclose(grad, grads[name] + factor * values[name], atol=1e-6)


def test_only_sparse_learning_takes_the_place_of_weight_decay() -> None:
    for method, name in ((DepGraph(), "fine-tune"), (DepGraph(sparse=False), "learn"), (DepGraph(final=0.0), "train")):
        made = method.optimizer(method.attach(ToyNet(), torch.zeros(SHAPE)), ToyNet(), RECIPE, Phase(name, 5))
        assert made.param_groups[0]["weight_decay"] == RECIPE.weight_decay


@pytest.mark.parametrize("scope", ["global", "uniform"])
@pytest.mark.parametrize("budget", ["macs", "params", "channels"])
def test_the_budget_is_met(budget: str, scope: str) -> None:
    method = DepGraph(final=0.4, budget=budget, scope=scope, round_to=1, removals=2)

    def cost(model: nn.Module) -> int:
        if budget == "macs":
            return sum(macs(model, SHAPE).values())
        sizes = {n: p.numel() if budget == "params" else len(p) for n, p in model.named_parameters()}
        return sum(sizes.values() if budget == "params" else [sizes[f"{n}.weight"] for n in ("conv1", "conv2", "fc")])

    smaller = train(toy_training(method, steps=30))
    assert 1 - cost(smaller) / cost(ToyNet()) == pytest.approx(0.4, abs=0.011)


def test_phases() -> None:
    def planned(method: DepGraph, steps: int) -> list[tuple[str, int]]:
        found = [method.phase(None, i, Budget(steps, steps, 7)) for i in range(4)]  # type: ignore[arg-type]
        return [(p.name, p.steps) for p in found if p]

    assert planned(DepGraph(), 100) == [("learn", 40), ("prune", 10), ("fine-tune", 50)]
    assert planned(DepGraph(learn=0.0, prune=0.9), 10) == [("prune", 9), ("fine-tune", 1)]
    assert planned(DepGraph(), 1) == [("prune", 1)]
    assert planned(DepGraph(final=0.0), 100) == [("train", 100)]


def test_channels_leave_in_as_many_choices_as_asked_for() -> None:
    method, counts = DepGraph(removals=4, prune=0.5, round_to=1, budget="channels"), list[float]()

    def look(event: Event) -> None:
        counts.append(method.stats(training.state, training.model)["gone"])

    training = toy_training(method, steps=40, observers=[look])
    train(training)
    assert len(set(counts) - {0.0}) == 4
    assert counts == sorted(counts)


def test_a_ranking_without_influence_is_said() -> None:
    for method, label in ((DepGraph(round_to=8, final=0.6), UNRANKED), (DepGraph(final=0.6), "")):
        training = toy_training(method, steps=10)
        train(training)
        assert training.label == label


def test_ids_tell_apart_how_channels_are_rounded() -> None:
    assert DepGraph().identity() == {"name": "depgraph", "leave": Leave().identity(), "round_to": 0}
    assert "round_to" not in DepGraph(round_to=8).identity()
    assert "round_to" not in DepGraph(final=0.0).identity()


@pytest.mark.parametrize(
    "values", [{"importance": "groupnorm"}, {"final": 1.0}, {"removals": 0}, {"reg": -1.0}, {"budget": "flops"}]
)
def test_bad_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BenchError, match="must hold, but got"):
        replace(DepGraph(), **values)

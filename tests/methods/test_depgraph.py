"""DepGraph: importances and the pull of sparse learning by hand, phases, and budgets that are met."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.channels import groups
from bench.errors import BenchError
from bench.measure.operations import macs
from bench.method import Budget, Clock, Phase
from bench.seeds import generator
from bench.training.loop import Event, train
from methods.depgraph import IMPORTANCES, DepGraph, importance, normalized, shrinkage
from tests.toys import RECIPE, ToyNet, toy_training, weights

SHAPE = (1, 1, 6, 6)


def first() -> tuple[ToyNet, groups.Group, dict[str, Tensor]]:
    """The toy with a norm whose scales differ, its first group, and gradients of all its parameters."""
    model = ToyNet()
    with torch.no_grad():
        model.bn1.weight.copy_(1 + torch.arange(8) / 8)
    group = next(g for g in groups.find(model, torch.zeros(SHAPE)) if g.root == "conv1")
    return model, group, {n: torch.randn(p.shape, generator=generator(n)) for n, p in model.named_parameters()}


def test_importances_by_hand() -> None:
    model, group, grads = first()
    values, k = {n: p.detach() for n, p in model.named_parameters()}, 3
    rows, scale, columns = values["conv1.weight"].flatten(1), values["bn1.weight"], values["conv2.weight"][:, k]
    own = [(n, (slice(None), k) if n == "conv2.weight" else k) for n in ("conv1.weight", "bn1.weight", "bn1.bias")]
    products = [(values[n][i] * grads[n][i]).sum() for n, i in [*own, ("conv2.weight", (slice(None), k))]]
    wanted = {
        "group_norm": (rows[k].square().sum() + scale[k] ** 2 + columns.square().sum()) / 3,
        "magnitude": rows[k].abs().mean(),
        "bn_scale": scale[k].abs(),
        "taylor": torch.stack(products).sum().abs(),
        "fpgm": (rows[k] - rows).norm(dim=1).sum(),
    }
    for kind, value in wanted.items():
        found = importance(values, grads, group, kind, generator("unused"))
        assert found.shape == (8,)
        assert found[k] == pytest.approx(float(value), rel=1e-4)
    drawn = [importance(values, grads, group, "random", generator(i)) for i in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert {*wanted, "random"} == set(IMPORTANCES)


def test_normalisers_and_shrinkage_by_hand() -> None:
    scores = torch.tensor([1.0, 4.0, 16.0])
    assert normalized(scores, "mean").tolist() == pytest.approx([1 / 7, 4 / 7, 16 / 7])
    assert normalized(scores, "max").tolist() == pytest.approx([1 / 16, 1 / 4, 1])
    assert normalized(scores, "none").tolist() == [1, 4, 16]
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
    gamma = {g.root: 0.1 * shrinkage(importance(values, {}, g, "group_norm", generator()), 4.0) for g in state.groups}
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


@pytest.mark.parametrize(
    "values", [{"importance": "groupnorm"}, {"final": 1.0}, {"removals": 0}, {"reg": -1.0}, {"budget": "flops"}]
)
def test_bad_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BenchError, match="must hold, but got"):
        replace(DepGraph(), **values)

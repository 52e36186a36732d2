"""OTOv2: the interval of lambda, saliency and blocks by hand, a step by the formula, and channels that go by themselves."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import models
from bench.channels import groups
from bench.channels.costs import Costs
from bench.channels.groups import Group
from bench.errors import BenchError
from bench.method import Budget, Clock, Phase
from bench.seeds import generator
from bench.training.loop import Event, train
from methods._leaving import Leave, start_
from methods._rows import Rows
from methods.otov2 import Otov2, admit, interval, saliency, strength
from tests.toys import RECIPE, ToyNet, replace_recipe, same, toy_batch, toy_training, weights

STEPS = 60


def draw(*where: object, shape: tuple[int, ...] = (200, 7)) -> Tensor:
    return torch.randn(shape, generator=generator("otov2", *where), dtype=torch.float64)


def test_between_the_ends_of_the_interval_a_step_shortens_and_descends() -> None:
    x, d = draw("x"), draw("d")
    dot, length, size = (x * d).sum(1), x.norm(dim=1), d.norm(dim=1)
    lower, upper = interval(dot, length, size)
    assert (lower <= upper).all()  # Cauchy-Schwarz
    assert torch.equal(lower == 0, dot >= 0)
    inside = lower + (upper.clamp_max(10 + lower) - lower) * torch.rand(200, generator=generator("lambda"))
    for lam, holds in ((inside, [True, True]), (lower - 1e-3, [False, True]), (upper + 1e-3, [True, False])):
        step = -d - lam[:, None] * x / length[:, None]
        chosen = (lam > 0) & lam.isfinite() & (dot < 0)
        assert chosen.sum() > 50
        for value, wanted in zip(((x * step).sum(1), (d * step).sum(1)), holds, strict=True):
            assert torch.equal(value[chosen] < 0, torch.full_like(chosen, wanted)[chosen])


def test_the_strength_by_hand() -> None:
    def found(dot: float, **values: float) -> float:  # length 2, size 1: lower 0.5 and upper 2 where <x, d> is -1
        fields = {"least": 0.1, "amplify": 2.0, "hat": 100.0, **values}
        return float(strength(*(torch.tensor(v).double() for v in (dot, 2.0, 1.0)), **fields))

    assert found(1.0) == found(0.0) == pytest.approx(0.1)
    assert found(-1.0) == pytest.approx(1.0)
    assert found(-1.0, hat=5.0) == pytest.approx(0.5)
    assert found(-1.0, least=1.2) == pytest.approx(1.2)
    assert found(-1.0, amplify=4.0) == found(-1.0, amplify=50.0) == pytest.approx(1.25)


def test_the_strength_is_of_degree_one() -> None:
    dot, length, size = draw("dot", shape=(50,)), draw("length", shape=(50,)).abs(), draw("size", shape=(50,)).abs() + 2
    whole = strength(dot, length, size, least=0.1, amplify=2, hat=10)
    assert torch.allclose(0.05 * whole, strength(0.05 * dot, length, 0.05 * size, least=0.005, amplify=2, hat=10))


def test_the_saliency_by_hand() -> None:
    dot, length, size, numel = (torch.tensor(v) for v in ([3.0, -4.0], [1.0, 2.0], [5.0, 4.0], [2.0, 2.0]))
    cosine, small = (0.6, -0.5), (1 / (0.5 + 1e-6), 1 / (1 + 1e-6))
    wanted = [(c / math.hypot(*cosine) + m / math.hypot(*small)) / 2 for c, m in zip(cosine, small, strict=True)]
    assert saliency(dot, length, size, numel).tolist() == pytest.approx(wanted)


def two(a: int, b: int) -> Costs:
    """Costs of two groups of channels that cost one each."""
    nothing = [Group(root, n, ()) for root, n in (("a", a), ("b", b))]
    return Costs.of(nn.Identity(), nothing, (1, 1, 1, 1), "channels")


def admitted(waiting: dict[str, list[int]], share: float, round_to: int, gone: int = 0) -> dict[str, list[int]]:
    """Of 10 and of 6 channels whose sizes rise with their position, b's being larger; ``gone`` are the first of a."""
    costs = two(10, 6)
    sizes = {"a": torch.arange(10.0), "b": 20 + torch.arange(6.0)}
    due = {r: torch.isin(torch.arange(len(s)), torch.tensor(waiting.get(r, []))) for r, s in sizes.items()}
    out = {"a": torch.arange(10) < gone, "b": torch.zeros(6, dtype=torch.bool)}
    found = admit(costs, sizes, due, out, share, round_to)
    return {root: chosen.nonzero().flatten().tolist() for root, chosen in found.items()}


def test_channels_go_in_blocks_and_never_all() -> None:
    everything = {"a": list(range(10)), "b": list(range(6))}
    assert admitted(everything, 0.99, 1) == {"a": list(range(9)), "b": list(range(5))}
    assert admitted(everything, 0.99, 4) == {"a": list(range(6)), "b": [0, 1]}
    assert admitted({"a": [3, 9, 5], "b": [4]}, 0.99, 4) == {"a": [3, 5], "b": []}
    assert admitted({"a": [3, 9, 5, 7]}, 0.99, 4, gone=2) == {"a": [3, 5, 7, 9], "b": []}
    assert admitted({"a": [3, 9, 5]}, 0.99, 4, gone=2) == {"a": [], "b": []}


def test_channels_go_no_further_than_the_budget() -> None:
    everything = {"a": list(range(10)), "b": list(range(6))}
    assert admitted(everything, 0.25, 1) == {"a": [0, 1, 2, 3], "b": []}
    assert admitted(everything, 0.5, 2) == {"a": list(range(8)), "b": []}
    assert admitted(everything, 0.2, 4) == {"a": [0, 1], "b": []}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ["toy", "test_vit"])
def test_rows_are_the_parameters_of_the_groups_without_their_readers(name: str, layout: torch.memory_format) -> None:
    made = ToyNet() if name == "toy" else models.create(name, classes=4, channels=1, image_size=32, seed=0)[0]
    model = made.to(memory_format=layout)
    found = groups.find(model, torch.zeros(1, 1, 32, 32))
    rows = Rows(model, found)

    def squares() -> dict[str, Tensor]:
        parts = ("out", "norm", "other")
        return {g.root: groups.norms(dict(model.named_parameters()), g, parts) for g in found}

    before, whole = weights(model), squares()
    assert torch.allclose(rows.sums(rows.read_().square()), rows.join(whole), rtol=1e-4)
    factors = 1 + torch.arange(rows.channels).float() / rows.channels
    rows.now.mul_(rows.spread(factors - 1) + 1)
    rows.write_()
    assert torch.allclose(rows.join(squares()), factors.square() * rows.join(whole), rtol=1e-4)
    head = next(name for name, p in model.named_parameters() if p is model.get_classifier().weight)
    assert torch.equal(weights(model)[head], before[head])


def stepped(method: Otov2, optimizer: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], Any]:
    """The weights of a toy before a step of training, after the optimiser's part of it, and after all of it."""
    model, (images, labels) = ToyNet(), toy_batch("step")
    state, recipe = method.attach(model, images), replace_recipe(optimizer=optimizer, lr=0.01)
    optim = method.optimizer(state, model, recipe, Phase("prune", 10))
    clock = Clock(0, Budget(10, 10, 7), Phase("prune", 10), 0, 0, 0, optim)
    before = weights(model)
    F.cross_entropy(model(images), labels).backward()
    method.after_backward(state, model, clock)
    optim.step()
    between = weights(model)
    clock.step = clock.phase_step = 1
    method.after_step(state, model, clock)
    return before, between, weights(model), state


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_by_the_formula(optimizer: str) -> None:
    method = Otov2(begin=0.0, prune=1.0, reach=0.03, round_to=1, every=100)
    before, between, after, state = stepped(method, optimizer)
    held, moved = state.rows.split(state.penalised), dict[str, Tensor]()
    least = 0.03 / (0.01 * sum(replace_recipe().rate(step, 10) for step in range(10)))
    assert 0 < int(state.penalised.sum()) < len(state.penalised)
    for group in state.groups:
        own = [m.name for m in group.members if m.kind in ("out", "norm") and "running" not in m.name]
        for k in range(group.channels):
            x = torch.cat([before[n][k].flatten() for n in own]).double()
            d = (x - torch.cat([between[n][k].flatten() for n in own]).double()) / 0.01
            lam = strength(x @ d, x.norm(), d.norm(), least=least, amplify=2, hat=10)
            wanted = x - 0.01 * d - 0.01 * lam * x / x.norm() * held[group.root][k]
            got = torch.cat([after[n][k].flatten() for n in own]).double()
            assert torch.allclose(got, wanted, atol=1e-6)
            moved[f"{group.root} {k}"] = got
            over = bool(held[group.root][k]) and float(wanted @ x) < 0.9 * float(x @ x)
            assert state.rows.split(state.over)[group.root][k] == over
    assert torch.equal(after["head.weight"], between["head.weight"])


def watched(method: Otov2, **more: Any) -> tuple[nn.Module, list[dict[str, float]], list[dict[str, Tensor]]]:
    seen, found = list[dict[str, float]](), list[dict[str, Tensor]]()

    def look(event: Event) -> None:
        if event.kind == "step":
            seen.append({**method.stats(training.state, training.model), "met": training.state.met})
            found.append(weights(training.model))

    training = toy_training(method, steps=STEPS, observers=[look], **more)
    return train(training), seen, found


@pytest.mark.parametrize("budget", ["params", "channels"])
def test_channels_that_reach_zero_by_themselves_meet_the_budget_and_end_the_penalty(budget: str) -> None:
    recipe = replace_recipe(schedule="constant")
    method = Otov2(begin=0.1, prune=0.7, slack=0.3, eps=0.8, scope="uniform", round_to=1, every=1, budget=budget)
    model, seen, found = watched(method, recipe=recipe)
    assert seen[-1]["gone"] > 8
    assert seen[-1]["forced"] == 0
    first = next(i for i, row in enumerate(seen) if row["met"])
    assert 6 < first < 0.8 * STEPS - 2
    counts = [row["gone"] for row in seen]
    assert counts == sorted(counts)
    assert counts[first] == counts[-1]
    assert same(found[-1], weights(model))


def test_a_decay_of_neighbours_is_not_taken_for_the_optimisers_step() -> None:
    """DHSPG by independent lines, from the weights around the optimiser's step alone, while half of conv1 decays: what the
    host penalises and what it sees leave the half-space is as without the decay, which comes after it."""
    method = Otov2(begin=0.0, prune=1.0, reach=0.03, round_to=1, every=100, leave=Leave(how="decay", steps=2))
    model, recipe, phase = ToyNet(), replace_recipe(lr=0.01), Phase("prune", 10)
    state = method.attach(model, toy_batch("step")[0])
    optim = method.optimizer(state, model, recipe, phase)
    clock = Clock(0, Budget(10, 10, 7), phase, 0, 0, 0, optim)
    negative = 0
    for step in range(2):
        images, labels = toy_batch("step", step)
        optim.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        method.after_backward(state, model, clock)
        before = weights(model)
        optim.step()
        between = weights(model)
        clock.step = clock.phase_step = step + 1
        if step == 1:
            state.over = torch.zeros_like(state.penalised)
        method.after_step(state, model, clock)
        if step == 0:
            chosen = {g.root: torch.zeros(g.channels, dtype=torch.bool) for g in state.groups}
            chosen["conv1"][:4] = True
            start_(method.leave, state, model, chosen, 1, optim)
    least, lr = method.reach / state.rates, optim.param_groups[0]["lr"]
    penalised, over = state.rows.split(state.penalised)["conv2"], state.rows.split(state.over)["conv2"]
    for k in range(16):
        x = torch.cat([before[n][k].flatten() for n in ("conv2.weight", "conv2.bias")]).double()
        d = (x - torch.cat([between[n][k].flatten() for n in ("conv2.weight", "conv2.bias")]).double()) / lr
        negative += bool(x @ d < 0)
        lam = float(strength(x @ d, x.norm(), d.norm(), least=least, amplify=2, hat=10)) if penalised[k] else 0.0
        moved = x - lr * d - lr * lam * x / x.norm()
        assert bool(over[k]) == (bool(penalised[k]) and float(moved @ x) < 0.9 * float(x @ x))
        held = moved[: 8 * 9].view(8, 9)[4:].flatten()  # of the channels of conv1 that do not decay
        assert torch.allclose(model.conv2.weight[k].view(8, 9)[4:].flatten().double(), held, atol=1e-6)
        assert not model.conv2.weight[k, :4].any()  # those that have decayed in two steps
    assert negative > 0


def test_what_does_not_go_by_itself_goes_in_the_end_and_is_counted() -> None:
    model, seen, _ = watched(Otov2(reach=0.0))
    assert [row["forced"] for row in seen[:30]] == [0] * 30
    assert (
        seen[-1]["forced"]
        == seen[-1]["gone"]
        == sum(
            p.shape[0] - q.shape[0]
            for (n, p), (_, q) in zip(ToyNet().named_parameters(), model.named_parameters(), strict=True)
            if n in ("conv1.weight", "conv2.weight", "fc.weight")
        )
    )


def test_the_penalised_are_more_than_the_target_by_the_slack() -> None:
    counts = []
    for slack in (0.0, 0.2):
        state = stepped(Otov2(begin=0.0, budget="channels", final=0.5, slack=slack, round_to=1), "sgd")[3]
        counts.append(int(state.penalised.sum()))
    assert counts == [pytest.approx(44, abs=1), pytest.approx(0.7 * 88, abs=1)]


@pytest.mark.parametrize("name", ["cifar_resnet20b", "cifar_vgg16_bn:width=0.25", "test_resnet"])
def test_zeroed_channels_are_removed_with_the_same_outputs(name: str) -> None:
    size = 64 if name == "test_resnet" else 32
    model = models.create(name, classes=4, channels=3, image_size=size, seed=0)[0]
    images = torch.randn(4, 3, size, size, generator=generator("images"))
    method = Otov2(begin=0.0, prune=1.0)
    state = method.attach(model, images)
    optim = method.optimizer(state, model, RECIPE, Phase("prune", 1))
    clock = Clock(0, Budget(1, 1, 1), Phase("prune", 1), 0, 0, 0, optim)
    F.cross_entropy(model(images), torch.arange(4)).backward()
    method.after_backward(state, model, clock)
    optim.step()
    clock.step = clock.phase_step = 1
    method.after_step(state, model, clock)
    with torch.no_grad():
        masked, before = model.eval()(images), sum(p.numel() for p in model.parameters())
        method.end_phase(state, model, clock)
        assert torch.allclose(model.eval()(images), masked, rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in model.parameters()) < before
    assert state.forced == sum(int(out.sum()) for out in state.gone.values()) > 0


@pytest.mark.parametrize("steps", [50, 500])
def test_the_penalty_takes_its_reach_from_a_channel_in_a_run_of_any_length(steps: int) -> None:
    method, recipe, phase = Otov2(begin=0.2, prune=0.3, reach=1.5), replace_recipe(lr=0.07), Phase("prune", steps)
    state, model = method.attach(ToyNet(), toy_batch()[0]), ToyNet()
    method.optimizer(state, model, recipe, phase)
    rates = [0.07 * recipe.rate(step, steps) for step in range(round(0.4 * steps), steps)]
    assert method.window(phase)[0] == round(0.4 * steps)
    assert sum(lr * method.reach / state.rates for lr in rates) == pytest.approx(1.5)


def test_phases() -> None:
    def planned(method: Otov2, steps: int) -> list[tuple[str, int]]:
        found = [method.phase(None, i, Budget(steps, steps, 7)) for i in range(3)]  # type: ignore[arg-type]
        return [(p.name, p.steps) for p in found if p]

    assert planned(Otov2(), 100) == [("prune", 60), ("fine-tune", 40)]
    assert planned(Otov2(begin=0.5, prune=0.5), 11) == [("prune", 11)]
    assert planned(Otov2(), 1) == [("prune", 1)]
    assert planned(Otov2(final=0.0), 100) == [("train", 100)]


@pytest.mark.parametrize(
    "values", [{"begin": 0.7, "prune": 0.5}, {"eps": 1.0}, {"reach": -1.0}, {"hat": 0.5}, {"every": 0}]
)
def test_bad_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BenchError, match="must hold, but got"):
        Otov2(**values)

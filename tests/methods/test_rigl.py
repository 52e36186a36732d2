"""RigL: what an update gives up and what grows, on paper and in training."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench import masks
from bench.errors import BenchError, Ineffective
from bench.method import Budget, Clock, Phase
from bench.training.loop import train as run
from methods import dense
from methods.rigl import METHOD, share_at, swap
from tests import toys

SHAPES = {"conv1.weight": (6, 1, 3, 3), "conv2.weight": (4, 6, 3, 2), "hidden.weight": (24, 4)}
SIZES = {"conv1.weight": 54, "conv2.weight": 144, "hidden.weight": 96}


def live(masks: dict[str, torch.Tensor]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


# One update


def test_the_share_falls_on_a_cosine():
    assert [round(share_at(t, 100, 0.3), 6) for t in (0, 25, 50, 75, 100)] == [0.3, 0.256066, 0.15, 0.043934, 0]


def test_swap_by_hand():
    sizes, mask = torch.tensor([0.5, 0.1, 0.9, 0.0, 0.0, 0.0]), torch.tensor([True, True, True, False, False, False])
    growth = torch.tensor([0.2, 0.3, 9.0, 0.25, 0.1, 0.0])

    def after(count: int, growth: torch.Tensor = growth) -> list[int]:
        return swap(sizes, mask, growth, 3, count).int().tolist()

    assert after(0) == [1, 1, 1, 0, 0, 0]
    assert after(1) == [1, 1, 1, 0, 0, 0]  # 0.1 has the largest gradient of those outside, and comes back at once
    assert after(2) == [0, 1, 1, 1, 0, 0]
    assert after(3) == [0, 1, 1, 1, 0, 0]  # so does 0.9
    assert after(2, torch.tensor([0, 0, 0, 0, 0.1, 0.0])) == [0, 1, 1, 0, 1, 0]  # one can grow, so one is given up
    assert after(3, torch.zeros(6)) == [1, 1, 1, 0, 0, 0]


def by_hand(sizes, mask, growth, count):
    """Sets of places, with plain sorting: the last of equal ones is kept."""
    places = range(len(sizes))
    alive = [i for i in places if mask[i]]
    given_up = sorted(alive, key=lambda i: (sizes[i], i))[:count]
    others = given_up + [i for i in places if not mask[i] and growth[i] > 0]
    grown = sorted(others, key=lambda i: (growth[i], i))[len(others) - count :]
    return sorted(set(alive) - set(given_up) | set(grown))


@given(
    st.lists(st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, 2.0])] * 2, st.booleans()), min_size=1, max_size=20), st.data()
)
def test_swap_is_drop_then_grow(rows, data):
    mask = [m for _, _, m in rows]
    sizes, growth = [s + 0.1 if m else 0.0 for s, _, m in rows], [g for _, g, _ in rows]
    count = data.draw(st.integers(0, sum(mask)))
    new = swap(torch.tensor(sizes), torch.tensor(mask), torch.tensor(growth), sum(mask), count)
    assert new.nonzero().flatten().tolist() == by_hand(sizes, mask, growth, count)
    assert int(new.sum()) == sum(mask)


# Training


class Watched(METHOD):
    """Notes what each update sees and leaves, before the optimiser moves anything."""

    def after_backward(self, state, model, clock):
        weights = state.weights(model)
        before = state.masks, {n: (w.detach().clone(), w.grad.clone()) for n, w in weights.items()}
        memory = {n: clock.optimizer.state.get(w, {}).get("momentum_buffer") for n, w in weights.items()}
        memory = {n: m.clone() for n, m in memory.items() if m is not None}
        super().after_backward(state, model, clock)
        if state.masks is not before[0]:
            NOTES.append(
                (clock.step, *before, memory, state.masks, {n: w.detach().clone() for n, w in weights.items()})
            )


NOTES: list[tuple] = []


@pytest.mark.parametrize("allocation", ["erk", "uniform"])
def test_updates_follow_algorithm_1(train, allocation):
    NOTES.clear()
    after = {}

    def look(clock, state, model):
        after[clock.step] = {n: w.detach().clone() for n, w in state.weights(model).items()}

    method = Watched(final=0.7, allocation=allocation, frequency=4, stop=0.5)
    trained = train(method, look=look)
    assert trained.phases == [("train", 24)]
    assert [note[0] for note in NOTES] == [0, 4, 8]  # the next, 12, is T_end itself
    assert trained.state.updates == 3
    grown = 0
    for step, old, seen, memory, new, values in NOTES:
        for name, (weight, grad) in seen.items():
            count = math.floor(0.15 * (1 + math.cos(math.pi * step / 12)) * int(old[name].sum()))
            flat = weight.flatten().abs().tolist(), old[name].flatten().tolist(), grad.flatten().abs().tolist()
            assert new[name].flatten().nonzero().flatten().tolist() == by_hand(*flat, count)
            stays, grows = old[name] & new[name], new[name] & ~old[name]
            assert torch.equal(values[name], weight.where(stays, 0.0))
            moved = after[step + 1][name]
            assert torch.allclose(moved[grows], -0.05 * 1.9 * grad[grows])  # the first step of Nesterov's momentum
            assert moved[grows].all()
            buffer = memory.get(name, torch.zeros_like(weight))
            assert not buffer[grows].any()
            decayed = grad[stays] + 0.01 * weight[stays]
            first = 0.05 * (1.9 * decayed + 0.81 * buffer[stays])
            assert torch.allclose(moved[stays], weight[stays] - first, atol=1e-7)  # with the momentum it had
            grown += int(grows.sum())
    assert grown > 20


@pytest.mark.parametrize("grow", ["gradient", "random"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(("allocation", "final"), [("erk", 0.5), ("erk", 0.9), ("uniform", 0.8)])
def test_exact_counts_after_every_step(train, optimizer, grow, allocation, final):
    method = METHOD(final=final, allocation=allocation, first=True, frequency=3, grow=grow)
    drop = masks.erk(SHAPES, final) if allocation == "erk" else {n: round(final * s) for n, s in SIZES.items()}
    seen = []

    def look(clock, state, model):
        assert live(state.masks) == {name: SIZES[name] - drop[name] for name in SIZES}
        for name, mask in state.masks.items():
            weight = model.get_parameter(name)
            assert torch.equal(weight != 0, mask)
            assert not weight[~mask].signbit().any()
        assert not (model.fc.weight == 0).any()
        seen.append(torch.cat([m.flatten() for m in state.masks.values()]))

    trained = train(method, optimizer=optimizer, look=look)
    changed = {t for t in range(1, 25) if not torch.equal(seen[t], seen[t - 1])}
    assert {1, 4, 7} <= changed <= {1, 4, 7, 10, 13, 16}  # after updates at 0, 3, ..., 15; the last may round to none
    assert method.stats(trained.state, trained.model) == {"updates": 6}


def test_layers_that_are_dense_are_never_touched(train):
    assert masks.erk(SHAPES, 0.3)["hidden.weight"] == 0
    seen = []
    train(METHOD(final=0.3, frequency=1), look=lambda c, s, m: seen.append(s.masks))
    assert all(found["hidden.weight"] is seen[0]["hidden.weight"] for found in seen)
    assert not torch.equal(seen[0]["conv2.weight"], seen[-1]["conv2.weight"])


@pytest.mark.parametrize("grow", ["gradient", "random"])
def test_what_has_no_gradient_does_not_grow(grow):
    """The last half of the inputs is 0, so a weight on it would stay at 0 for ever."""
    model = nn.Sequential(nn.Linear(20, 10, bias=False))
    method = METHOD(final=0.6, alpha=1.0, frequency=1, grow=grow)
    state = method.attach(model, torch.zeros(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    dead = [state.masks["0.weight"][:, 10:]]
    inputs = torch.cat([torch.rand(8, 10) + 0.1, torch.zeros(8, 10)], dim=1)
    for step in range(5):
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        method.after_backward(state, model, Clock(0, Budget(10, 10, 4), Phase("train", 10), 0, step, step, optimizer))
        optimizer.step()
        mask = state.masks["0.weight"]
        assert torch.equal(model[0].weight != 0, mask)
        assert int(mask.sum()) == 80
        assert not (mask[:, 10:] & ~dead[-1]).any()
        dead.append(mask[:, 10:])
    assert int(dead[1].sum()) < int(dead[0].sum())
    assert dead[1].any() == (grow == "random")  # by gradient all are left; at random, those that were live may stay


def test_random_growth_does_not_look_at_the_gradient():
    """At alpha = 1 the first update moves all 2000 live of 10000 weights; 5 sigma of the hypergeometric law: 1 in 3 million."""
    model = nn.Sequential(nn.Linear(100, 100, bias=False))
    model[0].weight.grad = torch.arange(1.0, 10_001).view(100, 100)
    found = {}
    for grow in ("gradient", "random"):
        method = METHOD(alpha=1.0, grow=grow)
        state = method.attach(model, torch.zeros(1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model[0].weight.grad = torch.arange(1.0, 10_001).view(100, 100)
        method.after_backward(state, model, Clock(0, Budget(9, 9, 4), Phase("train", 9), 0, 0, 0, optimizer))
        found[grow] = state.masks["0.weight"].flatten()
    assert torch.equal(found["gradient"], torch.arange(10_000) >= 8000)
    sigma = math.sqrt(2000 * 0.25 * 8000 / 9999)
    assert abs(int(found["random"][5000:].sum()) - 1000) < 5 * sigma


def test_first_masks_are_random_and_come_from_the_runs_seed_alone():
    found = []
    for noise, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(noise)
        method = METHOD(stop=0.01)  # one update, at 0, that the gradients decide
        training = toys.toy_training(method, steps=2, seed=seed, model=toys.ToyNet())
        run(training)
        found.append(training.state.masks)
    assert toys.same(found[0], found[1])
    assert not toys.same(found[0], found[2])
    model = nn.Sequential(nn.Linear(100, 100, bias=False))
    nn.init.uniform_(model[0].weight)
    largest = model[0].weight.detach() > 0.5
    mask = METHOD().attach(model, torch.zeros(1)).masks["0.weight"]
    part = int(largest.sum()) / 10_000
    sigma = math.sqrt(2000 * part * (1 - part) * 8000 / 9999)
    assert abs(int((mask & largest).sum()) - 2000 * part) < 5 * sigma  # 1 in 3 million


@pytest.mark.parametrize("frequency", [1, 7, 100])
def test_the_target_is_hit_exactly_whatever_the_calendar(train, frequency):
    for final in (0.1, 0.65, 0.9):
        trained = train(METHOD(final=final, frequency=frequency, stop=1.0), steps=11)
        zeros = sum(int((trained.model.get_parameter(name) == 0).sum()) for name in SIZES)
        assert zeros == round(final * 294)
        assert trained.state.updates == math.ceil(11 / frequency)


@pytest.mark.parametrize("grow", ["gradient", "random"])
def test_target_zero_is_dense_training_bit_for_bit(train, same, grow):
    method = METHOD(final=0.0, grow=grow, frequency=1)
    assert method.alters() == ""
    assert same(train(method).model, train(dense.METHOD()).model)


def test_what_is_masked_before_the_first_step_is_said(toy_model):
    model, method = toy_model(), METHOD(final=0.5)
    state = method.attach(model, torch.zeros(1, 1, 5, 5))
    assert method.alters()
    for name, mask in state.masks.items():
        assert torch.equal(model.get_parameter(name) != 0, mask)


def test_what_is_spared(toy_model):
    assert list(METHOD().prunable(toy_model())) == list(SIZES)
    assert list(METHOD(classifier=True).prunable(toy_model())) == [*SIZES, "fc.weight"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"final": 1.0}, r"`0 <= final < 1` must hold, but got final=1.0"),
        ({"alpha": 0.0}, r"`0 < alpha <= 1` must hold, but got alpha=0.0"),
        ({"frequency": 0}, r"`1 <= frequency` must hold, but got frequency=0"),
        ({"stop": 1.1}, r"`0 < stop <= 1` must hold, but got stop=1.1"),
        ({"grow": "momentum"}, r"`grow in gradient, random` must hold, but got grow='momentum'"),
        ({"allocation": "global"}, r"`allocation in erk, uniform, uniform.` must hold, but got allocation='global'"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(BenchError, match=message):
        METHOD(**values)


def test_never_a_silent_no_op(toy_model):
    with pytest.raises(Ineffective, match="rigl needs a layer to prune, but found none besides what is spared; set"):
        METHOD().attach(nn.Sequential(nn.ReLU()), torch.zeros(1))
    model, method = toy_model(), METHOD(final=0.5)
    state = method.attach(model, torch.zeros(1, 1, 5, 5))
    state.masks = masks.all_live(state.weights(model))
    with pytest.raises(Ineffective, match="rigl must mask 147 of 294 weights, but masked 0"):
        method.finish(state, model)


@pytest.mark.parametrize(
    ("values", "pruned"),
    [
        ({}, True),
        ({"final": 0.99}, False),
        ({"final": 0.99, "first": True}, True),
        ({"allocation": "uniform"}, False),
        ({"allocation": "uniform", "first": True}, True),
        ({"allocation": "uniform+"}, False),
        ({"first": False}, False),
    ],
)
def test_the_first_convolution_is_dense_where_it_is_in_the_official_code(values, pruned):
    method = METHOD(**values)
    assert ("conv1.weight" in method.prunable(toys.ToyNet())) == pruned
    assert (method.identity().get("first") is False) == (not pruned)  # another id than in earlier versions
    assert METHOD.from_dict({k: v for k, v in method.to_dict().items() if k != "name"}) == method


def test_depthwise_convolutions_stay_dense_as_in_the_official_code():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1))
    assert list(METHOD().prunable(model)) == ["0.weight", "2.weight"]
    assert list(METHOD(depthwise=True, allocation="uniform").prunable(model)) == ["1.weight", "2.weight"]

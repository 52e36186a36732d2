"""The Decay Pruning Method: the law of the length, what resists and is released, and the host at N = 1."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench import models
from bench.channels import groups
from bench.errors import BenchError
from bench.method import method_from
from bench.seeds import generator
from bench.training.loop import Event, Stopped, train
from methods import decay
from methods._decay_law import LAWS
from methods._leaving import Channels, Leave, advance_, new_channels, release_, start_
from methods._lengths import factors_for, held, scale_
from methods.decay import HOSTS, Decay, decayed_norm, resistance
from tests.toys import ToyNet, same, toy_batch, toy_training, weights

STEPS = 37


def draw(*where: object, shape: tuple[int, ...] = (5,)) -> Tensor:
    return torch.randn(shape, generator=generator("decay", *where), dtype=torch.float64)


@pytest.mark.parametrize("law", LAWS)
@given(steps=st.integers(1, 200), initial=st.floats(1e-3, 1e3))
def test_the_length_falls_to_exactly_zero(law: str, steps: int, initial: float) -> None:
    lengths = [decayed_norm(initial, n, steps, law) for n in range(steps + 1)]
    assert lengths[0] == initial
    assert lengths[-1] == 0
    assert all(a > b for a, b in pairwise(lengths))
    assert math.isclose(sum(a - b for a, b in pairwise(lengths)), initial)


def test_the_linear_law_by_hand() -> None:
    assert [decayed_norm(8.0, n, 4) for n in range(5)] == [8.0, 6.0, 4.0, 2.0, 0.0]
    assert decayed_norm(2.0, 5, 10, "cosine") == pytest.approx(1.0)
    product = math.prod((10 - n) / (10 - n + 1) for n in range(1, 4))
    assert decayed_norm(2.0, 3, 10, "multiplicative") == pytest.approx(2 * product)


@pytest.mark.parametrize(("step", "steps", "law"), [(5, 4, "linear"), (-1, 4, "linear"), (1, 4, "square")])
def test_a_wrong_decay_is_refused(step: int, steps: int, law: str) -> None:
    with pytest.raises(BenchError):
        decayed_norm(1.0, step, steps, law)


def test_resistance_on_a_quadratic() -> None:
    """L = |w - a|^2 / 2, so -g = a - w: a channel resists where a lies ahead, and never where a = 0."""
    a = draw("a")
    for share in (0.9, 0.5, 0.01):
        rate, _ = resistance(share * a, share * a - a, initial=1.0, steps=10, lr=0.1)
        assert rate == pytest.approx(1)
    rate, length = resistance(a, a, initial=1.0, steps=10, lr=0.1)
    assert rate == pytest.approx(-1)
    assert length < 0


def test_the_three_lengths_by_hand() -> None:
    weight, grad = torch.tensor([3.0, 4.0]), torch.tensor([-3.0, -4.0])  # rho = 25 / 5 = 5
    found = {v: resistance(weight, grad, initial=10.0, steps=20, lr=0.1, variant=v)[1] for v in decay.VARIANTS}
    assert found == {"gain": pytest.approx(1.0), "relative": pytest.approx(0.1), "remaining": pytest.approx(0.5)}
    with pytest.raises(BenchError, match="no variant 'gian'"):
        resistance(weight, grad, initial=1.0, steps=1, lr=1.0, variant="gian")


def test_a_convolution_before_a_batch_norm_can_neither_be_felt_nor_resist() -> None:
    conv, norm = nn.Conv2d(3, 4, 3, bias=False).double(), nn.BatchNorm2d(4).double()
    images, wanted = draw("images", shape=(8, 3, 6, 6)), draw("wanted", shape=(8, 4, 4, 4))

    def gradient(scale: float) -> Tensor:
        with torch.no_grad():
            weight = scale * draw("weight", shape=(4, 3, 3, 3))
            conv.weight.copy_(weight)
        conv.zero_grad()
        (norm(conv(images)) - wanted).square().sum().backward()
        assert conv.weight.grad is not None
        rate, _ = resistance(conv.weight[0], conv.weight.grad[0], initial=1.0, steps=1, lr=1.0)
        assert abs(rate) < 1e-3
        return conv.weight.grad.clone()

    assert torch.allclose(gradient(0.1), 10 * gradient(1.0), rtol=1e-2)


def toy(leave: Leave) -> tuple[nn.Module, Channels, dict[str, Tensor]]:
    """A model of which three channels of the first group begin to leave at step 1."""
    model = ToyNet()
    state = new_channels(Channels, groups.find(model, toy_batch("decay")[0]), torch.device("cpu"))
    chosen = {g.root: torch.zeros(g.channels, dtype=torch.bool) for g in state.groups}
    chosen["conv1"][:3] = True
    start_(leave, state, model, chosen, 1, None)
    return model, state, chosen


def length(model: nn.Module, state: Channels) -> Tensor:
    return groups.norms(dict(model.named_parameters()), state.groups[0]).sqrt()


def push_(model: nn.Module, *where: object) -> None:
    """What an optimiser might do."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator("push", name, *where)))


@pytest.mark.parametrize("law", ["linear", "cosine"])
def test_lengths_follow_the_law_whatever_the_optimiser_does(law: str) -> None:
    leave, first = Leave(how="decay", steps=10, law=law), length(ToyNet(), toy(Leave())[1])
    model, state, _ = toy(leave)
    for n in range(1, 14):
        if n > 1:
            push_(model, n)
            advance_(leave, state, model, n, None)
        now = length(model, state)
        wanted = torch.tensor([decayed_norm(float(x), min(n, 10), 10, law) for x in first[:3]])
        if n <= 10:
            assert torch.allclose(now[:3], wanted, rtol=1e-5)
        assert bool(state.gone["conv1"][:3].all()) == (n >= 10)
    assert not state.gone["conv1"][3:].any()


def neighbours(leave: Leave, step: int, chosen: Mapping[str, Sequence[int]], state: Channels, model: nn.Module) -> None:
    """Begin to remove channels of several groups, which share tensors."""
    masks = {g.root: torch.zeros(g.channels, dtype=torch.bool) for g in state.groups}
    for root, channels in chosen.items():
        masks[root][list(channels)] = True
    start_(leave, state, model, masks, step, None)


@pytest.mark.parametrize("law", ["linear", "cosine"])
def test_every_length_follows_the_law_where_neighbours_decay_too(law: str) -> None:
    """The law w <- (1 - n/N) l w / |w| for channels of three layers in a row, of which some begin later than others."""
    leave = Leave(how="decay", steps=8, law=law)
    model = ToyNet()
    state = new_channels(Channels, groups.find(model, toy_batch("decay")[0]), torch.device("cpu"))
    waves = {1: {"conv1": range(4), "conv2": range(7), "fc": range(30)}, 4: {"conv1": [5], "conv2": range(8, 12)}}
    began = dict[tuple[str, int], tuple[int, float]]()  # the step and the length
    for step in range(1, 14):
        push_(model, "neighbours", step)
        advance_(leave, state, model, step, None)
        found = {g.root: groups.norms(dict(model.named_parameters()), g).sqrt().tolist() for g in state.groups}
        for root, channels in waves.get(step, {}).items():
            began |= {(root, k): (step, found[root][k]) for k in channels}
        neighbours(leave, step, waves.get(step, {}), state, model)
        found = {g.root: groups.norms(dict(model.named_parameters()), g).sqrt().tolist() for g in state.groups}
        for (root, k), (first, initial) in began.items():
            n = step - first + 1
            if n <= 8:
                assert found[root][k] == pytest.approx(decayed_norm(initial, n, 8, law), rel=1e-5)
            assert bool(state.gone[root][k]) == (n >= 8)


def test_without_training_neighbours_keep_their_directions() -> None:
    whole = ToyNet()
    for law in ("linear", "multiplicative"):
        leave, model = Leave(how="decay", steps=8, law=law), ToyNet()
        state = new_channels(Channels, groups.find(model, toy_batch("decay")[0]), torch.device("cpu"))
        neighbours(leave, 1, {"conv1": range(4), "conv2": range(7)}, state, model)
        for n in range(2, 6):
            advance_(leave, state, model, n, None)
        left, before, after = torch.ones_like(whole.conv2.weight), whole.conv2.weight, model.conv2.weight
        left[:7], left[:, :4] = 1 - 5 / 8, 1 - 5 / 8
        assert torch.allclose(after, before * left, rtol=1e-5)


@pytest.mark.parametrize("name", ["cifar_resnet20b", "test_vit", "cifar_vgg16_bn:width=0.25"])
def test_lengths_are_met_in_whole_networks(name: str) -> None:
    """Nine channels of ten at once, to lengths between a twentieth and nine tenths of their own."""
    model = models.create(name, classes=4, channels=3, image_size=32, seed=0)[0].double()
    found = groups.find(model, torch.zeros(1, 3, 32, 32))
    parts, source = held(model, found), generator("lengths", name)

    def lengths() -> Tensor:
        return torch.cat([groups.norms(dict(model.named_parameters()), g) for g in found]).sqrt()

    before = lengths()
    chosen = torch.rand(len(before), generator=source) < 0.9
    wanted = before * 0.9 * torch.exp(-3 * torch.rand(len(before), generator=source))
    scale_(parts, chosen, factors_for(parts, chosen, wanted))
    assert torch.allclose(lengths()[chosen], wanted[chosen], rtol=1e-9)


def test_without_training_every_linear_law_scales_alike() -> None:
    whole = ToyNet()
    for law in ("linear", "multiplicative"):
        leave = Leave(how="decay", steps=8, law=law)
        model, state, _ = toy(leave)
        for n in range(2, 6):
            advance_(leave, state, model, n, None)
        assert torch.allclose(model.conv1.weight[:3], whole.conv1.weight[:3] * (1 - 5 / 8), rtol=1e-5)
        assert torch.equal(model.conv1.weight[3:], whole.conv1.weight[3:])


@pytest.mark.parametrize(("members", "kept"), [("norms", ("conv1.weight", "conv2.weight")), ("gates", ("bn1.bias",))])
def test_only_the_members_shrink_until_the_channel_is_gone(members: str, kept: tuple[str, ...]) -> None:
    leave = Leave(how="decay", steps=4, members=members)
    model, state, _ = toy(leave)
    fresh = dict(ToyNet().named_parameters())
    for name in kept:
        assert torch.equal(dict(model.named_parameters())[name], fresh[name])
    assert torch.allclose(model.bn1.weight[:3], torch.tensor(0.75))
    for n in (2, 3, 4):
        advance_(leave, state, model, n, None)
    assert not length(model, state)[:3].any()


def resisting(leave: Leave, sign: float) -> tuple[nn.Module, Channels, dict[str, Tensor]]:
    """Channels whose gradient points along their weights, against (-1) or with (+1) the decay."""
    model, state, _ = toy(leave)
    for p in model.parameters():
        p.grad = sign * p.detach().clone()
    before = weights(model)
    release_(leave, state, model, 1, lr=1.0)
    return model, state, before


def test_what_resists_is_released_with_its_weights_as_they_are() -> None:
    model, state, before = resisting(Leave(how="decay", steps=10, rectify=True, length=-1e6, persistence=1), -1.0)
    assert same(weights(model), before)
    assert not state.leaving["conv1"].any()
    assert int(state.released or 0) == 3
    advance_(Leave(how="decay", steps=10, rectify=True), state, model, 2, None)
    assert same(weights(model), before)


def test_what_yields_is_not_released() -> None:
    _, state, _ = resisting(Leave(how="decay", steps=10, rectify=True, length=-1e6, persistence=1), 1.0)
    assert state.leaving["conv1"][:3].all()


def test_thresholds_at_their_ends() -> None:
    never = Leave(how="decay", steps=10, rectify=True, rate=1.5, persistence=1)
    assert resisting(never, -1.0)[1].leaving["conv1"][:3].all()
    always = Leave(how="decay", steps=10, rectify=True, rate=-1, length=-1e6, persistence=1)
    assert not resisting(always, -1.0)[1].leaving["conv1"].any()
    patient = Leave(how="decay", steps=10, rectify=True, length=-1e6, persistence=3, cooldown=7)
    model, state, _ = resisting(patient, -1.0)
    for n in (2, 3):
        assert state.leaving["conv1"][:3].all()
        release_(patient, state, model, n, lr=1.0)
    assert not state.leaving["conv1"].any()
    assert state.free["conv1"][:3].tolist() == [10, 10, 10]


@pytest.mark.parametrize("host", HOSTS)
def test_one_step_is_the_host_bit_for_bit(host: str) -> None:
    alone = method_from({"name": host})
    wanted = weights(train(toy_training(alone, steps=STEPS)))
    assert same(weights(train(toy_training(Decay(host=host, steps=1, rectify=False), steps=STEPS))), wanted)
    assert not same(weights(train(toy_training(Decay(host=host, steps=6, rectify=False), steps=STEPS))), wanted)


POLICIES = {
    "at once": {"steps": 1, "rectify": False},
    "smooth": {"steps": 4, "rectify": False},
    "revocable": {"steps": 4, "rectify": True, "rate": 0.0, "length": -1e6, "persistence": 1},
}


FAST = set(zip(HOSTS, POLICIES, strict=True))  # by default each host and each policy once
PAIRS = [
    pytest.param(host, policy, id=f"{host}-{policy}", marks=[] if (host, policy) in FAST else pytest.mark.slow)
    for host in HOSTS
    for policy in POLICIES
]


@pytest.mark.parametrize(("host", "policy"), PAIRS)
def test_three_hosts_three_policies_meet_the_budget_and_resume(host: str, policy: str, tmp_path: Path) -> None:
    method = Decay(host=host, **POLICIES[policy])  # type: ignore[arg-type]
    seen = list[dict[str, Any]]()

    def look(event: Event) -> None:
        seen.append({**method.stats(training.state, training.model), "phase": event.phase})

    wanted = train(toy_training(method, steps=STEPS))
    training = toy_training(method, steps=STEPS, folder=tmp_path, observers=[look], stop_at=19)
    with pytest.raises(Stopped):
        train(training)
    training = toy_training(method, steps=STEPS, folder=tmp_path, observers=[look])
    model = train(training)
    assert same(weights(model), weights(wanted))
    smaller, whole = (sum(p.numel() for p in m.parameters()) for m in (model, ToyNet()))
    assert smaller < whole
    assert any(row["leaving"] for row in seen) == (policy != "at once")
    assert any(row["released"] for row in seen) == (policy == "revocable")


@pytest.mark.parametrize("host", HOSTS)
def test_masked_and_removed_compute_the_same(host: str) -> None:
    method, masked = method_from({"name": host}), list[tuple[nn.Module, Tensor]]()
    images, _ = toy_batch("outputs", size=16)
    remove = type(method).remove_

    class Watched(type(method)):  # type: ignore[misc]
        def remove_(self, state: Any, model: nn.Module, clock: Any) -> None:
            chosen = self.chosen(state, model, clock, self.final)
            whole = copy.deepcopy(model).eval()
            for group in state.groups:
                groups.zero_(whole, group, chosen[group.root])
            remove(self, state, model, clock)
            with torch.no_grad():
                masked.append((whole, whole(images)))
                assert torch.allclose(copy.deepcopy(model).eval()(images), masked[-1][1], atol=1e-6)

    watched = Watched(**{f.name: getattr(method, f.name) for f in fields(method)})
    smaller = train(toy_training(watched, steps=STEPS))
    (whole, _), *others = masked
    assert not others
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in whole.parameters())


def test_bad_values_are_refused() -> None:
    for change in ({"steps": 0}, {"law": "square"}, {"host": "deprgraph"}, {"rate": 3.0}, {"final": 1.0}):
        with pytest.raises(BenchError):
            replace(Decay(), **change)  # type: ignore[arg-type]

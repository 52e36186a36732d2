"""Gradual magnitude pruning: the ramp on paper, and the masks in training."""

from __future__ import annotations

import itertools
import math

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench import masks
from bench.errors import BenchError, Ineffective
from bench.method import Budget, Clock, Phase
from methods import dense
from methods.gradual import CLAIMS, METHOD, sparsity_at

SIZES = {"conv1.weight": 54, "conv2.weight": 144, "hidden.weight": 96}
unit = st.floats(0, 1)


def ramp(step: float, n: int = 100, **values: float) -> float:
    return sparsity_at(step, **{"begin": 0, "end": n, "initial": 0.0, "final": 0.9, **values})


# The schedule


@pytest.mark.parametrize(("sparsity", "step"), [(0.5, 23.69), (0.75, 44.97), (0.875, 69.71)])
def test_figure_1_crossings(sparsity, step):
    assert ramp(step) == pytest.approx(sparsity, abs=2e-4)


def test_ends_and_what_lies_outside():
    assert [ramp(t, initial=0.2) for t in (-5, 0, 100, 1e9)] == [0.2, 0.2, 0.9, 0.9]
    assert sparsity_at(7, begin=7, end=7, initial=0.1, final=0.6) == 0.6
    assert sparsity_at(6, begin=7, end=7, initial=0.1, final=0.6) == 0.1


def test_midpoint_slope_and_mean():
    assert ramp(50) == pytest.approx(0.9 - 0.9 / 8)
    assert ramp(1e-6) / 1e-6 == pytest.approx(3 * 0.9 / 100, rel=1e-6)
    assert sum(ramp(t + 0.5) for t in range(100)) / 100 == pytest.approx(0.9 - 0.9 / 4, abs=1e-4)


def test_exponent_one_is_linear():
    assert [ramp(t, exponent=1.0) for t in (25, 50, 75)] == pytest.approx([0.225, 0.45, 0.675])


def test_begin_after_end_is_refused():
    with pytest.raises(BenchError, match=r"`begin <= end` must hold, but got \(begin=3, end=2\)"):
        sparsity_at(0, begin=3, end=2, initial=0, final=1)


@given(unit, unit, unit, unit, st.floats(1, 6))
def test_rises_from_initial_to_final(a, b, u, v, exponent):
    (low, high), (early, late) = sorted((a, b)), sorted((u, v))
    values = {"begin": 0, "end": 1, "initial": low, "final": high, "exponent": exponent}
    first, second = sparsity_at(early, **values), sparsity_at(late, **values)
    assert low - 1e-12 <= first <= second + 1e-12 <= high + 2e-12


@given(st.integers(0, 100), st.integers(-1000, 1000), st.integers(1, 50))
def test_shifting_and_rescaling_time_changes_nothing(step, shift, scale):
    moved = sparsity_at(step * scale + shift, begin=shift, end=100 * scale + shift, initial=0.1, final=0.9)
    assert moved == pytest.approx(ramp(step, initial=0.1), abs=1e-9)


def test_mobilenet_sizes_of_tables_2_and_6():
    weights, pruned = 4.21, 4.164  # millions; the first and the depthwise convolutions are not pruned
    sparsities = [c.sparsity for c in CLAIMS if c.model == "mobilenetv1_100" and c.sparsity]
    left = [weights - s * pruned for s in sparsities]
    assert left == pytest.approx([2.13, 1.09, 0.46, 0.25], abs=0.006)
    rows = [4 * n + min(pruned / 8, m / 2) for n, m in zip((2.13, 1.09, 0.46, 0.25), left, strict=True)]
    assert rows == pytest.approx([9.04, 4.88, 2.07, 1.13], abs=0.01)


# Masks


def zeros(model: nn.Module) -> dict[str, int]:
    return {name: int((model.get_parameter(name) == 0).sum()) for name in SIZES}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("regrow", [True, False])
def test_exact_counts_after_every_step(train, optimizer, regrow):
    method = METHOD(begin=0.25, end=0.75, frequency=5, final=0.7, regrow=regrow)
    steps = []

    def look(clock, state, model):
        t = clock.step
        due = 6 + (t - 6) // 5 * 5 if 6 <= t < 18 else t  # updates at 6, 11, 16 and, to close, at 18
        s = sparsity_at(due, begin=6, end=18, initial=0.0, final=0.7)
        assert zeros(model) == {name: round(s * n) for name, n in SIZES.items()}
        for name, mask in state.masks.items():
            weight = model.get_parameter(name)
            assert torch.equal(weight != 0, mask)
            assert not weight[~mask].signbit().any()
        assert int((model.fc.weight == 0).sum()) == 0
        steps.append(t)

    train(method, optimizer=optimizer, look=look)
    assert steps == list(range(25))


@pytest.mark.parametrize("allocation", ["uniform", "global", "erk"])
@pytest.mark.parametrize(("begin", "end", "frequency"), [(0.0, 1.0, 7), (0.3, 0.31, 1000), (0.9, 1.0, 1), (0, 0.01, 3)])
def test_the_target_is_met_for_any_calendar(train, allocation, begin, end, frequency):
    method = METHOD(begin=begin, end=end, frequency=frequency, final=0.9, allocation=allocation)
    trained = train(method)
    counts = zeros(trained.model)
    parts = [round(0.9 * n) for n in SIZES.values()] if allocation == "uniform" else [round(0.9 * 294)]
    assert sum(counts.values()) == sum(parts)
    assert allocation != "uniform" or list(counts.values()) == parts
    assert method.stats(trained.state, trained.model) == {"scheduled": 0.9}


def test_the_first_mask_is_there_before_the_first_step(train, toy_model):
    method = METHOD(begin=0.0, initial=0.5, final=0.5)
    model = toy_model()
    method.attach(model, torch.zeros(1, 1, 5, 5))
    assert zeros(model) == {name: n // 2 for name, n in SIZES.items()}
    assert zeros(train(method).model) == zeros(model)


@pytest.mark.parametrize("allocation", ["uniform", "global", "erk"])
def test_without_regrowth_masks_are_nested(train, allocation):
    masks = []

    def look(clock, state, model):
        masks.append(torch.cat([m.flatten() for m in state.masks.values()]))

    train(METHOD(frequency=1, end=1.0, final=0.95, allocation=allocation, regrow=False), look=look)
    assert all(not (later & ~earlier).any() for earlier, later in itertools.pairwise(masks))
    assert int((~masks[-1]).sum()) >= 278


def test_a_masked_weight_keeps_its_value_and_comes_back():
    """Weights 1, 2, 3, 4: half are masked, 4 then falls to 0.5, and at the next update 2 takes its place."""
    model = nn.Sequential(nn.Linear(4, 1, bias=False))
    weight = model.get_parameter("0.weight")
    method = METHOD(begin=0.0, initial=0.5, final=0.5, end=1.0, frequency=1)
    live = {}
    for regrow in (True, False):
        with torch.no_grad():
            weight.copy_(torch.tensor([[1.0, -2.0, 3.0, 4.0]]))
        method = METHOD(begin=0.0, initial=0.5, final=0.5, end=1.0, frequency=1, regrow=regrow)
        state = method.attach(model, torch.zeros(1, 4))
        assert weight.tolist() == [[0, 0, 3, 4]]
        with torch.no_grad():
            weight[0, 3] = 0.5
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        method.after_step(state, model, Clock(0, Budget(4, 4, 4), Phase("train", 4), 0, 1, 1, optimizer))
        live[regrow] = weight.tolist()
    assert live == {True: [[0, -2, 3, 0]], False: [[0, 0, 3, 0.5]]}


def test_masked_weights_come_back_in_training_and_their_momentum_starts_at_zero(train):
    came_back, last = [], {}

    def look(clock, state, model):
        for name, mask in state.masks.items():
            weight = model.get_parameter(name)
            momentum = clock.optimizer.state.get(weight, {}).get("momentum_buffer")
            if name in last:
                back = mask & ~last[name]
                came_back.append(int(back.sum()))
                if momentum is not None:
                    assert not momentum[~mask].any()
                    assert not momentum[back].any()
        last.update({name: mask.clone() for name, mask in state.masks.items()})

    train(METHOD(begin=0.1, end=1.0, frequency=1, initial=0.3, final=0.5), steps=60, look=look)
    assert sum(came_back) > 0


def test_the_mask_stands_still_after_the_end(train):
    seen = {}
    train(METHOD(end=0.5, frequency=1), look=lambda c, s, m: seen.update({c.step: (s.masks, dict(s.stored))}))
    assert all(seen[step][0] is seen[12][0] for step in range(12, 25))
    assert seen[24][1] == {}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_target_zero_is_dense_training_bit_for_bit(train, same, optimizer):
    plain = train(dense.METHOD(), optimizer=optimizer)
    assert same(train(METHOD(final=0.0, frequency=1), optimizer=optimizer).model, plain.model)


def test_what_is_spared(toy_model):
    names = list(SIZES)
    assert list(METHOD().prunable(toy_model())) == names
    assert list(METHOD(first=False).prunable(toy_model())) == names[1:]
    assert list(METHOD(classifier=True).prunable(toy_model())) == [*names, "fc.weight"]
    mlp = nn.Sequential(nn.Linear(2, 2))
    assert list(METHOD(first=False).prunable(mlp)) == ["0.weight"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"begin": 0.7, "end": 0.4}, r"`begin < end` must hold, but got \(begin=0.7, end=0.4\)"),
        ({"initial": 0.9, "final": 0.5}, r"`initial <= final` must hold, but got \(initial=0.9, final=0.5\)"),
        ({"final": 1.5}, r"`0 <= final <= 1` must hold, but got final=1.5"),
        ({"frequency": 0}, r"`1 <= frequency` must hold, but got frequency=0"),
        (
            {"allocation": "layer"},
            r"`allocation in uniform, global, erk, uniform., lamp` must hold, but got allocation='layer'",
        ),
        ({"exponent": math.nan}, r"`exponent` must be a finite number, but got nan"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(BenchError, match=message):
        METHOD(**values)


def test_never_a_silent_no_op(toy_model):
    with pytest.raises(Ineffective, match="found none"):
        METHOD().attach(nn.Sequential(nn.ReLU()), torch.zeros(1))
    model = toy_model()
    state = METHOD(final=0.5).attach(model, torch.zeros(1, 1, 5, 5))
    with pytest.raises(Ineffective, match="must mask 147 of 294 weights, but masked 0"):
        METHOD(final=0.5).finish(state, model)


def test_depthwise_convolutions_are_spared_as_in_the_paper():
    with torch.device("meta"):
        model = timm.create_model("mobilenetv1_100")
    weights = {
        everything: METHOD(classifier=True, first=False, depthwise=everything).prunable(model)
        for everything in (True, False)
    }
    sizes = {key: sum(weight.numel() for weight in found.values()) for key, found in weights.items()}
    assert sizes == {True: 4_208_224, False: 4_163_584}  # the paper's 4.164 M are 4.21 M without the depthwise ones
    assert METHOD().prunable(model) == METHOD(depthwise=False).prunable(model)
    assert METHOD().identity() == {"name": "gradual"}
    assert METHOD(depthwise=True).identity() == {"name": "gradual", "depthwise": True}


@pytest.mark.parametrize("allocation", masks.ALLOCATIONS)
@pytest.mark.parametrize("regrow", [True, False])
def test_every_allocation_meets_the_target_with_masks(train, allocation, regrow):
    trained = train(METHOD(final=0.8, allocation=allocation, regrow=regrow, frequency=3))
    assert masks.zeros(trained.state.masks) == pytest.approx(0.8, abs=1e-3)
    dense = trained.state.masks["conv1.weight"].all()
    assert bool(dense) == (allocation == "uniform+")
    if not regrow:
        assert all(torch.equal(trained.model.get_parameter(n) != 0, m) for n, m in trained.state.masks.items())

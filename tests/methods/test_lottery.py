"""Lottery tickets: how many prunings, what each leaves, and where the weights go back to."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench import masks
from bench.errors import BenchError, Ineffective
from bench.method import Budget
from bench.training.rewind import snapshot
from methods import dense
from methods.lottery import METHOD, prunings, sparsity_after

SIZES = {"conv1.weight": 54, "conv2.weight": 144, "hidden.weight": 96}
TOTAL = 294


def count(masks: dict[str, torch.Tensor]) -> dict[str, int]:
    return {name: int((~mask).sum()) for name, mask in masks.items()}


# The calendar


def test_prunings_by_hand():
    assert [prunings(s, 0.2) for s in (0, 0.1, 0.2, 0.36, 0.488, 0.4881, 0.8, 0.9)] == [0, 1, 1, 2, 3, 4, 8, 11]
    assert [prunings(0.8, r) for r in (0.1, 0.5, 0.8, 0.81, 0.99)] == [16, 3, 1, 1, 1]
    assert prunings(1 - 0.8**15, 0.2) == 15  # the paper's 3.5 % are 15 prunings, and its 0.12 % are 30
    assert prunings(1 - 0.8**30, 0.2) == 30


def test_sparsity_after_by_hand():
    assert [round(sparsity_after(t, 0.8, 0.5), 6) for t in range(5)] == [0, 0.5, 0.75, 0.8, 0.8]
    assert 1 - sparsity_after(15, 0.99, 0.2) == pytest.approx(0.0352, abs=5e-5)


@given(st.just(0.0) | st.floats(1e-6, 0.999), st.floats(0.01, 0.99))
def test_the_last_pruning_takes_what_is_missing_and_never_more_than_its_rate(final, rate):
    last = prunings(final, rate)
    left = [1 - sparsity_after(t, final, rate) for t in range(last + 1)]
    assert left[0] == 1
    assert left[-1] == 1 - final
    for before, after in itertools.pairwise(left):
        assert (1 - rate) * before <= after + 1e-9
        assert after <= before
    assert all(after == pytest.approx((1 - rate) * before) for before, after in itertools.pairwise(left[:-1]))


# Training


def by_hand(
    weights: dict[str, torch.Tensor], old: dict[str, torch.Tensor], sparsity: float, scope: str
) -> dict[str, torch.Tensor]:
    """Masks without the smallest live magnitudes, with plain sorting."""
    places = [(name, i) for name, w in weights.items() for i in range(w.numel())]
    groups = [places] if scope == "global" else [[p for p in places if p[0] == name] for name in weights]
    kept = {name: mask.flatten().clone() for name, mask in old.items()}
    size = {p: weights[p[0]].flatten()[p[1]].abs().item() for p in places}
    for group in groups:
        live = [(name, i) for name, i in group if kept[name][i]]
        missing = round(sparsity * len(group)) - (len(group) - len(live))
        for name, i in sorted(live, key=size.__getitem__)[:missing]:
            kept[name][i] = False
    return {name: kept[name].view(w.shape) for name, w in weights.items()}


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_each_pruning_takes_the_smallest_of_the_live(train, scope):
    ends, masks = {}, {}

    def look(clock, state, model):
        if clock.phase_step == 0:
            masks[clock.index] = state.masks
        ends[clock.index] = {n: w.detach().clone() for n, w in state.weights(model).items()}

    trained = train(METHOD(scope=scope, final=0.7, rate=0.4), steps=22, look=look)
    assert trained.phases == [("round0", 5), ("round1", 6), ("round2", 5), ("round3", 6)]
    for index, sparsity in enumerate((0.4, 0.64, 0.7)):
        wanted = by_hand(ends[index], masks[index], sparsity, scope)
        assert all(torch.equal(masks[index + 1][name], wanted[name]) for name in SIZES)
        assert not any((masks[index + 1][name] & ~masks[index][name]).any() for name in SIZES)  # nested
    assert trained.state.masks is masks[3]  # nothing is pruned after the last training


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_what_is_live_is_a_power_of_one_minus_the_rate(train, scope):
    seen = {}

    def look(clock, state, model):
        seen[clock.index] = count(state.masks)
        for name, mask in state.masks.items():
            weight = model.get_parameter(name)
            assert torch.equal(weight != 0, mask)
            assert not weight[~mask].signbit().any()

    train(METHOD(scope=scope, final=0.9, rate=0.2), steps=30, look=look)
    for t, zeros in seen.items():
        sparsity = min(1 - 0.8**t, 0.9)
        if scope == "layer":
            assert zeros == {name: round(sparsity * n) for name, n in SIZES.items()}
        assert abs(sum(zeros.values()) - sparsity * TOTAL) <= (0.5 if scope == "global" else 1.5)
    assert len(seen) == 12


@pytest.mark.parametrize("norms", [True, False])
@pytest.mark.parametrize(("rewind", "early"), [("init", 0), ("early", 3), ("none", None)])
def test_rewinding_is_exact(train, rewind, early, norms):
    origin, last = {}, {}

    def look(clock, state, model):
        now = snapshot(model, norms=True)
        if clock.index == 0 and clock.phase_step == early:
            origin.update(now)
        if clock.index > 0 and clock.phase_step == 0:
            for name, value in now.items():
                statistic = "running" in name or "batches" in name
                wanted = last[name] if early is None or (statistic and not norms) else origin[name]
                wanted = wanted * state.masks[name] if name in state.masks else wanted
                assert torch.equal(value, wanted), name
        last.update(now)

    method = METHOD(final=0.6, rate=0.4, rewind=rewind, rewind_at=0.4, rewind_norms=norms)
    trained = train(method, look=look)
    assert [steps for _, steps in trained.phases] == [8, 8, 8]
    assert (trained.state.origin == {}) == (rewind == "none")


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(("final", "rate"), [(0.05, 0.2), (0.5, 0.9), (0.85, 0.13), (0.97, 0.3)])
def test_the_target_is_hit_exactly(train, scope, optimizer, final, rate):
    trained = train(METHOD(scope=scope, final=final, rate=rate), optimizer=optimizer)
    zeros = {name: int((trained.model.get_parameter(name) == 0).sum()) for name in SIZES}
    if scope == "layer":
        assert zeros == {name: round(final * n) for name, n in SIZES.items()}
    else:
        assert sum(zeros.values()) == round(final * TOTAL)
    assert int((trained.model.fc.weight == 0).sum()) == 0
    assert sum(steps for _, steps in trained.phases) == 24
    assert len(trained.phases) == prunings(final, rate) + 1


@pytest.mark.parametrize("rewind", ["init", "early", "none"])
def test_target_zero_is_dense_training_bit_for_bit(train, same, rewind):
    trained = train(METHOD(final=0.0, rewind=rewind))
    assert trained.phases == [("round0", 24)]
    assert same(trained.model, train(dense.METHOD()).model)


def test_the_ticket_trains_alone_to_the_same_weights(train, toy_model, same):
    """What follows the last rewinding is a training of the masked initialisation, with nothing left from before."""
    ticket = {}

    def look(clock, state, model):
        if clock.index == 1 and clock.phase_step == 0:
            ticket.update(masks=state.masks, start=snapshot(model, norms=True))

    whole = train(METHOD(final=0.5, rate=0.5), steps=16, look=look)
    start = toy_model()
    with torch.no_grad():
        for name, mask in ticket["masks"].items():
            start.get_parameter(name).masked_fill_(~mask, 0.0)
    assert all(torch.equal(value, ticket["start"][name]) for name, value in start.state_dict().items())

    class Ticket(type(dense.METHOD())):  # type: ignore[misc]
        def attach(self, model, example):
            model.load_state_dict(ticket["start"])
            return masks.Masked(ticket["masks"])

        def after_backward(self, state, model, clock):
            state.mask_gradients_(model)

    assert same(train(Ticket(), steps=8).model, whole.model)


def test_what_is_spared(toy_model):
    assert list(METHOD().prunable(toy_model())) == list(SIZES)
    assert list(METHOD(classifier=True).prunable(toy_model())) == [*SIZES, "fc.weight"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"final": 1.0}, r"`0 <= final < 1` must hold, but got final=1.0"),
        ({"rate": 0.0}, r"`0 < rate < 1` must hold, but got rate=0.0"),
        ({"rate": 1.0}, r"`0 < rate < 1` must hold, but got rate=1.0"),
        ({"rate": math.nan}, r"`rate` must be a finite number, but got nan"),
        ({"scope": "neuron"}, r"`scope in layer, global, lamp, uniform.` must hold, but got scope='neuron'"),
        ({"rewind": "late"}, r"`rewind in init, early, none` must hold, but got rewind='late'"),
        ({"rewind_at": 0.0}, r"`0 < rewind_at <= 1` must hold, but got rewind_at=0.0"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(BenchError, match=message):
        METHOD(**values)


def test_what_cannot_be_done_is_said_before_training(toy_model):
    example = torch.zeros(1, 1, 5, 5)
    with pytest.raises(Ineffective, match="lottery needs a layer to prune, but found none besides what is spared; set"):
        METHOD().attach(nn.Sequential(nn.ReLU()), example)
    method = METHOD(final=0.8)
    state = method.attach(toy_model(), example)
    with pytest.raises(BenchError, match=r"rate=0.2 takes 9 trainings and there are 8 steps; raise `rate` or `epochs`"):
        method.phase(state, 0, Budget(8, 8, 4))
    assert method.phase(state, 0, Budget(9, 9, 4)) is not None


def test_a_run_that_was_cut_short_is_no_result(toy_model):
    model, method = toy_model(), METHOD(final=0.5)
    state = method.attach(model, torch.zeros(1, 1, 5, 5))
    with pytest.raises(Ineffective, match="must mask 147 of 294 weights, but masked 0"):
        method.finish(state, model)


@pytest.mark.parametrize("scope", ["lamp", "uniform+"])
def test_other_allocations_are_iterated(train, scope):
    seen = []
    trained = train(METHOD(final=0.75, rate=0.5, scope=scope, rewind="none"), look=lambda c, s, m: seen.append(s.masks))
    first, last = next(m for m in seen if masks.count(m)), trained.state.masks
    one = 1 / sum(mask.numel() for mask in last.values())  # weight
    assert (masks.zeros(first), masks.zeros(last)) == (pytest.approx(0.5, abs=one), pytest.approx(0.75, abs=one))
    assert all(not (last[name] & ~first[name]).any() for name in last)  # what is masked stays so
    assert bool(last["conv1.weight"].all()) == (scope == "uniform+")


def test_from_trained_weights_it_is_not_the_method_of_the_paper():
    assert METHOD().from_trained() == METHOD(rewind="early").from_trained() == "rewound to trained weights"
    assert METHOD(rewind="none").from_trained() == ""

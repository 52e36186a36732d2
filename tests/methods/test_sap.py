"""SAP: the formula on paper, and the rounds of training, pruning and rewinding."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench.errors import BenchError, Ineffective
from bench.method import Budget
from bench.training.rewind import snapshot
from methods import dense
from methods.sap import METHOD, from_units, meet, pq_index, prune_count, units

SIZES = {"conv1.weight": 54, "conv2.weight": 144, "hidden.weight": 96, "fc.weight": 24}
DEFAULT = {"p": 0.5, "q": 1.0, "eta": 0.0, "gamma": 1.0, "beta": 0.9}


def count(live: int, index: float, **values: float) -> int:
    return prune_count(live, index, **{**DEFAULT, **values})


# The formula


def test_prune_count_by_hand():
    assert count(100, 0.25) == 25  # (p, q) = (1/2, 1): keeps (1 - I)^1
    assert count(100, 0.25, p=1, q=2) == 43  # keeps (1 - I)^2 = 0.5625, and 43.75 is rounded down
    assert count(100, 0.25, eta=1) == 81  # 2^(-2) of 0.75 is kept
    assert count(100, 0.25, gamma=2) == 50
    assert count(100, 0.95) == 90
    assert count(10, 0.5, beta=0.33) == 3
    assert [count(0, 0.5), count(1, 0.99), count(100, 0.0)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("values", "kept"),
    [({}, 0.685), ({"eta": 0.1}, 0.566), ({"eta": 1.0}, 0.171), ({"gamma": 3.0}, 0.10), ({"eta": 0.001}, 0.684)],
)
def test_figures_of_the_paper(values, kept):
    """With the dense CNN's index 0.315, the authors' curves keep 69 %, 57 %, 17 % and 10 % after one pruning."""
    assert 1 - count(1_000_000, 0.315, **values) / 1e6 == pytest.approx(kept, abs=6e-4)


@given(
    st.integers(0, 10_000), st.floats(0, 1), st.floats(0.1, 0.9), st.floats(1, 2), st.floats(0, 1), st.floats(0.1, 3)
)
def test_prune_count_leaves_a_weight_and_rises_with_everything(live, index, p, q, eta, gamma):
    base = count(live, index, p=p, q=q, eta=eta, gamma=gamma)
    assert 0 <= base <= math.floor(0.9 * live)
    assert live == 0 or base < live
    assert base <= count(live, min(1, index + 0.1), p=p, q=q, eta=eta, gamma=gamma)
    assert base <= count(live, index, p=p, q=q, eta=eta + 0.5, gamma=gamma)
    assert base <= count(live, index, p=p, q=q, eta=eta, gamma=gamma + 0.5)


def test_orders_out_of_line_are_refused():
    with pytest.raises(BenchError, match=r"`0 < p < q` must hold, but got \(p=1, q=1\)"):
        count(10, 0.5, p=1, q=1)


# Units and targets


def test_units_there_and_back():
    tensors = {"a": torch.arange(12.0).view(2, 3, 2), "b": torch.arange(4.0).view(1, 4)}
    shapes = {scope: [tuple(u.shape) for u in units(tensors, scope)] for scope in ("neuron", "layer", "global")}
    assert shapes == {"neuron": [(2, 6), (1, 4)], "layer": [(1, 12), (1, 4)], "global": [(1, 16)]}
    for scope in shapes:
        back = from_units(units(tensors, scope), tensors)
        assert all(torch.equal(back[n], t) for n, t in tensors.items())


def test_meet_by_hand():
    assert meet([10, 30], [100, 100], 20, last=False) == ([5, 15], -20)  # too many: cut in proportion
    assert meet([10, 30], [100, 100], 60, last=False) == ([10, 30], 0)  # too few, but there are more prunings
    assert meet([10, 30], [100, 100], 56, last=True) == ([19, 37], 16)  # 16 more of the 90 and the 70 that are left
    assert meet([10, 30], [100, 100], 40, last=True) == ([10, 30], 0)
    assert meet([0, 0], [3, 1], 2, last=True) == ([2, 0], 2)


@given(st.lists(st.tuples(st.integers(1, 60), st.floats(0, 0.9)), min_size=1, max_size=8), st.data())
def test_meet_is_exact_and_kills_no_unit(parts, data):
    live = [d for d, _ in parts]
    counts = [math.floor(d * x) for d, x in parts]
    room = data.draw(st.integers(0, sum(live) - len(live)))
    met, projected = meet(counts, live, room, last=True)
    assert sum(met) == room
    assert projected == room - sum(counts)
    assert all(0 <= c < d for c, d in zip(met, live, strict=True))


# Training


def by_hand(weights: dict[str, torch.Tensor], masks: dict[str, torch.Tensor], scope: str) -> dict[str, torch.Tensor]:
    """Algorithm 1's masks, one unit after the other, with plain Python."""
    groups: list[list[tuple[str, int]]] = []
    for name, w in weights.items():
        places = [(name, i) for i in range(w.numel())]
        rows = len(w) if scope == "neuron" else 1
        groups += [places[i * len(places) // rows : (i + 1) * len(places) // rows] for i in range(rows)]
    groups = [[place for group in groups for place in group]] if scope == "global" else groups
    kept = {name: m.flatten().clone() for name, m in masks.items()}
    flat = {name: w.flatten() for name, w in weights.items()}
    for group in groups:
        live = [place for place in group if kept[place[0]][place[1]]]
        values = torch.stack([flat[n][i] for n, i in live])
        d, norm_half, norm_one = len(live), values.abs().sqrt().sum().item() ** 2, values.abs().sum().item()
        index = 1 - norm_half / d / norm_one if norm_one else 0.0
        order = sorted(range(d), key=lambda k: abs(values[k].item()))
        for k in order[: math.floor(d * min(index, 0.9))]:
            kept[live[k][0]][live[k][1]] = False
    return {name: kept[name].view(w.shape) for name, w in weights.items()}


@pytest.mark.parametrize("scope", ["neuron", "layer", "global"])
def test_masks_follow_algorithm_1(train, scope):
    ends, masks = {}, {}

    def look(clock, state, model):
        if clock.phase_step == 0:
            masks[clock.index] = dict(state.masks)
        ends[clock.index] = {n: w.detach().clone() for n, w in state.weights(model).items()}

    trained = train(METHOD(scope=scope, rounds=3), steps=22, look=look)
    assert trained.phases == [("round0", 5), ("round1", 6), ("round2", 5), ("round3", 6)]
    for index in range(3):
        wanted = by_hand(ends[index], masks[index], scope)
        assert all(torch.equal(masks[index + 1][name], wanted[name]) for name in SIZES)
        assert not any((masks[index + 1][name] & ~masks[index][name]).any() for name in SIZES)
    assert all(trained.state.masks[name] is masks[3][name] for name in SIZES)  # no pruning after the last training
    assert trained.state.index[0] > 0.1
    assert len(trained.state.index) == 3


def test_live_counts_follow_prune_count(train):
    """Layer scope, the classifier's 24 weights: what is left after each round is what the index said."""
    left, index = [], []

    def look(clock, state, model):
        if clock.phase_step == 0:
            left.append(int(state.masks["fc.weight"].sum()))
        if clock.phase_step == clock.phase.steps:
            weight = model.fc.weight.detach()
            index.append(pq_index(weight[weight != 0], 0.5, 1).item())

    train(METHOD(rounds=4, gamma=2.0), steps=20, look=look)
    for i in range(4):
        assert left[i + 1] == left[i] - prune_count(left[i], index[i], p=0.5, q=1, eta=0, gamma=2, beta=0.9)
    assert left[4] < left[0] == 24


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("rewind", ["init", "early", "none"])
def test_masked_weights_stay_at_zero(train, optimizer, rewind):
    def look(clock, state, model):
        for name, mask in state.masks.items():
            weight = model.get_parameter(name)
            assert torch.equal(weight != 0, mask)
            assert not weight[~mask].signbit().any()

    train(METHOD(rounds=2, rewind=rewind), optimizer=optimizer, look=look)


@pytest.mark.parametrize("norms", [True, False])
@pytest.mark.parametrize(("rewind", "early"), [("init", 0), ("early", 3)])
def test_rewinding_is_exact(train, rewind, early, norms):
    origin, last = {}, {}

    def look(clock, state, model):
        now = snapshot(model, norms=True)
        if clock.index == 0 and clock.phase_step == early:
            origin.update(now)
        if clock.index > 0 and clock.phase_step == 0:
            for name, value in now.items():
                statistic = "running" in name or "batches" in name
                wanted = last[name] if statistic and not norms else origin[name]
                wanted = wanted * state.masks[name] if name in state.masks else wanted
                assert torch.equal(value, wanted), name
        last.update(now)

    method = METHOD(rounds=2, rewind=rewind, rewind_at=0.4, rewind_norms=norms)
    assert len(train(method, look=look).phases) == 3
    assert not torch.equal(origin["norm.running_mean"], last["norm.running_mean"])


def test_without_rewinding_live_weights_go_on(train):
    last = {}

    def look(clock, state, model):
        now = snapshot(model, norms=True)
        if clock.index > 0 and clock.phase_step == 0:
            for name, value in now.items():
                assert torch.equal(value, last[name] * state.masks[name] if name in state.masks else last[name])
        last.update(now)

    assert train(METHOD(rounds=2, rewind="none"), look=look).state.origin == {}


@pytest.mark.parametrize("scope", ["neuron", "layer"])
def test_no_unit_dies(train, scope):
    """As hard as it goes: each pruning takes the 95 % that `beta` allows."""
    trained = train(METHOD(scope=scope, rounds=5, gamma=1000.0, eta=1000.0, beta=0.95))
    live = [row for unit in units(trained.state.masks, scope) for row in unit]
    assert all(row.any() for row in live)
    assert sum(int(row.sum()) for row in live) < 2 * len(live)


# Targets


@pytest.mark.parametrize("scope", ["neuron", "layer", "global"])
@pytest.mark.parametrize(("final", "rounds"), [(0.1, 3), (0.5, 4), (0.8, 1), (0.85, 2)])
def test_the_target_is_hit_exactly(train, scope, final, rounds):
    trained = train(METHOD(scope=scope, final=final, rounds=rounds))
    zeros = sum(int((trained.model.get_parameter(n) == 0).sum()) for n in SIZES)
    assert zeros == round(final * 318)
    assert sum(steps for _, steps in trained.phases) == 24
    assert trained.state.projected != 0


def test_a_target_met_early_leaves_one_long_training(train):
    method = METHOD(final=0.05, rounds=5)
    trained = train(method)
    assert trained.phases == [("round0", 4), ("round1", 20)]
    assert trained.state.projected < 0
    stats = method.stats(trained.state, trained.model)
    assert stats["prunings"] == 1
    assert stats["projected"] == trained.state.projected
    assert 0 < stats["index"] < 1


def test_a_target_missed_by_the_formula_is_projected(train):
    trained = train(METHOD(final=0.8, rounds=1))
    assert trained.phases == [("round0", 12), ("round1", 12)]
    assert trained.state.projected > 0


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_target_zero_is_dense_training_bit_for_bit(train, same, optimizer):
    trained = train(METHOD(final=0.0), optimizer=optimizer)
    assert trained.phases == [("round0", 24)]
    assert same(trained.model, train(dense.METHOD(), optimizer=optimizer).model)


def test_what_is_spared(toy_model):
    assert list(METHOD().prunable(toy_model())) == list(SIZES)
    assert list(METHOD(classifier=False).prunable(toy_model())) == list(SIZES)[:-1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"p": 1.0, "q": 1.0}, r"`p < q` must hold, but got \(p=1.0, q=1.0\); lower `p`"),
        ({"p": 0.0}, r"`0 < p <= 2` must hold, but got p=0.0"),
        ({"q": 2.5}, r"`0 < q <= 2` must hold, but got q=2.5"),
        ({"beta": 1.0}, r"`0 < beta < 1` must hold, but got beta=1.0"),
        ({"rounds": 0}, r"`1 <= rounds <= 50` must hold, but got rounds=0"),
        ({"final": 1.0}, r"`0 <= final < 1` must hold, but got final=1.0"),
        ({"scope": "filter"}, r"`scope in neuron, layer, global` must hold, but got scope='filter'"),
        ({"rewind": "late"}, r"`rewind in init, early, none` must hold, but got rewind='late'"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(BenchError, match=message):
        METHOD(**values)


def test_what_cannot_be_done_is_said_before_training(toy_model):
    example = torch.zeros(1, 1, 5, 5)
    with pytest.raises(Ineffective, match="found none"):
        METHOD().attach(nn.Sequential(nn.ReLU()), example)
    with pytest.raises(BenchError, match=r"leave a weight in each of 35 units of 318 weights, but got final=0.95"):
        METHOD(final=0.95, scope="neuron").attach(toy_model(), example)
    method = METHOD(rounds=5)
    with pytest.raises(BenchError, match="each training needs a step, but got rounds=5 and 5 steps"):
        method.phase(method.attach(toy_model(), example), 0, Budget(5, 5, 5))


def test_never_a_silent_no_op(train, toy_model):
    with pytest.raises(Ineffective, match=r"sap must mask a weight, but masked none of 318; raise `gamma` or `eta`"):
        train(METHOD(gamma=0.0001))
    model = toy_model()
    method = METHOD(final=0.5)
    with pytest.raises(Ineffective, match="sap must mask 159 of 318 weights, but masked 0"):
        method.finish(method.attach(model, torch.zeros(1, 1, 5, 5)), model)


def test_from_trained_weights_it_is_not_the_method_of_the_paper():
    assert METHOD().from_trained() == METHOD(rewind="early").from_trained() == "rewound to trained weights"
    assert METHOD(rewind="none").from_trained() == ""

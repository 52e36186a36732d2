"""Drop Pruning: chance on paper, its fixed points, and the prunings in training.

Counts that depend on chance are tested by |z| < 5, which a right rule fails once in two million draws; the seeds are fixed.
"""

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
from bench.method import Budget, Clock, Phase
from bench.seeds import generator
from bench.training.loop import Stopped
from bench.training.loop import train as run
from methods import dense
from methods.drop import METHOD, back_at, drop, equilibrium_sparsity, importance, kept, unimportant
from tests import toys

SIZES = {"conv1.weight": 54, "conv2.weight": 144, "hidden.weight": 96}
ORDERS = ("simultaneous", "sequential")


# Fixed points


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("fraction", "target", "away", "back"), [(0.3, 1.0, 0.5, 0.02), (None, 0.9, 0.5, 0.1)])
def test_simulated_prunings_flow_to_the_fixed_point(order, fraction, target, away, back):
    """Each pruning has the mean and the variance of its two binomials, and the last density those of the equilibrium."""
    n, scores = 20_000, torch.rand(20_000, generator=generator("scores"))
    keep, live = n - round(target * n), torch.ones(n, dtype=torch.bool)
    surprise = spread = 0.0
    for t in range(120):
        weak, before = unimportant(scores, live, keep, fraction), int(live.sum())
        live = drop(weak, live, away=away, back=back, order=order, rng=generator("simulation", t))
        lost = away * int(weak.sum())
        pruned, factor = (n - before + lost, 1 - back) if order == "sequential" else (n - before, 1)
        surprise += int(live.sum()) - (before - lost + back * pruned)
        variance = factor**2 * (1 - away) * lost + back * (1 - back) * pruned
        spread += variance
    assert abs(surprise) < 5 * math.sqrt(spread)
    rule = "R1" if fraction else "R2"
    wanted = equilibrium_sparsity(rule=rule, away=away, back=back, fraction=fraction, target=target, order=order)
    shrink = (1 - away * (fraction or 1)) * (1 - back) if order == "sequential" else 1 - away * (fraction or 1) - back
    assert abs(int((~live).sum()) - wanted * n) < 5 * math.sqrt(variance / (1 - shrink**2)) + 1
    assert shrink**120 < 1e-9


def test_without_dropping_back_the_excess_decays_geometrically():
    n, keep, away = 20_000, 2_000, 0.3
    scores, live = torch.rand(n, generator=generator("scores")), torch.ones(n, dtype=torch.bool)
    for t in range(1, 25):
        weak = unimportant(scores, live, keep)
        live = drop(weak, live, away=away, back=0.0, order="simultaneous", rng=generator("decay", t))
        stays = (1 - away) ** t
        excess = int(live.sum()) - keep
        assert abs(excess - (n - keep) * stays) < 5 * math.sqrt((n - keep) * stays * (1 - stays))
    assert excess < 20


# One pruning


@pytest.mark.parametrize("order", ORDERS)
def test_counts_are_independent_binomials(order):
    live, weak = torch.arange(1000) < 600, torch.arange(1000) < 400
    away, back, draws = 0.3, 0.1, 400
    chance = away * (1 - back) if order == "sequential" else away
    scores = []
    for seed in range(draws):
        after = drop(weak, live, away=away, back=back, order=order, rng=generator("counts", seed))
        assert after[400:600].all()  # outside U nothing goes
        gone, returned = int((~after[:400]).sum()), int(after[600:].sum())
        scores.append(
            (
                (gone - 400 * chance) / math.sqrt(400 * chance * (1 - chance)),
                (returned - 400 * back) / math.sqrt(400 * back * (1 - back)),
            )
        )
    z = torch.tensor(scores)
    assert z.sum(0).abs().max() < 5 * math.sqrt(draws)  # the means,
    assert ((z**2).sum(0) - draws).abs().max() < 5 * math.sqrt(2 * draws)  # the variances,
    assert z.prod(1).sum().abs() < 5 * math.sqrt(draws)  # and no correlation


@given(st.integers(1, 40), st.integers(0, 40), st.one_of(st.none(), st.floats(0, 1)), st.integers(0, 10**6))
def test_what_one_pruning_may_change(n, keep, fraction, seed):
    rng = generator("invariants", seed)
    scores, live = torch.rand(n, generator=rng), torch.rand(n, generator=rng) < 0.7
    alive, weak = int(live.sum()), unimportant(scores, live, keep, fraction)
    room = max(0, alive - keep)
    assert int(weak.sum()) == (room if fraction is None else min(room, round(fraction * alive)))
    assert not (weak & ~live).any()
    if weak.any() and (live & ~weak).any():
        assert scores[weak].max() <= scores[live & ~weak].min()
    away_only = drop(weak, live, away=0.5, back=0.0, order="simultaneous", rng=rng)
    back_only = drop(weak, live, away=0.0, back=0.5, order="sequential", rng=rng)
    both = drop(weak, live, away=0.7, back=0.5, order="simultaneous", rng=rng)
    assert torch.equal(away_only | weak, live)
    assert torch.equal(back_only & live, live)
    assert (both | weak)[live].all()
    assert torch.equal(drop(weak, live, away=0.0, back=0.0, order="sequential", rng=rng), live)


def test_unimportant_on_numbers():
    scores, live = torch.tensor([3.0, 1.0, 1.0, 9.0, 2.0, 0.0]), torch.tensor([1, 1, 1, 0, 1, 1]).bool()
    assert unimportant(scores, live, 2).tolist() == [False, True, True, False, False, True]
    assert unimportant(scores, live, 3).tolist() == [False, True, False, False, False, True]  # ties by position
    assert unimportant(scores, live, 2, 0.2).tolist() == [False] * 5 + [True]
    assert not unimportant(scores, live, 5).any()


def test_a_weights_fate_depends_on_nothing_but_its_draw():
    """Other scores and other masks, as other data would give: where a weight can go or come in both, it does in both."""
    a, b = generator("a"), generator("b")
    pairs = []
    for rng in (a, b):
        scores, live = torch.rand(500, generator=rng), torch.rand(500, generator=rng) < 0.6
        weak = unimportant(scores, live, 50)
        after = drop(weak, live, away=0.5, back=0.3, order="simultaneous", rng=generator("same"))
        pairs.append((weak, ~live, after))
    (weak, pruned, after), (others_weak, others_pruned, others_after) = pairs
    for both in (weak & others_weak, pruned & others_pruned):
        assert torch.equal(after[both], others_after[both])
        assert 20 < int(both.sum()) < 400
    assert not torch.equal(after, others_after)


def test_units_and_what_they_keep():
    assert kept([10, 25, 3], 0.9, "layer") == [
        1,
        2,
        1,
    ]  # round(22.5) is 22, and one more for the layer of three, which is not emptied
    assert kept([10, 25, 3], 0.9, "global") == [4]
    assert kept([10, 25, 3], 0.95, "global") == [3]
    values = {"a": torch.tensor([[0.1, -0.3], [0.2, 0.9]]), "b": torch.tensor([-5.0, 6.0])}
    live = {"a": torch.tensor([[True, True], [True, False]]), "b": torch.tensor([True, True])}
    assert [s.tolist() for s in importance(values, live, "layer")] == [
        pytest.approx([0.1, 0.3, 0.2, 0.9]),
        [5.0, 6.0],
    ]
    (scores,) = importance(values, live, "global")
    weak = unimportant(scores, torch.cat([m.flatten() for m in live.values()]), 2)
    assert weak.tolist() == [True, False, True, False, True, False]  # of each layer the largest live one stays


def test_schedules_of_dropping_back():
    at = {s: [back_at(x, s, 0.6, 0.8) for x in (0.0, 0.5, 1.0)] for s in ("constant", "linear", "cosine", "gap")}
    assert at["constant"] == [1, 1, 1]
    assert at["linear"] == [1, 0.5, 0]
    assert at["cosine"] == pytest.approx([1, 0.5, 0])
    assert at["gap"] == pytest.approx([0.25] * 3)
    assert back_at(0.0, "gap", 0.9, 0.8) == 0


# The calendar


@given(st.integers(1, 300), st.integers(1, 60), st.floats(0, 0.6), st.floats(0, 0.39))
def test_the_calendar_is_even_and_inside_the_run(steps, rounds, dense_share, fine_tune):
    method = METHOD(rounds=rounds, dense=dense_share, fine_tune=fine_tune)
    prunings, projection = method.calendar(steps)
    assert len(prunings) == rounds
    assert prunings == sorted(prunings)
    assert 1 <= prunings[0] <= prunings[-1] <= projection <= steps
    assert projection == max(1, round((1 - fine_tune) * steps))
    gaps = [b - a for a, b in itertools.pairwise([*prunings, projection]) if a > 1]
    assert max(gaps, default=0) - min(gaps, default=0) <= 2


@given(st.integers(1, 120), st.integers(1, 40), st.booleans(), st.sampled_from([0.0, 0.2]), st.sampled_from([0.0, 0.3]))
def test_phases_spend_the_budget(steps, rounds, project, fine_tune, dense_share):
    method = METHOD(rounds=rounds, restart=True, project=project, fine_tune=fine_tune, dense=dense_share)
    spent, names = 0, []
    while (phase := method.phase(None, len(names), Budget(steps, steps - spent, 7))) is not None:
        assert phase.steps > 0
        spent += phase.steps
        names.append(phase.name)
    assert spent == steps
    assert len(set(names)) == len(names)
    assert all((METHOD(restart=r, final=0.0).phase(None, 1, Budget(steps, 0, 7))) is None for r in (True, False))


def test_restarts_prune_between_phases(train):
    seen = {}
    method = METHOD(restart=True, rounds=3, dense=0.25, fine_tune=0.25, away=1.0, parts="away", final=0.5)

    def look(clock, state, model):
        seen.setdefault((clock.phase.name, clock.phase_step), masks.count(state.masks))

    trained = train(method, look=look)
    assert trained.phases == [("dense", 6), ("round0", 4), ("round1", 4), ("round2", 4), ("fine-tune", 6)]
    assert [seen["dense", 6], seen["round0", 0], seen["fine-tune", 0]] == [0, 147, 147]
    short = train(METHOD(restart=True, rounds=50), steps=5)
    assert [steps for _, steps in short.phases] == [2, 1, 1, 1]
    assert masks.count(short.state.masks) == sum(round(0.8 * n) for n in SIZES.values())


# Training


def follow(found: list[dict[str, torch.Tensor]]):
    return lambda clock, state, model: found.append(dict(state.masks))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("recover", ["zero", "last", "dense"])
@pytest.mark.parametrize("restart", [True, False])
def test_masked_weights_stay_at_zero_and_recovered_ones_start_without_momentum(train, optimizer, recover, restart):
    came_back, last = [], {}

    def look(clock, state, model):
        for name, mask in state.masks.items():
            weight = model.get_parameter(name)
            assert not weight[~mask].any()
            assert not weight[~mask].signbit().any()
            back = mask & ~last.get(name, mask)
            came_back.append(int(back.sum()))
            if recover == "zero":
                assert not weight[back].any()
            for memory in clock.optimizer.state.get(weight, {}).values():
                if memory.shape == weight.shape and clock.phase_step:
                    assert not memory[~mask | back].any()
        last.update(state.masks)

    method = METHOD(rounds=12, back=0.2, back_schedule="constant", recover=recover, restart=restart)
    trained = train(method, steps=40, optimizer=optimizer, look=look)
    assert sum(came_back) > 20
    assert trained.state.stored == {}
    assert all(torch.equal(trained.model.get_parameter(n) != 0, m) for n, m in trained.state.masks.items())


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("rule", ["target", "fraction"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"away": 0.0},
        {"away": 1.0, "fraction": 1.0, "back": 1.0, "back_schedule": "constant"},
        {"order": "sequential", "back": 0.3, "back_schedule": "gap", "fine_tune": 0.0},
        {"dense": 0.0, "rounds": 1, "fine_tune": 0.99, "recover": "last"},
    ],
)
def test_the_projection_is_exact(train, scope, rule, values):
    for final in (0.1, 0.77, 0.95):
        method = METHOD(**{**values, "scope": scope, "rule": rule, "final": final})
        trained = train(method, steps=12)
        zeros = {n: int((trained.model.get_parameter(n) == 0).sum()) for n in SIZES}
        wanted = {n: round(final * size) for n, size in SIZES.items()}
        assert zeros == wanted if scope == "layer" else sum(zeros.values()) == round(final * 294)
        assert all(zeros[n] < size for n, size in SIZES.items())
        assert method.wanted == final
        stats = method.stats(trained.state, trained.model)
        assert 0 <= stats["reached"] <= sum(zeros.values()) / 294  # chance never passes the target
        assert stats["reached"] == 0 or values.get("away") != 0


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_without_a_projection_no_layer_is_emptied(train, scope):
    method = METHOD(project=False, rule="fraction", fraction=1.0, away=1.0, back=0.0, scope=scope, final=0.5)
    assert method.wanted is None
    live = {n: int(m.sum()) for n, m in train(method).state.masks.items()}
    assert live == dict.fromkeys(SIZES, 1)


def test_certain_dropping_of_a_fraction_is_iterative_magnitude_pruning(train):
    """No chance is left: the masks are those of plain pruning by keep_top, round after round."""
    method = METHOD(project=False, rule="fraction", fraction=0.3, away=1.0, back=0.0, rounds=4, dense=0.2)
    (prunings, _), found, values = method.calendar(24), [], {}

    class Watched(METHOD):
        def after_step(self, state, model, clock):
            values[clock.step] = {n: model.get_parameter(n).detach().clone() for n in SIZES}
            super().after_step(state, model, clock)

    train(Watched(**vars(method)), look=follow(found))
    live = {n: torch.ones(size, dtype=torch.bool) for n, size in SIZES.items()}
    counts = dict(SIZES)
    for step in prunings:
        for name, left in counts.items():
            counts[name] = left - round(0.3 * left)
            order = values[step][name].flatten().abs().where(live[name], -1.0).argsort(descending=True)
            live[name] = torch.zeros_like(live[name]).index_fill(0, order[: counts[name]], True)
            assert torch.equal(found[step][name].flatten(), live[name])
    assert all(found[-1][n] is found[prunings[-1]][n] for n in SIZES)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_certain_dropping_to_the_target_is_one_shot_magnitude_pruning(train, scope):
    found, values = [], {}
    method = METHOD(away=1.0, back=0.0, scope=scope, rounds=5, dense=0.5, final=0.7)

    def look(clock, state, model):
        follow(found)(clock, state, model)
        values[clock.step] = {n: w.detach().abs() for n, w in state.weights(model).items()}

    train(method, look=look)
    live = [masks.count(m) for m in found]
    wanted = round(0.7 * 294) if scope == "global" else sum(round(0.7 * n) for n in SIZES.values())
    assert live == [0] * 12 + [wanted] * 13
    assert all(torch.equal(found[12][n], found[24][n]) for n in SIZES)
    # The kept were the largest: by their values at the pruning none of them was below the share that was cut.
    top = masks.keep_top({n: v.where(found[12][n], -1.0) for n, v in values[12].items()}, 0.7, scope)
    assert all(torch.equal(top[n], found[12][n]) for n in SIZES)


def test_with_both_probabilities_zero_the_mask_never_changes(train):
    found = []
    with pytest.raises(Ineffective, match="drop must mask a weight, but masked none of 294; raise `away` or `rounds`"):
        train(METHOD(away=0.0, back=0.0, project=False), look=follow(found))
    assert all(masks.count(m) == 0 for m in found)
    assert len(found) == 25


def test_same_seed_same_masks(train):
    one, other = [], []
    for found in (one, other):
        torch.manual_seed(len(one))
        train(METHOD(back=0.1), look=follow(found))
    assert all(torch.equal(a[n], b[n]) for a, b in zip(one, other, strict=True) for n in SIZES)


@pytest.mark.parametrize(
    ("parts", "slow", "returns"), [("away", True, False), ("back", False, True), ("both", True, True)]
)
def test_the_parts_of_the_ablation(train, parts, slow, returns):
    """With "away" nothing comes back and the target takes its time; "back" is there at once, and exchanges weights."""
    found = []
    method = METHOD(parts=parts, back=0.2, back_schedule="constant", rounds=10, dense=0.0, project=False)
    train(method, steps=30, look=follow(found))
    returned = [any((b[n] & ~a[n]).any() for n in SIZES) for a, b in itertools.pairwise(found)]
    assert any(returned) == returns
    first = masks.count(found[1])
    assert (first < 0.6 * 294) == slow
    assert parts != "back" or first == sum(round(0.8 * n) for n in SIZES.values())


def test_dropping_back_ends_with_the_schedule(train):
    last = {}
    for schedule in ("constant", "linear", "cosine"):
        method = METHOD(back=0.5, back_schedule=schedule, rounds=6, project=False)
        trained = train(method)
        last[schedule] = method.stats(trained.state, trained.model)["recovered"]
    assert last["constant"] > 0
    assert last["linear"] == last["cosine"] == 0


def test_prunings_after_the_same_step_draw_anew(train):
    """Twenty of them leave next to nothing of what may go; with the same draws half of it would stay for ever."""
    method = METHOD(away=0.5, parts="away", rounds=20, final=0.5, dense=0.0, project=False)
    assert masks.count(train(method, steps=1).state.masks) == 147


# One layer, followed by hand


def layer(values: list[float], **fields: object):
    model = nn.Sequential(nn.Linear(4, 1, bias=False))
    weight, method = model.get_parameter("0.weight"), METHOD(project=False, dense=0.0, fine_tune=0.0, **fields)
    with torch.no_grad():
        weight.copy_(torch.tensor([values]))
    state = method.attach(model, torch.zeros(1, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(number: int) -> list[float]:
        clock = Clock(0, Budget(40, 40, 40), Phase("train", 40), 0, number, number, optimizer)
        method.after_step(state, model, clock)
        return weight.detach()[0].tolist()

    return model, state, step


@pytest.mark.parametrize(
    ("recover", "second", "fourth"),
    [("zero", [0, 0], [0, 0]), ("last", [1, -2], [1.5, -2.5]), ("dense", [1, -2], [1, -2])],
)
def test_recovered_values(recover, second, fourth):
    """All of U goes and all of D comes back; between prunings every weight trains a little."""
    model, state, step = layer(
        [1, -2, 3, 4], final=0.5, away=1.0, back=1.0, back_schedule="constant", rounds=4, recover=recover
    )
    assert step(1) == [0, 0, 3, 4]
    assert [state.dropped, state.recovered] == [2, 0]
    assert step(10) == [*second, 3, 4]
    assert [state.dropped, state.recovered] == [0, 2]
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.5, -2.5, 3, 4]]))
    assert step(11) == [1.5, -2.5, 3, 4]  # not in the calendar
    assert step(20) == [0, 0, 3, 4]
    assert step(30) == [*fourth, 3, 4]


@pytest.mark.parametrize("rounds", [1, 40])
def test_what_goes_and_comes_back_between_two_steps_has_never_left(rounds):
    """Sequential order with p_b = 1, or all prunings after one step: weights keep their values, also from zero."""
    order = "sequential" if rounds == 1 else "simultaneous"
    model, state, _ = layer([1, -2, 3, 4])
    method = METHOD(
        final=0.5, away=1.0, back=1.0, back_schedule="constant", order=order, rounds=rounds, project=False, dense=0.0
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method.after_step(state, model, Clock(0, Budget(1, 0, 1), Phase("train", 1), 0, 1, 1, optimizer))
    assert model[0].weight.tolist() == [[1, -2, 3, 4]]
    assert all(m.all() for m in state.masks.values())


@pytest.mark.parametrize("recover", ["zero", "last"])
def test_dropping_back_alone_keeps_the_function_only_from_zero(toy_model, recover):
    model, x = toy_model().eval(), torch.randn(8, 1, 5, 5, generator=generator("x"))
    method = METHOD(away=0.0, back=0.5, rounds=1, dense=0.5, project=False, recover=recover)
    state = method.attach(model, x)
    state.stored = {n: w.detach().clone() for n, w in state.weights(model).items()} if recover == "last" else {}
    state.masks = masks.keep_top({n: w.detach().abs() for n, w in state.weights(model).items()}, 0.8, "layer")
    state.mask_weights_(model)
    before = model(x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method.after_step(state, model, Clock(0, Budget(10, 5, 5), Phase("train", 10), 0, 5, 5, optimizer))
    assert state.recovered > 80
    assert torch.equal(model(x), before) == (recover == "zero")


# Runs in the suite's own loop


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize(("order", "back"), [("simultaneous", 0.1), ("sequential", 0.2)])
def test_a_training_run_settles_at_the_fixed_point(scope, order, back):
    """The mean over the last prunings, whose noise is an autoregression with factor ``shrink``."""
    settled = []

    def look(event):
        if event.kind == "step" and event.step > 20:
            settled.append(masks.zeros(training.state.masks))

    method = METHOD(
        final=0.9, away=0.5, back=back, back_schedule="constant", order=order, scope=scope, rounds=100, dense=0.0,
        fine_tune=0.0, project=False,
    )  # fmt: skip
    training = toys.toy_training(method, steps=100, observers=[look])
    run(training)
    n, wanted = 2248, equilibrium_sparsity(rule="R2", away=0.5, back=back, target=0.9, order=order)
    shrink = 0.5 - back / 2 if order == "sequential" else 0.5 - back
    variance = ((0.9 - wanted) * 0.25 + 0.9 * back * (1 - back)) / n / (1 - shrink**2)  # of one density, at most
    deviation = math.sqrt(variance * (1 + shrink) / (1 - shrink) / 80)
    assert len(settled) == 80
    assert abs(sum(settled) / 80 - wanted) < 5 * deviation + 1.5 / n  # and the rounding of three layers' counts
    assert training.state.dropped > 0
    assert training.state.recovered > 0


@pytest.mark.parametrize("values", [{"restart": True, "recover": "last"}, {"parts": "back", "project": False}])
def test_resumed_runs_end_with_the_same_weights(tmp_path, values):
    method = METHOD(back=0.1, **values)
    whole = toys.weights(run(toys.toy_training(method, steps=23)))
    for cut in (3, 9, 17):
        with pytest.raises(Stopped):
            run(toys.toy_training(method, steps=23, folder=tmp_path, stop_at=cut))
    assert toys.same(toys.weights(run(toys.toy_training(method, steps=23, folder=tmp_path))), whole)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    "values", [{"restart": True}, {"back_schedule": "gap"}, {"rule": "fraction", "project": False}]
)
def test_target_zero_is_dense_training_bit_for_bit(train, same, optimizer, values):
    trained = train(METHOD(final=0.0, **values), optimizer=optimizer)
    assert trained.phases == [("train", 24)]
    assert same(trained.model, train(dense.METHOD(), optimizer=optimizer).model)


def test_what_is_spared(toy_model):
    assert list(METHOD().prunable(toy_model())) == list(SIZES)
    assert list(METHOD(classifier=True).prunable(toy_model())) == [*SIZES, "fc.weight"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"away": 1.5}, r"`0 <= away <= 1` must hold, but got away=1.5"),
        ({"back": -0.1}, r"`0 <= back <= 1` must hold, but got back=-0.1"),
        ({"rule": "R2"}, r"`rule in target, fraction` must hold, but got rule='R2'"),
        ({"scope": "neuron"}, r"`scope in layer, global` must hold, but got scope='neuron'"),
        ({"recover": "random"}, r"`recover in zero, last, dense` must hold, but got recover='random'"),
        ({"rounds": 0}, r"`1 <= rounds <= 10000` must hold, but got rounds=0"),
        ({"final": 1.0}, r"`0 <= final < 1` must hold, but got final=1.0"),
        ({"dense": 0.8}, r"`dense \+ fine_tune < 1` must hold, but got \(dense=0.8, fine_tune=0.2\); lower `dense`"),
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


def test_the_reconstruction_is_declared():
    assert "only the abstracts" in METHOD.reconstruction

"""One-shot pruning: the scores, what each layer keeps, and the phases around the one pruning."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench import masks
from bench.errors import BenchError, Ineffective
from bench.masks import ALLOCATIONS, choose, lamp
from bench.method import Budget
from bench.seeds import address
from bench.training.loop import train as run
from methods import dense, lottery
from methods.oneshot import CRITERIA, METHOD
from tests import toys

SIZES = {"conv1.weight": 72, "conv2.weight": 1152, "fc.weight": 1024}  # of the model in tests/toys.py
TOTAL = 2248

# few different values, so that ties are common
layers = st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0]) | st.floats(1e-3, 1e3), min_size=1, max_size=30)


def wanted(method, sizes=SIZES):
    """How many weights must be zero: of each layer, or of all."""
    if method.allocation == "uniform":
        return {name: round(method.final * n) for name, n in sizes.items()}
    return round(method.final * sum(sizes.values()))


def zeros(model, method):
    found = {name: int((model.get_parameter(name) == 0).sum()) for name in SIZES}
    return found if method.allocation == "uniform" else sum(found.values())


# LAMP


def test_lamp_by_hand():
    assert lamp(torch.tensor([3.0, 1.0, 2.0])).tolist() == pytest.approx([1, 1 / 14, 4 / 13])
    assert lamp(torch.tensor([[2.0, 1.0], [2.0, 0.0]])).tolist() == [[0.5, pytest.approx(1 / 9)], [1.0, 0.0]]
    assert lamp(torch.zeros(3)).tolist() == [0, 0, 0]
    assert lamp(torch.tensor([1e-30, 2e-30])).tolist() == pytest.approx([0.2, 1])
    assert lamp(torch.ones(2)).dtype == torch.float64


@given(layers)
def test_lamp_follows_its_definition(values):
    scores = torch.tensor(values)
    order = sorted(range(len(values)), key=lambda i: (scores[i].item(), i))
    squares = [scores[i].item() ** 2 for i in order]
    shares = [s / math.fsum(squares[k:]) if s else 0.0 for k, s in enumerate(squares)]
    found = lamp(scores)
    assert [found[i].item() for i in order] == pytest.approx(shares, rel=1e-12)
    assert found.max() == (1 if scores.max() > 0 else 0)
    for drop in range(len(values)):  # the order is that of the scores, ties included
        assert torch.equal(masks.drop_lowest(found, drop), masks.drop_lowest(scores, drop))


def test_a_layers_scale_does_not_change_lamp():
    scores = torch.rand(50, generator=torch.Generator().manual_seed(0))
    assert lamp(1024 * scores).tolist() == lamp(scores).tolist()


# Allocation


def test_allocations_by_hand():
    scores = {"a": torch.tensor([[1.0, 2.0, 3.0]]), "b": torch.tensor([[10.0, 10.0, 11.0]])}
    dropped = {a: {n: m.tolist()[0] for n, m in choose(scores, 0.5, a).items()} for a in ("global", "lamp")}
    assert dropped["global"] == {"a": [False] * 3, "b": [True] * 3}
    # LAMP scores 1/14, 4/13, 1 and 100/321, 100/221, 1: the three lowest are two of a and one of b
    assert dropped["lamp"] == {"a": [False, False, True], "b": [False, True, True]}


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_counts_are_the_allocations_and_each_layer_keeps_its_highest(allocation):
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (8, 1, 3, 3), "b": (16, 8, 3, 3), "c": (64, 16)}
    scale = {"a": 1, "b": 2, "c": 4}
    scores = {name: scale[name] * torch.rand(shape, generator=generator) for name, shape in shapes.items()}
    kept = choose(scores, 0.8, allocation)
    dropped = {name: int((~mask).sum()) for name, mask in kept.items()}
    if allocation == "uniform":
        assert dropped == {"a": 58, "b": 922, "c": 819}
    else:
        assert sum(dropped.values()) == round(0.8 * TOTAL)
    if allocation == "erk":
        assert dropped == masks.erk(shapes, 0.8)
    for name, mask in kept.items():
        assert torch.equal(mask, masks.drop_lowest(scores[name], dropped[name]))


# Scores


@pytest.mark.parametrize("batches", [1, 3])
def test_snip_is_the_gradient_with_respect_to_a_mask(batches):
    """The oracle multiplies each weight by a c of 1 and differentiates by c, on the same batches with the same dropout."""
    seen = {}

    def look(event):
        if (event.kind, event.step) == ("step", batches):
            seen.update(training.state.gradients)

    method = METHOD(criterion="snip", when=0, allocation="global", batches=batches)
    training = toys.toy_training(method, observers=[look])
    weights = {n: w.detach().clone() for n, w in training.model.named_parameters()}
    finished = run(training)

    model = toys.ToyNet()
    gates = {name: torch.ones_like(weights[name], requires_grad=True) for name in SIZES}
    gated = {**weights, **{name: weights[name] * gate for name, gate in gates.items()}}
    loss = torch.zeros(())
    with torch.random.fork_rng():
        torch.manual_seed(address(0, "torch", 0))
        for images, labels in itertools.islice(toys.ToyBatches().epoch(0), batches):
            loss = loss + F.cross_entropy(torch.func.functional_call(model, gated, images), labels)
    oracle = dict(zip(gates, torch.autograd.grad(loss, list(gates.values())), strict=True))
    for name, score in oracle.items():
        assert torch.allclose(weights[name] * seen[name], score, rtol=1e-4, atol=1e-8)
    flat = torch.cat([score.abs().flatten() for score in oracle.values()])
    live = torch.cat([(finished.get_parameter(name) != 0).flatten() for name in oracle])
    best = torch.zeros_like(live)
    best[flat.argsort(descending=True)[: TOTAL - round(0.8 * TOTAL)]] = True
    assert (live != best).sum() <= 2  # rounding may swap the two at the threshold
    assert training.state.gradients == {}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_scoring_moves_no_weight(optimizer):
    """After 10 steps of dense training, under momentum and a strong weight decay."""
    recipe, seen = toys.replace_recipe(optimizer=optimizer, weight_decay=0.5), {}

    def look(event):
        if event.kind == "step":
            seen[event.step] = {n: p.detach().clone() for n, p in training.model.named_parameters()}

    training = toys.toy_training(METHOD(criterion="snip", when=1 / 3, batches=3), recipe=recipe, observers=[look])
    run(training)
    assert [(p["name"], p["steps"]) for p in training.at.phases] == [("dense", 10), ("score", 3), ("fine-tune", 17)]
    assert toys.same(seen[13], seen[10])
    assert not toys.same(seen[10], seen[9])


def test_magnitude_drops_the_smallest_at_the_end_of_dense_training(train):
    seen = {}

    def look(clock, state, model):
        seen[clock.step, clock.index] = state.masks, {n: w.detach().clone() for n, w in state.weights(model).items()}

    trained = train(METHOD(when=0.25, final=0.7), look=look)
    assert trained.phases == [("dense", 6), ("fine-tune", 18)]
    before, after = seen[6, 0][1], seen[6, 1]
    assert all(mask.all() for mask in seen[6, 0][0].values())
    for name, weight in before.items():
        mask = torch.ones(weight.numel(), dtype=torch.bool)
        mask[weight.flatten().abs().argsort()[: round(0.7 * weight.numel())]] = False
        assert torch.equal(after[0][name], mask.view(weight.shape))
        assert torch.equal(after[1][name], weight * after[0][name])
    assert trained.state.masks is after[0]
    for (_, index), (_, weights) in seen.items():
        assert index == 0 or all(torch.equal(w != 0, after[0][name]) for name, w in weights.items())


def test_random_scores_do_not_look_at_the_weights():
    """Of 5000 kept at random from 10000, half are among the larger half: hypergeometric, 5 sigma is 1 in 3 million."""
    weights = {"w": torch.arange(10_000.0).view(100, 100)}
    for seed in range(5):
        mask = choose(masks.random_scores(weights, torch.Generator().manual_seed(seed)), 0.5, "uniform")["w"].flatten()
        assert mask.sum() == 5000
        sigma = math.sqrt(5000 * 0.5 * 0.5 * 5000 / 9999)
        assert abs(int(mask[5000:].sum()) - 2500) < 5 * sigma


@pytest.mark.parametrize("when", [0, 0.5])
def test_random_masks_come_from_the_runs_seed_alone(when):
    method, found = METHOD(criterion="random", when=when), []
    for noise, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(noise)
        training = toys.toy_training(method, seed=seed, model=toys.ToyNet())
        run(training)
        found.append(training.state.masks)
    assert toys.same(found[0], found[1])
    assert all((found[0][name] != found[2][name]).any() for name in SIZES)


# The calendar and the target


@pytest.mark.parametrize("when", [0, 0.01, 0.8])
@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_target_is_hit_exactly(criterion, allocation, when):
    method = METHOD(criterion=criterion, allocation=allocation, when=when, final=0.9)
    training = toys.toy_training(method, steps=11)
    model = run(training)
    assert zeros(model, method) == wanted(method)
    assert int((model.head.weight == 0).sum()) == 0
    dense_steps, score = {0: 0, 0.01: 1, 0.8: 9}[when], int(criterion == "snip")
    names = [("dense", dense_steps), ("score", score), ("fine-tune", 11 - dense_steps - score)]
    assert [(p["name"], p["steps"]) for p in training.at.phases] == [(n, s) for n, s in names if s]


@pytest.mark.parametrize(("criterion", "alters"), [("magnitude", True), ("random", True), ("snip", False)])
def test_what_is_pruned_before_the_first_step_is_said(criterion, alters):
    method, model = METHOD(criterion=criterion, when=0), toys.ToyNet()
    state = method.attach(model, torch.zeros(1, 1, 6, 6))
    assert bool(method.alters()) == alters
    assert zeros(model, method) == (wanted(method) if alters else dict.fromkeys(SIZES, 0))
    assert masks.count(state.masks) == (sum(wanted(method).values()) if alters else 0)
    assert METHOD(criterion=criterion, when=0, final=0).alters() == ""
    assert METHOD(criterion=criterion).alters() == ""


@pytest.mark.parametrize(("scope", "allocation"), [("layer", "uniform"), ("global", "global")])
def test_a_lottery_of_one_pruning_without_rewinding_is_the_same_bit_for_bit(scope, allocation):
    one = lottery.METHOD(final=0.8, rate=0.9, rewind="none", scope=scope)
    other = METHOD(final=0.8, when=0.5, allocation=allocation)
    found = [toys.weights(run(toys.toy_training(method, steps=28))) for method in (one, other)]
    assert toys.same(*found)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("when", [0, 0.5])
def test_target_zero_is_dense_training_bit_for_bit(train, same, criterion, when):
    trained = train(METHOD(final=0.0, criterion=criterion, when=when))
    assert trained.phases == [("dense", 24)]
    assert same(trained.model, train(dense.METHOD()).model)


def test_what_is_spared():
    model = toys.ToyNet()
    assert list(METHOD().prunable(model)) == list(SIZES)
    assert list(METHOD(classifier=True).prunable(model)) == [*SIZES, "head.weight"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"final": 1.0}, r"`0 <= final < 1` must hold, but got final=1.0"),
        ({"when": 1.0}, r"`0 <= when < 1` must hold, but got when=1.0"),
        ({"batches": 0}, r"`1 <= batches <= 1000` must hold, but got batches=0"),
        ({"criterion": "grasp"}, r"`criterion in magnitude, random, snip` must hold, but got criterion='grasp'"),
        (
            {"allocation": "layer"},
            r"`allocation in uniform, global, erk, uniform., lamp` must hold, but got allocation='layer'",
        ),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(BenchError, match=message):
        METHOD(**values)


def test_what_cannot_be_done_is_said_before_training():
    with pytest.raises(
        Ineffective, match="oneshot needs a layer to prune, but found none besides what is spared; set classifier=true"
    ):
        METHOD().attach(nn.Sequential(nn.ReLU()), torch.zeros(1))
    model = toys.ToyNet()
    method = METHOD(criterion="snip", batches=6)
    state = method.attach(model, torch.zeros(1, 1, 6, 6))
    message = r"of 12 dense training takes 6 \(when=0.5\) and scoring 6 \(batches=6\); lower `when` or `batches`"
    with pytest.raises(BenchError, match=message):
        method.phase(state, 0, Budget(12, 12, 4))
    assert [p.steps for p in method.plan(13)] == [6, 6, 1]
    with pytest.raises(Ineffective, match="must mask 1799 of 2248 weights, but masked 0"):
        method.finish(state, model)

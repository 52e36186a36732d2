"""Mask kernels: exact counts, ties by position, and masked weights that stay at zero."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from bench import masks
from bench.errors import BenchError
from bench.recipe import Recipe

# few different values, so that ties are common
score_lists = st.lists(st.sampled_from([-1.0, 0.0, -0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=40)
shapes = st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=4), min_size=1, max_size=6)


def by_stable_sort(scores: torch.Tensor, count: int) -> torch.Tensor:
    keep = torch.ones(scores.numel(), dtype=torch.bool)
    keep[scores.flatten().argsort(stable=True)[:count]] = False
    return keep.view(scores.shape)


# Selection


@given(score_lists, st.data())
def test_drop_lowest_is_a_stable_sort(values, data):
    count = data.draw(st.integers(0, len(values)))
    scores = torch.tensor(values)
    assert torch.equal(masks.drop_lowest(scores, count), by_stable_sort(scores, count))


@given(st.integers(1, 5), st.integers(1, 12), st.data())
def test_drop_lowest_rows_is_a_stable_sort_per_row(rows, columns, data):
    values = data.draw(st.lists(st.integers(0, 3), min_size=rows * columns, max_size=rows * columns))
    counts = data.draw(st.lists(st.integers(0, columns), min_size=rows, max_size=rows))
    scores = torch.tensor(values).view(rows, columns)
    wanted = torch.stack([by_stable_sort(row, count) for row, count in zip(scores, counts, strict=True)])
    assert torch.equal(masks.drop_lowest_rows(scores, torch.tensor(counts)), wanted)


def test_more_than_there_is_drops_all():
    assert not masks.drop_lowest(torch.ones(3), 5).any()
    assert masks.drop_lowest(torch.ones(3), -1).all()
    assert not masks.drop_lowest_rows(torch.ones(2, 3), torch.tensor([5, 3])).any()


def test_ties_go_by_position_whatever_the_memory_format():
    scores = torch.ones(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    keep = masks.drop_lowest(scores, 5)
    assert keep.flatten().tolist() == [False] * 5 + [True] * 19


def test_keep_top_by_eye():
    scores = {"a": torch.tensor([[1.0, 2.0], [7.0, 8.0]]), "b": torch.tensor([[3.0, 4.0, 5.0, 6.0]])}
    kept = {s: {n: m.int().tolist() for n, m in masks.keep_top(scores, 0.5, s).items()} for s in masks.SCOPES}
    assert kept == {
        "neuron": {"a": [[0, 1], [0, 1]], "b": [[0, 0, 1, 1]]},
        "layer": {"a": [[0, 0], [1, 1]], "b": [[0, 0, 1, 1]]},
        "global": {"a": [[0, 0], [1, 1]], "b": [[0, 0, 1, 1]]},
    }
    assert masks.keep_top(scores, 0.25, "global")["a"].tolist() == [[False, False], [True, True]]
    assert masks.keep_top(scores, 0.25, "layer")["a"].tolist() == [[False, True], [True, True]]


@given(st.floats(0, 1), st.sampled_from(masks.SCOPES), st.integers(1, 5), st.integers(1, 6))
def test_keep_top_counts_are_exact(sparsity, scope, n, m):
    generator = torch.Generator().manual_seed(n * m)
    scores = {"a": torch.rand(n, m, 2, generator=generator), "b": torch.zeros(m, n)}
    kept = masks.keep_top(scores, sparsity, scope)
    assert {k: v.shape for k, v in kept.items()} == {k: v.shape for k, v in scores.items()}
    dropped = {k: (~v).flatten(1).sum(1).tolist() for k, v in kept.items()}
    if scope == "neuron":
        assert dropped == {"a": [round(sparsity * (m * 2))] * n, "b": [round(sparsity * n)] * m}
    elif scope == "layer":
        counts = masks.uniform([n * m * 2, n * m], sparsity)
        assert {k: sum(v) for k, v in dropped.items()} == dict(zip("ab", counts, strict=True))
    else:
        assert sum(map(sum, dropped.values())) == round(sparsity * (n * m * 3))


@pytest.mark.parametrize("scope", masks.SCOPES)
def test_keep_top_of_nothing_and_of_one_dimension(scope):
    assert masks.keep_top({}, 0.5, scope) == {}
    kept = masks.keep_top({"a": torch.tensor([2.0, 1.0])}, 0.5, scope)["a"].tolist()
    assert kept == ([True, True] if scope == "neuron" else [True, False])  # half of one weight rounds to none


def test_keep_top_refuses():
    scores = {"a": torch.ones(2, 2), "b": torch.tensor([[1.0, float("nan")]])}
    with pytest.raises(BenchError, match=r"`0 <= sparsity <= 1` must hold, but got sparsity=1.5"):
        masks.keep_top(scores, 1.5, "layer")
    with pytest.raises(BenchError, match="sparsity=nan"):
        masks.keep_top(scores, float("nan"), "layer")
    with pytest.raises(BenchError, match="'b' holds NaN"):
        masks.keep_top(scores, 0.5, "layer")
    with pytest.raises(BenchError, match="no scope 'layers'; did you mean 'layer'"):
        masks.keep_top({"a": torch.ones(2, 2)}, 0.5, "layers")


def test_magnitudes_put_what_is_out_first():
    scores = masks.magnitudes({"w": torch.tensor([-3.0, 0.0, 0.0])}, {"w": torch.tensor([True, True, False])})
    assert scores["w"].tolist() == [3, 0, -1]


# Allocation


def test_allocations_on_numbers():
    scores = {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor([[5.0, 6.0], [7.0, 8.0]])}
    live = {a: {n: m.flatten().tolist() for n, m in masks.choose(scores, 0.5, a).items()} for a in masks.ALLOCATIONS}
    assert live["uniform"] == {"a": [False, False, True, True], "b": [False, False, True, True]}
    assert live["global"] == {"a": [False] * 4, "b": [True] * 4}
    assert sum(map(sum, live["erk"].values())) == 4
    assert masks.choose({}, 0.5, "erk") == masks.choose({}, 0.5, "global") == {}


def test_an_unknown_allocation_is_refused():
    with pytest.raises(BenchError, match="no scope 'uniformly'; "):
        masks.choose({"a": torch.ones(2, 2)}, 0.5, "uniformly")


@given(st.lists(st.integers(1, 99), max_size=5), st.floats(0, 1), st.sampled_from(masks.ALLOCATIONS))
def test_to_drop_is_what_choose_drops(sizes, sparsity, allocation):
    scores = {str(i): torch.arange(float(n)).view(1, n) for i, n in enumerate(sizes)}
    assume(allocation != "uniform+" or sum(sizes) - round(sparsity * sum(sizes)) >= len(sizes))
    wanted = masks.to_drop(sizes, sparsity, by_layer=allocation == "uniform")
    assert masks.count(masks.choose(scores, sparsity, allocation)) == wanted


def test_to_drop_rounds_in_each_layer_or_once():
    assert masks.to_drop([3, 3, 3], 0.5, by_layer=True) == 6
    assert masks.to_drop([3, 3, 3], 0.5, by_layer=False) == 4
    assert masks.to_drop([], 0.5, by_layer=True) == masks.to_drop([], 0.5, by_layer=False) == 0


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.floats(0, 0.9999), st.floats(0, 0.9999))
def test_uniform_leaves_a_weight_in_each_layer_and_never_takes_back(sizes, a, b):
    low, high = masks.uniform(sizes, min(a, b)), masks.uniform(sizes, max(a, b))
    assert all(0 <= less <= more < size for less, more, size in zip(low, high, sizes, strict=True))
    for counts, sparsity in ((low, min(a, b)), (high, max(a, b))):
        rounded = [round(sparsity * size) for size in sizes]
        assert sum(counts) == min(sum(rounded), sum(sizes) - len(sizes))
        if all(count < size for count, size in zip(rounded, sizes, strict=True)):
            assert counts == rounded


def test_uniform_drops_elsewhere_what_it_leaves_in_tiny_layers():
    assert masks.uniform([5, 1000, 3, 2000], 0.95) == [4, 951, 2, 1901]
    assert masks.uniform([5, 1000], 1.0) == [5, 1000]
    assert masks.uniform([], 0.5) == []


@pytest.mark.parametrize("sparsity", [0.9, 0.95, 0.98, 0.99])
def test_no_allocation_by_layer_empties_the_tiny_layers_of_a_real_model(sparsity):
    with torch.device("meta"):
        model = timm.create_model("ecaresnet26t")
    shapes = {name: tuple(weight.shape) for name, weight in masks.prunable(model).items()}
    sizes = [math.prod(shape) for shape in shapes.values()]
    assert min(sizes) == 5
    for drop in (masks.uniform(sizes, sparsity), list(masks.erk(shapes, sparsity).values())):
        assert all(count < size for count, size in zip(drop, sizes, strict=True))
    assert sum(masks.uniform(sizes, sparsity)) == sum(round(sparsity * size) for size in sizes)


@given(shapes, st.floats(0, 0.999))
def test_erk_leaves_a_weight_in_each_layer_or_in_as_many_as_it_can(sizes, sparsity):
    named = {str(i): s for i, s in enumerate(sizes)}
    kept = [math.prod(s) - masks.erk(named, sparsity)[n] for n, s in named.items()]
    assert sum(count > 0 for count in kept) == min(len(kept), sum(kept))


def test_uniform_plus_on_numbers():
    shapes = {"stem": (10, 10), "body": (20, 50), "head": (10, 10)}
    drop = masks.uniform_plus(shapes, 0.8, "stem", {"head"})
    assert drop == {"stem": 0, "body": 880, "head": 80}
    assert masks.uniform_plus(shapes, 0.4, "stem", {"head"}) == {"stem": 0, "body": 436, "head": 44}
    assert masks.uniform_plus(shapes, 0.5, "", ()) == {"stem": 50, "body": 500, "head": 50}
    scores = {name: torch.rand(shape) for name, shape in shapes.items()}
    found = masks.choose(scores, 0.8, "uniform+", first="stem", last={"head"})
    assert {name: int((~mask).sum()) for name, mask in found.items()} == drop
    with pytest.raises(BenchError, match=r"uniform. keeps .* but sparsity=0.99 leaves 12"):
        masks.uniform_plus(shapes, 0.99, "stem", {"head"})


def test_lamp_is_that_of_the_live_weights_where_some_are_masked():
    scores = torch.tensor([3.0, -1.0, 1.0, -1.0, 2.0])
    assert masks.lamp(scores).tolist() == [1, -1, pytest.approx(1 / 14), -1, pytest.approx(4 / 13)]


def test_random_scores_come_from_their_generator_alone():
    weights = {"a": torch.ones(3, 4), "b": torch.zeros(5)}
    one, same = (masks.random_scores(weights, torch.Generator().manual_seed(2)) for _ in range(2))
    other = masks.random_scores(weights, torch.Generator().manual_seed(3))
    assert {name: score.shape for name, score in one.items()} == {"a": (3, 4), "b": (5,)}
    assert all(torch.equal(one[name], same[name]) and not torch.equal(one[name], other[name]) for name in weights)
    assert all(score.min() >= 0 and score.max() < 1 for score in one.values())


@given(shapes, st.floats(0, 1))
def test_erk_adds_up_and_fits(sizes, sparsity):
    named = {str(i): s for i, s in enumerate(sizes)}
    total = {n: int(torch.Size(s).numel()) for n, s in named.items()}
    drop = masks.erk(named, sparsity)
    assert sum(drop.values()) == round(sparsity * sum(total.values()))
    assert all(0 <= drop[n] <= total[n] for n in named)


@given(shapes, st.floats(0, 1), st.floats(0, 1))
def test_erk_never_takes_back(sizes, a, b):
    named = {str(i): s for i, s in enumerate(sizes)}
    less, more = masks.erk(named, min(a, b)), masks.erk(named, max(a, b))
    assert all(less[n] <= more[n] for n in named)


def test_erk_densities_follow_the_dimensions():
    drop = masks.erk({"small": (16, 16, 3, 3), "large": (64, 64, 3, 3)}, 0.9)
    kept = {"small": 2304 - drop["small"], "large": 36864 - drop["large"]}
    assert sum(kept.values()) == 3917
    assert kept["large"] / kept["small"] == pytest.approx(134 / 38, rel=2e-3)


def test_erk_leaves_layers_dense_that_it_would_overfill():
    drop = masks.erk({"tiny": (4, 1, 3, 3), "large": (64, 64, 3, 3)}, 0.5)
    assert drop == {"tiny": 0, "large": 18450}


def test_apportion_by_hand():
    assert masks.apportion([1, 1, 2], [10, 10, 10], 8) == [2, 2, 4]
    assert masks.apportion([1, 1, 2], [10, 10, 3], 8) == [3, 2, 3]  # the tie goes to the first
    assert masks.apportion([0, 1], [5, 5], 5) == [0, 5]
    assert masks.apportion([1.5, 2.5], [4, 4], 0) == [0, 0]
    assert masks.apportion([], [], 0) == []
    with pytest.raises(ValueError, match="caps allow 5 and floors 0, but the total is 6"):
        masks.apportion([0, 1], [5, 5], 6)


@given(st.lists(st.tuples(st.floats(0.01, 1e4), st.integers(0, 50)), min_size=1, max_size=8), st.data())
def test_apportion_adds_up_under_its_caps_and_is_monotone(parts, data):
    weights, caps = [w for w, _ in parts], [c for _, c in parts]
    total = data.draw(st.integers(0, sum(caps)))
    counts = masks.apportion(weights, caps, total)
    assert sum(counts) == total
    assert all(0 <= n <= cap for n, cap in zip(counts, caps, strict=True))
    if total:
        fewer = masks.apportion(weights, caps, total - 1)
        assert all(a <= b for a, b in zip(fewer, counts, strict=True))


def test_apportion_is_proportional_without_caps():
    weights = [3.0, 5.0, 11.0, 0.5]
    counts = masks.apportion(weights, [10**6] * 4, 1_950)
    assert counts == pytest.approx([300, 500, 1100, 50], abs=1)


# What can be pruned


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Sequential(nn.Conv1d(4, 4, 1), nn.ReLU(), nn.Linear(4, 4))
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.body[2].weight
        self.head, self.head_dist = nn.Linear(4, 2), nn.Linear(4, 2)

    def get_classifier(self) -> tuple[nn.Module, nn.Module]:
        return self.head, self.head_dist


def test_prunable_are_convolutions_and_linear_layers_once_each():
    names = ["stem.weight", "body.0.weight", "body.2.weight"]
    assert list(masks.prunable(Net())) == names
    assert list(masks.prunable(Net(), classifier=True)) == [*names, "head.weight", "head_dist.weight"]


def test_prunable_without_a_known_classifier():
    assert list(masks.prunable(nn.Linear(2, 2))) == ["weight"]
    assert list(masks.prunable(nn.Sequential(nn.ReLU()))) == []
    net = Net()
    net.get_classifier = lambda: None
    assert "head.weight" in masks.prunable(net)


# Applying


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_whatever_is_behind_a_mask_becomes_zero(kind):
    mask = torch.tensor([False, False, False, False, True, True, True])
    tensor = torch.tensor([torch.inf, -torch.inf, torch.nan, -3.0, torch.inf, -2.5, 0.0], dtype=kind)
    masks.mul_([tensor], [mask])
    assert tensor.tolist() == [0, 0, 0, 0, torch.inf, -2.5, 0]
    assert not tensor[:4].signbit().any()


def test_an_infinite_gradient_leaves_a_masked_weight_at_zero():
    model = nn.Linear(3, 2, bias=False)
    state = masks.Masked({"weight": torch.tensor([[True, False, True], [False, True, True]])})
    optimizer = Recipe(clip=1.0).make_optimizer(model)
    state.mask_weights_(model, optimizer)
    model.weight.grad = torch.where(state.masks["weight"], 0.5, torch.inf)
    state.mask_gradients_(model)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
    optimizer.step()
    assert torch.equal(model.weight != 0, state.masks["weight"])
    assert model.weight.isfinite().all()


def test_a_mask_costs_one_pass_over_the_gradients():
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(5)))
    state = masks.Masked(masks.all_live(masks.prunable(model)))
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    state.mask_gradients_(model)
    with torch.profiler.profile() as profile:
        state.mask_gradients_(model)
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls.pop("aten::_foreach_mul_") == 1
    assert set(calls) <= {"aten::view", "aten::detach", "detach", "aten::to", "aten::mul_"}  # views, and mul_ on a CPU


def test_mul_skips_what_is_not_there():
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    masks.mul_([a, None, b], [torch.tensor([True, False]), torch.ones(1), torch.tensor([False, True])])
    assert (a.tolist(), b.tolist()) == ([1, 0], [0, 4])
    masks.mul_([], [])


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_clear_zeroes_only_what_is_masked(name):
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = Recipe(optimizer=name).make_optimizer(nn.ParameterList([weight]))
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    mask = torch.tensor([[True, False], [False, True]])
    masks.clear_(optimizer, [weight, torch.ones(1)], [mask, torch.ones(1)])
    memory = [v for v in optimizer.state[weight].values() if v.shape == weight.shape]
    assert len(memory) == {"sgd": 1, "adamw": 2}[name]
    assert all(torch.equal(v != 0, mask) for v in memory)
    assert name == "sgd" or optimizer.state[weight]["step"] == 1


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_masked_weights_stay_at_zero(name, memory_format):
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)).to(memory_format=memory_format)
    optimizer = Recipe(optimizer=name, weight_decay=0.1).make_optimizer(model)
    state = masks.Masked(masks.all_live(masks.prunable(model)))

    def step() -> None:
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator).contiguous(
                memory_format=memory_format if parameter.dim() == 4 else torch.contiguous_format
            )
        state.mask_gradients_(model)
        optimizer.step()

    step()
    state.masks = masks.keep_top({n: w.detach().abs() for n, w in state.weights(model).items()}, 0.5, "layer")
    state.mask_weights_(model, optimizer)
    for _ in range(10):
        step()
        for weight, mask in zip(state.weights(model).values(), state.masks.values(), strict=True):
            assert torch.equal(weight != 0, mask)
            assert not weight[~mask].signbit().any()


def test_factors_follow_the_masks_and_the_model():
    first, second = nn.Linear(2, 1), nn.Linear(2, 1)
    state = masks.Masked({"weight": torch.tensor([[True, False]])})
    for model in (first, second):
        model.weight.grad = torch.ones(1, 2)
        state.mask_gradients_(model)
        assert model.weight.grad.tolist() == [[1, 0]]
    state.masks = {"weight": torch.tensor([[False, True]])}
    second.weight.grad = torch.ones(1, 2)
    state.mask_gradients_(second)
    assert second.weight.grad.tolist() == [[0, 1]]


def test_counts_of_masks():
    found = {"a": torch.tensor([True, False]), "b": torch.tensor([False, False])}
    assert (masks.count(found), masks.zeros(found), masks.zeros({})) == (3, 0.75, 0)

"""Adaptive sparsity loss: the official arithmetic, the loss on thresholds, and what becomes of a training."""

from __future__ import annotations

import itertools
import math

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from bench import measure
from bench.errors import BenchError, Ineffective
from bench.method import Budget, Clock, Phase
from bench.recipe import Recipe
from bench.seeds import generator
from bench.training.loop import Stopped
from bench.training.loop import train as run
from methods.adaptive import FORMS, METHOD, SCOPES, threshold_for
from tests.toys import ToyNet, replace_recipe, same, toy_batch, toy_training, weights

TABLE = {0.3: 0.3853, 0.5: 0.6745, 0.7: 1.0364, 0.9: 1.6449, 0.95: 1.96, 0.99: 2.5758}
SIZES = {"conv2.weight": 1152, "fc.weight": 1024}  # of the toy: its layers of 1000 weights and more


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=generator("adaptive", shape))


# The loss


def clock(steps: int = 10) -> Clock:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))])
    return Clock(0, Budget(steps, steps, steps), Phase("adaptive", steps), 0, steps, steps, optimizer)


def end(method, state, model):
    method.end_phase(state, model, clock())


def attached(method, rs=(0.5, 1.5)):
    model = ToyNet()
    state = method.attach(model, torch.zeros(2, 1, 6, 6))
    for wrapper, r in zip(state.wrapped(model).values(), rs, strict=True):
        wrapper.r.data.fill_(r)
    return model, state


A, B = math.erf(0.5 / math.sqrt(2)), math.erf(1.5 / math.sqrt(2))  # 0.383 and 0.866
MEAN = (1152 * A + 1024 * B) / 2176


@pytest.mark.parametrize(
    ("values", "loss"),
    [
        ({}, (MEAN - 0.8) ** 2),
        ({"form": "absolute"}, 0.8 - MEAN),
        ({"form": "hinge"}, 0.8 - MEAN),
        ({"form": "hinge", "final": 0.5}, 0.0),
        ({"form": "absolute", "final": 0.5}, MEAN - 0.5),
        ({"weighting": "uniform"}, ((A + B) / 2 - 0.8) ** 2),
        ({"weighting": "macs"}, ((36 * 1152 * A + 1024 * B) / (36 * 1152 + 1024) - 0.8) ** 2),
        ({"scope": "layer"}, ((A - 0.8) ** 2 + (B - 0.8) ** 2) / 2),
        ({"scope": "layer", "form": "absolute"}, (0.8 - A + B - 0.8) / 2),
        ({"scope": "layer", "form": "hinge"}, (0.8 - A) / 2),
    ],
)
def test_the_loss_by_hand(values, loss):
    method = METHOD(strength=3.0, **values)
    model, state = attached(method)
    penalty = method.penalty(state, model, clock())
    assert penalty.item() == pytest.approx(3 * loss, abs=1e-6)
    frozen = METHOD(scope="frozen")
    assert frozen.penalty(frozen.attach(ToyNet(), torch.zeros(2, 1, 6, 6)), model, clock()) is None


def test_the_gradient_of_the_loss_is_the_derived_one():
    method = METHOD()
    model, state = attached(method)
    method.penalty(state, model, clock()).backward()
    for wrapper, r, n in zip(state.wrapped(model).values(), (0.5, 1.5), SIZES.values(), strict=True):
        slope = math.sqrt(2 / math.pi) * math.exp(-(r**2) / 2)
        assert wrapper.r.grad.item() == pytest.approx(10 * 2 * (MEAN - 0.8) * n / 2176 * slope, rel=1e-4)


@pytest.mark.parametrize(
    ("form", "rs", "lr"),
    [
        *(("squared", rs, 0.5) for rs in ((0.1, 0.3), (3.0, 2.0), (0.2, 2.5))),
        *((f, (0.2, 2.5), 0.02) for f in FORMS[1:]),
    ],
)
def test_without_a_task_the_estimate_goes_to_the_target(form, rs, lr):
    """Gradient descent in small steps on the sparsity loss alone: the distance never grows, but for the last step's size
    where the slope does not vanish at the target."""
    method, far = METHOD(form=form, strength=1.0), []
    model, state = attached(method, rs)
    optimizer = torch.optim.SGD([w.r for w in state.wrapped(model).values()], lr=lr)
    for _ in range(300):
        optimizer.zero_grad()
        method.penalty(state, model, clock()).backward()
        optimizer.step()
        far.append(abs(method.stats(state, model)["estimate"] - 0.8))
    overshoot = 1e-6 if form == "squared" else 2e-3
    assert all(later <= max(earlier, overshoot) for earlier, later in itertools.pairwise(far))
    assert far[-1] < 2e-3 < far[0]


@pytest.mark.parametrize(("optimizer", "decay_all"), [("sgd", True), ("adamw", False)])
def test_thresholds_have_a_group_of_their_own(optimizer, decay_all):
    method, recipe = METHOD(threshold_lr=0.02), Recipe(optimizer=optimizer, decay_all=decay_all, lr=0.5)
    model, state = attached(method)
    groups = method.optimizer(state, model, recipe, Phase("adaptive", 1)).param_groups
    assert (groups[-1]["lr"], groups[-1]["weight_decay"]) == (0.01, 0.0)
    assert {id(p) for p in groups[-1]["params"]} == {id(w.r) for w in state.wrapped(model).values()}
    every = [id(p) for g in groups for p in g["params"]]
    assert sorted(every) == sorted(id(p) for p in model.parameters())
    assert all(g["lr"] == 0.5 for g in groups[:-1])
    end(method, state, model)
    assert len(method.optimizer(state, model, recipe, Phase("fine-tune", 1)).param_groups) == 1 + (not decay_all)


# Training


def rows_of(method, *, steps=28, **more):
    rows = []

    def look(event):
        if event.kind == "epoch":
            rows.append(dict(event.row))

    training = toy_training(method, steps=steps, observers=[look], **more)
    return rows, training, run(training)


def test_layers_that_share_a_weight_share_its_threshold():
    model = nn.Sequential(nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 40))
    model[2].weight = model[0].weight
    again = nn.Sequential(model, model[0])  # one layer in two places, too
    method = METHOD(minimum=1000)
    state = method.attach(again, torch.zeros(1, 40))
    assert again[0][0].r is again[0][2].r is again[1].r
    assert again[1] is again[0][0]
    again(torch.ones(3, 40)).sum().backward()
    end(method, state, again)
    assert again[0][0].weight is again[0][2].weight
    assert int((again[1].weight == 0).sum()) == 1280


def test_curves_have_the_estimate_and_what_the_thresholds_really_prune():
    method = METHOD(threshold_lr=1.0, fine_tune=0.25)
    rows, training, model = rows_of(method)
    assert [row["phase"] for row in rows] == ["adaptive"] * 3 + ["fine-tune"]
    for row in rows[:3]:
        assert row["sparsity"] == pytest.approx(row["method/estimate"], abs=0.12)  # uniform weights, not normal ones
    estimates = [row["method/estimate"] for row in rows]
    assert 0.48 < estimates[0] < estimates[1] < 0.95
    assert training.state.report["measured"] == pytest.approx(rows[2]["sparsity"])
    assert rows[3]["sparsity"] == pytest.approx(round(0.8 * 2176) / 2176)
    assert training.state.report["projected"] == abs(round(0.8 * 2176) - round(rows[2]["sparsity"] * 2176))
    assert rows[3]["method/projected"] == training.state.report["projected"] > 0
    assert not any("r" in name.split(".") for name, _ in model.named_parameters())


@pytest.mark.parametrize("start", [0.0, 0.6, 1.0])
def test_the_sparsity_that_training_starts_with(start):
    """Normal weights are pruned to begin * final (5 standard deviations); only frozen thresholds start at the target."""
    for scope in SCOPES:
        method, model = METHOD(begin=start, scope=scope), ToyNet()
        for name in SIZES:
            model.get_parameter(name).data.copy_(normal(*model.get_parameter(name).shape))
        state = method.attach(model, torch.zeros(2, 1, 6, 6))
        zeros = sum(int((w == 0).sum()) for w in method.effective(state, model).values())
        share = 0.8 if scope == "frozen" else 0.8 * start
        assert abs(zeros - 2176 * share) <= 5 * math.sqrt(2176 * share * (1 - share)) + 1
        assert method.stats(state, model)["estimate"] == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("final", [0.3, 0.77, 0.95])
def test_the_projection_is_exact(scope, final):
    method = METHOD(scope=scope, final=final)
    model, state = attached(method, (0.4, 1.4))
    (x, _), ratios = toy_batch("projection"), {}
    model(x)
    for name, wrapper in zip(SIZES, state.wrapped(model).values(), strict=True):
        weight = wrapper.layer.weight.detach().clone()
        ratios[name] = weight.abs() / (wrapper.r.item() * weight.std() + 1e-6)
    kept = {name: ratio > 1 for name, ratio in ratios.items()}
    end(method, state, model)
    zeros = {name: int((model.get_parameter(name) == 0).sum()) for name in SIZES}
    if scope != "network":
        assert zeros == {name: round(final * n) for name, n in SIZES.items()}
        return
    assert sum(zeros.values()) == round(final * 2176)
    together = torch.cat([ratios[name].flatten() for name in SIZES])
    edge = together.sort().values[round(final * 2176) - 1]
    for name in SIZES:  # one factor on all thresholds, so masks are nested in the thresholds' own, or they in them
        assert torch.equal(state.masks[name], ratios[name] > edge)
        assert bool((state.masks[name] <= kept[name]).all() or (state.masks[name] >= kept[name]).all())
    assert state.report["projected"] == abs(sum(int((~k).sum()) for k in kept.values()) - round(final * 2176))


def test_thresholds_alone_decide_without_projection():
    method = METHOD(project=False, fine_tune=0.0)
    assert (method.wanted, METHOD().wanted, METHOD(final=0).wanted) == (None, 0.8, 0)
    model, state = attached(method)
    (x, _), outputs = toy_batch("bake"), []
    outputs.append(model.eval()(x))
    counted = sum(int((w == 0).sum()) for w in method.effective(state, model).values())
    end(method, state, model)
    outputs.append(method.finish(state, model)(x))
    assert torch.allclose(*outputs, atol=1e-6)
    assert (
        sum(int((model.get_parameter(n) == 0).sum()) for n in SIZES)
        == counted
        == round(state.report["measured"] * 2176)
    )
    assert (type(model.conv2), type(model.fc), state.report["projected"]) == (nn.Conv2d, nn.Linear, 0)
    rows, training, _ = rows_of(METHOD(project=False, threshold_lr=1.0))
    assert rows[-1]["sparsity"] == pytest.approx(training.state.report["measured"])


def test_a_run_without_projection_resumes_on_either_side_of_the_fixed_masks(tmp_path):
    method = METHOD(project=False, fine_tune=0.5)
    wanted = weights(run(toy_training(method, steps=16)))
    for cut in (5, 8, 12):
        with pytest.raises(Stopped):
            run(toy_training(method, steps=16, folder=tmp_path, stop_at=cut))
    assert same(weights(run(toy_training(method, steps=16, folder=tmp_path))), wanted)


def test_frozen_thresholds_stand_and_pruned_weights_come_back():
    method, seen = METHOD(scope="frozen", fine_tune=0.25), []

    def look(event):
        if event.kind == "step" and training.state.wrapped(training.model):
            seen.append((training.model.fc.r.item(), training.model.fc.weight.detach() != 0))

    training = toy_training(method, steps=28, recipe=replace_recipe(lr=0.3), observers=[look])
    run(training)
    assert len(seen) == 21
    assert {r for r, _ in seen} == {torch.tensor(threshold_for(0.8)).item()}
    assert (seen[-1][1] & ~seen[0][1]).any()


@pytest.mark.parametrize("values", [{"precision": "bf16"}, {"optimizer": "adamw", "lr": 0.003}, {"micro_batches": 4}])
def test_thresholds_learn_whatever_the_recipe(values):
    method = METHOD(threshold_lr=1.0, fine_tune=0.5)
    rows, training, model = rows_of(method, recipe=replace_recipe(**values))
    assert training.state.report["estimate"] > 0.481
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert rows[-1]["sparsity"] == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "test_nfnet"])
def test_a_timm_model_trains_and_is_plain_again(name):
    """Inverted bottlenecks, attention, and convolutions that standardise their own weight."""
    torch.manual_seed(0)
    model, fresh = (timm.create_model(name, num_classes=4, in_chans=1) for _ in range(2))
    x, y = normal(4, 1, 64, 64, dtype=torch.float32), torch.arange(4)
    if "vit" in name:
        x = normal(4, 1, 160, 160, dtype=torch.float32)
    method, names = METHOD(weighting="macs", threshold_lr=0.1), list(METHOD().prunable(model))
    state = method.attach(model, x)
    counts = measure.macs(fresh, tuple(x.shape))
    total = sum(counts[n] for n in names)
    assert state.shares.tolist() == pytest.approx([counts[n] / total for n in names], rel=1e-5)
    optimizer = method.optimizer(state, model, Recipe(lr=0.01), Phase("adaptive", 3))
    for _ in range(3):
        optimizer.zero_grad()
        (F.cross_entropy(model(x), y) + method.penalty(state, model, clock())).backward()
        optimizer.step()
    moved = [w.r.item() for w in state.wrapped(model).values()]
    assert all(r != pytest.approx(threshold_for(0.48), abs=1e-9) for r in moved)
    end(method, state, model)
    model = method.finish(state, model)
    assert [type(m) for m in model.modules()] == [type(m) for m in fresh.modules()]
    assert model.state_dict().keys() == fresh.state_dict().keys()
    sizes = [model.get_parameter(n).numel() for n in names]
    assert sum(int((model.get_parameter(n) == 0).sum()) for n in names) == round(0.8 * sum(sizes))


# What is spared, and what is refused


def test_what_is_spared():
    model = ToyNet()
    assert list(METHOD().prunable(model)) == list(SIZES)
    assert list(METHOD(minimum=1025).prunable(model)) == ["conv2.weight"]
    every = ["conv1.weight", *SIZES, "head.weight"]
    assert list(METHOD(minimum=2).prunable(model)) == every
    assert list(METHOD(minimum=2, classifier=False).prunable(model)) == every[:-1]
    method = METHOD(minimum=2)
    method.attach(model, torch.zeros(2, 1, 6, 6))
    assert list(method.prunable(model)) == [n.replace(".weight", ".layer.weight") for n in every]
    assert list(METHOD(minimum=2, classifier=False).prunable(model)) == list(method.prunable(model))[:-1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"final": 1.0}, r"`0 <= final < 1` must hold, but got final=1.0"),
        ({"strength": 0.0}, r"`0 < strength <= 1e\+06` must hold, but got strength=0.0"),
        ({"threshold_lr": 0.0}, r"`0 < threshold_lr <= 1000` must hold, but got threshold_lr=0.0"),
        ({"begin": 1.1}, r"`0 <= begin <= 1` must hold, but got begin=1.1"),
        ({"form": "cubic"}, r"`form in squared, absolute, hinge` must hold, but got form='cubic'"),
        ({"weighting": "flops"}, r"`weighting in parameters, macs, uniform` must hold, but got weighting='flops'"),
        ({"scope": "global"}, r"`scope in network, layer, frozen` must hold, but got scope='global'"),
        ({"minimum": 1}, r"`2 <= minimum` must hold, but got minimum=1"),
        ({"fine_tune": 1.0}, r"`0 <= fine_tune < 1` must hold, but got fine_tune=1.0"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(BenchError, match=message):
        METHOD(**values)


def test_never_a_silent_no_op():
    with pytest.raises(
        Ineffective, match="adaptive needs a layer to prune, but found none besides what is spared; lower `minimum`"
    ):
        METHOD(minimum=5000).attach(ToyNet(), torch.zeros(1))
    model, state = attached(METHOD())
    with pytest.raises(
        Ineffective, match="adaptive must mask 1741 of 2176 weights, but masked 0; the run was cut short"
    ):
        METHOD().finish(state, model)
    method = METHOD(project=False)
    model, state = attached(method, (0.0, 0.0))
    for wrapper in state.wrapped(model).values():  # no weight is near 0
        weight = wrapper.layer.weight.data
        weight.copy_(1.0 - 2.0 * (torch.arange(weight.numel()) % 2).view_as(weight))
    end(method, state, model)
    with pytest.raises(Ineffective, match="adaptive must mask a weight, but masked none of 2176; raise `strength`"):
        method.finish(state, model)


def test_the_calendar_leaves_a_step_for_either_phase():
    method = METHOD()
    _, state = attached(method)

    def plan(method, steps):
        phases = [method.phase(state, i, Budget(steps, steps, 4)) for i in range(3)]
        return [(p.name, p.steps) for p in phases if p]

    assert plan(method, 50) == [("adaptive", 40), ("fine-tune", 10)]
    assert plan(method, 2) == [("adaptive", 1), ("fine-tune", 1)]
    assert plan(method, 1) == [("adaptive", 1)]
    assert plan(METHOD(fine_tune=0.0), 50) == [("adaptive", 50)]
    assert METHOD(final=0.0).phase(METHOD(final=0.0).attach(ToyNet(), torch.zeros(1)), 0, Budget(9, 9, 4)).steps == 9

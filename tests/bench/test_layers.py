"""Layers: which weights a mask reaches, what layers compute with, and what no mask reaches."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from bench import layers, masks, measure
from bench.layers import Unreached
from bench.recipe import Recipe

STANDARDISED = ("nf_resnet26", "resnetv2_50x1_bit", "vit_tiny_r_s16_p8_224", "dm_nfnet_f0", "eca_nfnet_l0")
"""Of each of timm's four kinds of weight-standardised convolutions, and of hybrids."""

CPU = torch.device("cpu")


class Halved(nn.Conv2d):
    """A layer of somebody's own that computes with half of its weight."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight / 2, self.bias)


class Plain(nn.Linear):
    """A layer of somebody's own that computes with its weight as it is."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight) + 1


class Routed(nn.Conv2d):
    """A layer that wants a second input, so that nobody can look into it."""

    def forward(self, x: Tensor, route: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x * route)


NORMED = {
    "weight norm": lambda: parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(3, 4)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(3, 4)),
    "older spectral norm": lambda: nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)),
}


def sparse(model: nn.Module, sparsity: float = 0.9) -> list[str]:
    """Masks a model by magnitude; returns the names of the weights."""
    weights = masks.prunable(model, classifier=True)
    kept = masks.keep_top({name: w.detach().abs() for name, w in weights.items()}, sparsity, "layer")
    masks.mul_(weights.values(), kept.values())
    return list(weights)


def used(model: nn.Module, image: Tensor) -> list[Tensor]:
    """What convolutions and linear functions are called with in a forward pass of a model."""
    found = list[Tensor]()

    class Look(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func in layers.FUNCTIONS:
                found.append(layers.weight_argument(args, kwargs or {}))
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Look():
        model.eval()(image)
    return found


@pytest.mark.parametrize("name", STANDARDISED)
def test_standardised_convolutions_are_never_masked(name):
    with torch.device("meta"):
        model = timm.create_model(name)
    transformed = [n for n, found in layers.users(model).items() if "Std" in type(found[0][1]).__name__]
    assert transformed
    assert not transformed & masks.prunable(model, classifier=True).keys()
    assert set(transformed) <= {one.name for one in layers.unreached(model)}
    assert layers.weights(model).keys() == transformed | masks.prunable(model, classifier=True).keys()


def test_zeros_that_are_counted_are_those_in_what_is_computed():
    model = timm.create_model("test_nfnet", num_classes=10)
    how = {"example_shape": (2, 3, 64, 64), "recipe": Recipe(), "device": CPU, "quick": True}
    dense, _ = measure.summary(model, prunable=(), **how)  # some filters have a gain of 0 at the start
    names = sparse(model)
    found, _ = measure.summary(model, prunable=names, **how)
    computed = used(model, torch.rand(1, 3, 64, 64))
    assert sum(int((weight == 0).sum()) for weight in computed) == found["weights/all"] - found["weights/nonzero"]
    assert found["sparsity/prunable"] == pytest.approx(0.9, abs=1e-3)
    assert found["speedup/theoretical"] == pytest.approx(dense["speedup/theoretical"], rel=0.01)


@pytest.mark.parametrize("kind", [nn.Conv2d, Halved])
def test_a_filter_that_is_standardised_has_no_zeros_whatever_its_parameter_has(kind):
    model = nn.Sequential(timm.layers.ScaledStdConv2d(3, 4, 3), kind(4, 4, 1))
    with torch.no_grad():
        for weight in layers.weights(model).values():
            weight.view(-1)[::2] = 0
    rows = {row.name: row for row in measure.layers(model, layers.weights(model), {})}
    assert rows["0.weight"].nonzero == rows["0.weight"].weights == 108
    assert rows["1.weight"].nonzero == 8
    assert measure.progress_point(model, layers.weights(model))["sparsity"] == pytest.approx(8 / 124)


@pytest.mark.parametrize("kind", NORMED)
def test_layers_under_a_norm_or_parametrization_are_counted_and_never_masked(kind):
    layer = NORMED[kind]()
    model = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(2))
    shape = (1, 3, 4, 4) if isinstance(layer, nn.Conv2d) else (1, 3, 2, 3)
    model.train()(torch.rand(shape))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert list(masks.prunable(model)) == ["2.weight"]
    assert torch.equal(layers.computed(model)["0.weight"], used(model, torch.rand(shape))[0])
    assert {one.name.partition(".")[0] for one in layers.unreached(model)} == {"0"}
    found, table = measure.summary(
        model, prunable=["2.weight"], example_shape=shape, recipe=Recipe(), device=CPU, quick=True
    )
    assert [row.name for row in table] == ["0.weight", "2.weight"]
    assert table[0].macs > 0 == found["sparsity/weights"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_older_weight_norm_is_no_key_error():
    with pytest.warns(FutureWarning):
        model = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 4)), nn.Linear(4, 2))
    assert list(masks.prunable(model)) == ["1.weight"]
    assert measure.macs(model, (1, 3, 3, 3)) == {"0.weight": 9 * 12, "1.weight": 9 * 8, "": 0}


def test_layers_of_ones_own_are_looked_into():
    model = nn.ModuleList([Halved(3, 4, 1), Plain(3, 4), Routed(3, 4, 1)])
    assert [layers.transforms(module) for module in model] == [True, False, True]
    assert list(masks.prunable(model)) == ["1.weight"]
    assert torch.equal(layers.computed(model)["0.weight"], model[0].weight / 2)
    assert layers.computed(model)["1.weight"] is model[1].weight
    assert layers.computed(model)["2.weight"] is model[2].weight


def test_looking_disturbs_no_hook_and_no_mode():
    calls = []
    model = Plain(3, 4).train()
    model.register_forward_hook(lambda *_: calls.append(1))
    assert not layers.transforms(model)
    assert model.training
    assert not calls


def test_what_no_mask_reaches_is_named():
    model = nn.ModuleDict(
        {
            "lstm": nn.LSTM(3, 4),
            "attention": nn.MultiheadAttention(4, 2),
            "up": nn.ConvTranspose2d(3, 4, 2),
            "table": nn.Embedding(5, 4),
            "norm": nn.LayerNorm([4, 4]),
            "linear": nn.Linear(4, 4),
            "scale": nn.ParameterList([nn.Parameter(torch.ones(1, 1, 4))]),
        }
    )
    assert layers.unreached(model) == [
        Unreached("lstm.weight_ih_l0", "LSTM", 48),
        Unreached("lstm.weight_hh_l0", "LSTM", 64),
        Unreached("attention.in_proj_weight", "MultiheadAttention", 48),
        Unreached("up.weight", "ConvTranspose2d", 48),
        Unreached("table.weight", "Embedding", 20),
    ]
    assert layers.reach(masks.prunable(model).values(), model) == 32 / (32 + 48 + 64 + 48 + 48 + 20)


def test_the_experts_of_conditional_convolutions_are_most_of_a_model():
    with torch.device("meta"):
        model = timm.create_model("efficientnet_cc_b0_4e")
    assert {one.kind for one in layers.unreached(model)} == {"CondConv2d"}
    assert layers.reach(masks.prunable(model, classifier=True).values(), model) == pytest.approx(0.194, abs=1e-3)


def test_layers_are_chosen_by_what_they_are():
    with torch.device("meta"):
        model = timm.create_model("mobilenetv1_100")
    every, wide = masks.prunable(model, classifier=True), masks.prunable(model, classifier=True, depthwise=False)
    depthwise = [weight for name, weight in every.items() if name not in wide]
    assert sum(weight.numel() for weight in depthwise) == 44_640
    assert all(weight.shape[1] == 1 for weight in depthwise)
    without = masks.prunable(model, classifier=True, first=False)
    assert every.keys() - without.keys() == {layers.first_convolution(model)} == {"conv_stem.weight"}
    assert every.keys() - masks.prunable(model).keys() == layers.classifier_weights(model) == {"classifier.weight"}


def test_a_model_without_convolutions_has_no_first_one():
    assert layers.first_convolution(nn.Linear(2, 2)) == ""
    assert list(masks.prunable(nn.Linear(2, 2), first=False)) == ["weight"]

"""A layer with a trainable threshold: the official arithmetic, and the wrapper in a model."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from timm.models.beit import Attention
from torch import nn

from bench.errors import BenchError
from bench.seeds import generator
from methods._thresholded import Thresholded, centre_, sparsity_of, threshold_for, unwrap_, wrap_
from tests.toys import ToyNet, toy_batch

TABLE = {0.3: 0.3853, 0.5: 0.6745, 0.7: 1.0364, 0.9: 1.6449, 0.95: 1.96, 0.99: 2.5758}
SIZES = {"conv2.weight": 1152, "fc.weight": 1024}  # of the toy: its layers of 1000 weights and more


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=generator("adaptive", shape))


# The arithmetic


def official(weight: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    """The official chain in plain operations: hardshrink of W / theta with a straight-through gradient, times theta."""
    with torch.no_grad():
        weight.sub_(weight.mean())
    theta = r.clamp(0, 5) * weight.std().detach() + 1e-6
    scaled = weight / theta
    return theta * (scaled + (F.hardshrink(scaled, 1) - scaled).detach())


def layers() -> dict[str, nn.Module]:
    return {
        "linear": nn.Linear(12, 7).double(),
        "conv": nn.Conv2d(6, 4, 3, stride=2, padding=1, groups=2, bias=False).double(),
        "last": nn.Conv2d(6, 4, (3, 2)).double().to(memory_format=torch.channels_last),
    }


@pytest.mark.parametrize("name", list(layers()))
@pytest.mark.parametrize("r", [0.4, 1.3, 4.0, 0.0, 5.0, -0.5, 6.0])
def test_outputs_and_gradients_are_the_official_ones(name, r):
    ours, theirs = Thresholded(layers()[name], r), layers()[name]
    weight = 0.3 + normal(*ours.layer.weight.shape)
    for layer in (ours.layer, theirs):
        layer.weight.data.copy_(weight)
        if layer.bias is not None:
            layer.bias.data.fill_(0.1)
    x = normal(5, 12) if name == "linear" else normal(2, 6, 8, 8)
    their_r = torch.tensor(r, dtype=torch.float64, requires_grad=True)
    their_x, our_x = x.clone().requires_grad_(), x.clone().requires_grad_()
    wanted = torch.func.functional_call(theirs, {"weight": official(theirs.weight, their_r)}, (their_x,))
    got = ours(our_x)
    assert torch.allclose(got, wanted, rtol=0, atol=1e-10)
    for output in (got, wanted):
        output.sin().sum().backward()
    assert torch.allclose(ours.layer.weight, theirs.weight, rtol=0, atol=1e-12)
    assert torch.allclose(ours.layer.weight.grad, theirs.weight.grad, rtol=0, atol=1e-10)
    assert torch.allclose(ours.r.grad, their_r.grad, rtol=1e-10, atol=1e-10)
    assert torch.allclose(our_x.grad, their_x.grad, rtol=0, atol=1e-10)
    if 0 < r < 5:
        assert ours.r.grad != 0
    if not 0 <= r <= 5:
        assert ours.r.grad == 0


def test_survivors_are_the_weights_and_say_nothing_about_the_threshold():
    wrapped = Thresholded(nn.Linear(50, 20).double(), torch.tensor(1.0))
    live = wrapped.weight != 0
    assert 0.2 < live.double().mean() < 0.8
    assert torch.equal(wrapped.weight[live], wrapped.layer.weight[live])
    (wrapped.weight * normal(20, 50))[live].sum().backward()
    assert wrapped.r.grad == 0
    sigma, pruned, g = wrapped.layer.weight.detach().std(), wrapped.layer.weight.detach()[~live], normal(20, 50)[~live]
    (wrapped.weight * normal(20, 50))[~live].sum().backward()
    assert wrapped.r.grad == pytest.approx(-(sigma / (sigma + 1e-6) * (g * pruned).sum()).item(), abs=1e-10)


def test_the_normal_table_and_its_inverse():
    for sparsity, r in TABLE.items():
        assert threshold_for(sparsity) == pytest.approx(r, abs=1e-4)
        assert sparsity_of(threshold_for(sparsity)) == pytest.approx(sparsity, abs=1e-14)
    assert [sparsity_of(0.0), threshold_for(0.0)] == [0.0, 0.0]
    assert sparsity_of(5.0) == pytest.approx(0.99999943, abs=1e-8)
    r = torch.linspace(0, 5, 50, dtype=torch.float64)
    assert (sparsity_of(r).diff() > 0).all()
    assert sparsity_of(r).tolist() == pytest.approx([sparsity_of(x) for x in r.tolist()], abs=1e-15)
    assert torch.allclose(threshold_for(sparsity_of(r[:40])), r[:40], atol=1e-8)
    with pytest.raises(BenchError, match=r"`0 <= sparsity < 1` must hold, but got sparsity=1.0"):
        threshold_for(1.0)


@pytest.mark.parametrize("shape", [(64, 500), (8, 4, 3, 3), (3, 100_000)])
def test_centring_gives_torch_s_deviation(shape):
    weight = 0.5 + normal(*shape, dtype=torch.float32)
    last = weight.clone().to(memory_format=torch.channels_last) if weight.dim() == 4 else weight.clone()
    for w in (weight.clone(), last):
        assert centre_(w).item() == pytest.approx(weight.double().std().item(), rel=2e-6)
        assert abs(w.double().mean().item()) < 1e-6


@pytest.mark.parametrize("r", [0.3853, 1.2, 1.96])
def test_shares_pruned_of_normal_and_uniform_weights(r):
    """Counts within 5 standard deviations of their binomial: fails once in a million draws, and the draw is fixed."""
    n = 40_000
    for values, share in (
        (0.3 + 0.02 * normal(200, 200), sparsity_of(r)),
        (torch.rand(200, 200, dtype=torch.float64, generator=generator("uniform")), min(1.0, r / math.sqrt(3))),
    ):
        layer = nn.Linear(200, 200).double()
        layer.weight.data.copy_(values)
        got = (Thresholded(layer, r).weight == 0).double().mean().item()
        assert abs(got - share) <= 5 * math.sqrt(share * (1 - share) / n)


@pytest.mark.parametrize(("scale", "shift"), [(1000.0, 0.0), (1.0, 3.0), (8.0, -20.0)])
def test_scale_and_shift_do_not_change_the_mask(scale, shift):
    wrapped, moved = (Thresholded(nn.Linear(100, 30).double(), 0.9) for _ in range(2))
    wrapped.layer.weight.data.copy_(normal(30, 100))
    moved.layer.weight.data.copy_(scale * normal(30, 100) + shift)
    assert torch.equal(wrapped.weight != 0, moved.weight != 0)


def test_threshold_zero_is_the_layer_but_for_its_mean():
    layer, x = nn.Conv2d(3, 8, 3).double(), normal(2, 3, 6, 6)
    centred = F.conv2d(x, layer.weight - layer.weight.mean(), layer.bias)
    assert torch.allclose(Thresholded(layer, 0.0)(x), centred, atol=1e-4)


# The wrapper


def test_a_wrapper_is_its_layer_to_whoever_asks():
    layer = nn.Linear(6, 4)
    wrapped = Thresholded(layer, 0.5)
    assert (wrapped.in_features, wrapped.out_features, wrapped.bias) == (6, 4, layer.bias)
    assert set(dict(wrapped.named_parameters())) == {"r", "layer.weight", "layer.bias"}
    with pytest.raises(AttributeError, match="nothing"):
        _ = wrapped.nothing


def test_a_copy_is_another_model():
    model = ToyNet()
    wrap_(model, SIZES, 0.7)
    other, (x, _) = copy.deepcopy(model).eval(), toy_batch("copy")
    before = model.eval()(x)
    with torch.no_grad():
        other.fc.r.fill_(3.0)
    assert torch.equal(model(x), before)
    assert not torch.equal(other(x), before)


def test_a_weight_that_its_owner_reads_is_thresholded():
    """BEiT's attention calls F.linear on its projection's weight, past the projection."""
    model = nn.Sequential(Attention(32, num_heads=2, qkv_bias=True))
    model[0].q_bias.data.normal_(generator=generator("bias"))
    wrap_(model, ["0.qkv.weight"], 1.0)
    x = normal(2, 5, 32, dtype=torch.float32)
    plain = copy.deepcopy(model)
    plain[0].qkv.layer.weight.data.copy_(plain[0].qkv.weight.detach())
    unwrap_(plain)
    assert torch.allclose(model(x), plain(x), atol=1e-6)
    model(x).sum().backward()
    assert model[0].qkv.r.grad != 0

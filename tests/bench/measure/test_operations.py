import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from bench.measure import macs


def test_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 10))
    assert macs(model, (64, 3, 4, 4)) == {"0.weight": 8 * 3 * 9 * 16, "3.weight": 10 * 8 * 16, "": 0}


def test_a_bare_layer():
    assert macs(nn.Conv2d(2, 4, 1, bias=False), (1, 2, 3, 3)) == {"weight": 4 * 2 * 9, "": 0}


@pytest.mark.parametrize(
    ("name", "size", "gmacs"),
    # counts of torch's own counter on the meta device, GMACs
    [("resnet50", 224, 4.089), ("vit_small_patch16_224", 224, 4.599), ("mobilenetv3_large_100", 224, 0.217)],
)
def test_known_models_need_no_weights(name, size, gmacs):
    with torch.device("meta"):
        model = timm.create_model(name)
    found = macs(model, (32, 3, size, size))
    assert sum(found.values()) / 1e9 == pytest.approx(gmacs, abs=5e-4)
    assert (found[""] > 0) == name.startswith("vit")  # attention's products belong to no weight


def test_attention_belongs_to_no_weight():
    with torch.device("meta"):
        model = timm.create_model("vit_small_patch16_224")
    tokens, width, depth = 197, 384, 12
    assert macs(model, (1, 3, 224, 224))[""] == depth * 2 * tokens * tokens * width


def test_weights_that_attention_borrows_from_its_layers():
    with torch.device("meta"):
        model = timm.create_model("beit_base_patch16_224")
    tokens, width = 197, 768
    assert macs(model, (1, 3, 224, 224))["blocks.0.attn.qkv.weight"] == tokens * width * 3 * width


class Branching(nn.Module):
    """Looks at values, which the meta device has none of."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) if x.sum() == 0 else x


def test_control_flow_on_values_is_counted_on_the_cpu_with_attention():
    inner = timm.create_model("test_vit")
    direct, fallen_back = macs(inner, (1, 3, 160, 160)), macs(Branching(inner), (1, 3, 160, 160))
    assert fallen_back == {f"inner.{name}" if name else "": count for name, count in direct.items()}
    assert direct[""] > 0
    assert all(block.attn.fused_attn for block in inner.blocks)


class Tied(nn.Module):
    """Two layers with one weight, one layer called twice, one never, one weight borrowed by a function, one bare."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.twice, self.unused = (nn.Linear(4, 4) for _ in range(4))
        self.lender = nn.Conv2d(4, 2, 1)
        self.b.weight = self.a.weight
        self.again = self.twice
        self.bare = nn.Parameter(torch.ones(4, 4))

    def forward(self, x):
        x = self.b(self.a((x + F.conv2d(x, weight=self.lender.weight).sum()).flatten(1)))
        return F.linear(self.again(self.twice(x)), self.bare)


def test_shared_reused_unused_borrowed_and_bare_weights():
    assert macs(Tied(), (1, 4, 1, 1)) == {
        "a.weight": 32,
        "twice.weight": 32,
        "unused.weight": 0,
        "lender.weight": 8,
        "": 16,
    }


def test_the_model_is_left_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(2, 3, 8, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    macs(model, (1, 3, 8, 8))
    assert model.training
    assert all(m.training for m in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())

"""Models by name: seeded initialisation, input sizes found by themselves, plans, and one line for each mistake."""

import json
import random

import numpy as np
import pytest
import torch

from bench import models
from bench.channels import plan as plans
from bench.errors import BenchError, Corrupt
from bench.models.sizes import input_size, refusal


def make(name: str = "test_efficientnet", **values: object) -> tuple[torch.nn.Module, int]:
    return models.create(name, **{"classes": 10, "channels": 3, "image_size": 32, "seed": 0, **values})  # type: ignore[arg-type]


def test_names_are_timms_and_ours() -> None:
    assert {"resnet18", "cifar_resnet20", "lenet5"} <= set(models.names())
    assert models.names("cifar_vgg*") == ["cifar_vgg16_bn", "cifar_vgg19_bn"]
    assert models.names("no such*") == []
    assert set(models.families()) < set(models.names())
    assert "resnet18" not in models.families()


@pytest.mark.parametrize("name", ["test_efficientnet", "cifar_resnet20b", "lenet_300_100"])
def test_the_seed_alone_decides_the_weights(name: str) -> None:
    torch.manual_seed(1)
    one, _ = make(name)
    torch.manual_seed(2)
    same, _ = make(name)
    other, _ = make(name, seed=1)
    pairs = zip(one.state_dict().values(), same.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_global_generators_are_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    refusal.cache_clear()
    input_size.cache_clear()
    model, size = make("cifar_resnet20")
    plans.rebuild(plans.plan(model, "cifar_resnet20", classes=10, channels=3, image_size=size))
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_convnext", "swin_tiny_patch4_window7_224"])
def test_the_model_trains_on_the_size_found(name: str) -> None:
    model, size = make(name, channels=1, classes=4)
    assert model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    model(torch.randn(2, 1, size, size)).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_a_wish_is_followed_or_refused() -> None:
    assert make("test_vit", wanted_size=64)[1] == 64
    with pytest.raises(BenchError, match=r"vit_tiny_patch16_224 cannot process 3 x 30 x 30 \(its patches of 16 pixels"):
        make("vit_tiny_patch16_224", wanted_size=30)
    with pytest.raises(BenchError, match=r"lenet5 cannot process 3 x 8 x 8 \(ValueError: LeNet-5 needs at least 16"):
        make("lenet5", wanted_size=8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18_", "did you mean 'resnet18'"),
        ("cifar_resnet_20", "did you mean 'cifar_resnet20'"),
        ("resnet18.a1_in2k", "did you mean 'resnet18.a1_in1k'"),
        ("", "no model ''"),
    ],
)
def test_unknown_names_get_the_nearest(name: str, message: str) -> None:
    with pytest.raises(BenchError, match=message) as caught:
        models.check(name)
    assert "\n" not in str(caught.value)


def test_known_names_pass() -> None:
    for name in (
        "resnet18",
        "resnet18.a1_in1k",
        "cifar_vgg16_bn",
        "resnet18.a1_in1k:drop_path_rate=0.1",
        *WITH_ARGUMENTS,
    ):
        models.check(name)


def test_a_family_without_pretrained_weights_says_so() -> None:
    with pytest.raises(BenchError, match="cifar_resnet20 has none there; give a"):
        make("cifar_resnet20", pretrained=True)


WITH_ARGUMENTS = ["cifar_resnet20:width=0.5", "test_resnet:channels=(8,8,16,16),stem_width=4", "test_vit:width=0.5"]


@pytest.mark.parametrize(
    ("name", "image_size"),
    [("test_vit", 32), ("lenet5", 28), ("cifar_resnet20b", 32), *((text, 32) for text in WITH_ARGUMENTS)],
)
def test_a_plan_and_weights_give_the_model_back(name: str, image_size: int, tmp_path) -> None:  # type: ignore[no-untyped-def]
    model, size = make(name, image_size=image_size, channels=1, seed=3)
    plan = plans.plan(model, name, classes=10, channels=1, image_size=size)
    models.save_weights(model, tmp_path / "model.safetensors")
    again = plans.rebuild(json.loads(json.dumps(plan)))
    models.load_weights(again, tmp_path / "model.safetensors")
    images = torch.randn(2, 1, size, size)
    assert torch.equal(model.eval()(images), again.eval()(images))


def test_a_plan_holds_name_and_arguments_apart() -> None:
    model, size = make("cifar_resnet20:width=0.5")
    plan = plans.plan(model, "cifar_resnet20:width=0.5", classes=10, channels=3, image_size=size)
    shape = {"classes": 10, "channels": 3, "image_size": 32}
    assert plan == {"model": "cifar_resnet20", "arguments": {"width": 0.5}, **shape}
    old = plans.rebuild({"model": "cifar_resnet20", **shape})  # as plans were before they had arguments
    assert old.num_features == 2 * plans.rebuild(plan).num_features == 64


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar_resnet20:widht=0.5", "no argument of cifar_resnet20 'widht'; did you mean 'width'?"),
        ("ecaresnet50d_pruned:width=0.5", "no argument of ecaresnet50d_pruned 'width'; "),
        ("mixer_s16_224:width=0.5", "no argument of mixer_s16_224 'width'; .*there are: .*embed_dim"),
        ("cifar_resnet20:width=0", r"cannot be built \(ValueError: `0 < width <= 100` must hold, but got width=0\)"),
        ("test_vit:embed_dim=63", "arguments must suit their model, but test_vit:embed_dim=63 cannot be built"),
        ("cifar_resnet_20:width=1", "did you mean 'cifar_resnet20'"),
        ("cifar_resnet20:num_classes=3", "got num_classes in .*; the task and `image_size` decide it"),
        ("cifar_resnet20:0.5", "a model is written name or name:argument=value,argument=value, but got"),
    ],
)
def test_arguments_that_a_model_does_not_take_get_one_line(name: str, message: str) -> None:
    with pytest.raises(BenchError, match=message) as caught:
        models.check(name)
    assert "\n" not in str(caught.value)


def test_a_plan_must_describe_its_model() -> None:
    model, size = make("cifar_resnet20")
    with pytest.raises(BenchError, match=r"layer2\.0\.shortcut\.0\.weight.* are not as in cifar_resnet20b"):
        plans.plan(model, "cifar_resnet20b", classes=10, channels=3, image_size=size)
    with pytest.raises(BenchError, match=r"conv1\.weight.* are not as in cifar_resnet20:width=0\.5"):
        plans.plan(model, "cifar_resnet20:width=0.5", classes=10, channels=3, image_size=size)
    with pytest.raises(
        Corrupt, match="must have the keys model, arguments, classes, channels, image_size, but got model"
    ):
        plans.rebuild({"model": "cifar_resnet20"})

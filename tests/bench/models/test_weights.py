"""Weights on disk: the same bytes for the same weights, strict loading, and one line for each thing that can be wrong."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from bench import models
from bench.errors import BenchError, Corrupt, MissingData

PRETRAINED = Path(__file__).parents[4] / "shared" / "pretrained"
FILE = Path("model.safetensors")


def resnet(name: str = "cifar_resnet20", **arguments: int) -> torch.nn.Module:
    model: torch.nn.Module = timm.create_model(name, **arguments)
    return model


def test_what_is_saved_is_loaded() -> None:
    model, other = resnet(), resnet()
    model(torch.randn(4, 3, 32, 32))  # moves the batch norms' statistics
    digest = models.save_weights(model, FILE)
    models.load_weights(other, FILE)
    for (name, a), b in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert models.save_weights(other, Path("again.safetensors")) == digest
    assert models.save_weights(resnet(), Path("other.safetensors")) != digest
    assert FILE.read_bytes() == Path("again.safetensors").read_bytes()


def test_the_memory_format_does_not_change_the_file() -> None:
    model = resnet()
    assert models.save_weights(model, FILE) == models.save_weights(model.to(memory_format=torch.channels_last), FILE)


def test_files_without_the_batch_norms_counters_load() -> None:
    model = resnet()
    save_file({k: v for k, v in model.state_dict().items() if "num_batches" not in k}, FILE)
    models.load_weights(resnet(), FILE)


@pytest.mark.parametrize("broken", [b"", b"not safetensors", None])
def test_a_broken_file_is_corrupt(broken: bytes | None) -> None:
    models.save_weights(resnet(), FILE)
    FILE.write_bytes(FILE.read_bytes()[:-100] if broken is None else broken)
    with pytest.raises(Corrupt, match=r"model\.safetensors is not a whole file of safetensors"):
        models.load_weights(resnet(), FILE)


def test_a_missing_file_is_missing_data() -> None:
    with pytest.raises(MissingData, match="no weights at nowhere"):
        models.load_weights(resnet(), "nowhere.safetensors")


def test_another_number_of_classes_is_named_as_such() -> None:
    models.save_weights(resnet(), FILE)
    with pytest.raises(BenchError, match="made for 10 classes and the model has 100"):
        models.load_weights(resnet(num_classes=100), FILE)


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("cifar_resnet32", {}, r"layer1.3.conv1.weight is missing"),
        ("cifar_resnet20", {"in_chans": 1}, r"conv1.weight is 16x3x3x3, not 16x1x3x3 \(1 in all\)"),
        ("lenet5", {}, r"conv1.weight is 16x3x3x3, not 20x1x5x5"),
    ],
)
def test_other_weights_are_refused_and_change_nothing(name: str, arguments: dict[str, int], told: str) -> None:
    models.save_weights(resnet(), FILE)
    model = resnet(name, **arguments)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(BenchError, match=told) as caught:
        models.load_weights(model, FILE)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.cifar
@pytest.mark.skipif(not PRETRAINED.is_dir(), reason="the trained ResNets are not beside the checkout")
@pytest.mark.parametrize("layers", [20, 32, 44, 56])
def test_the_trained_resnets_load(layers: int) -> None:
    model = resnet(f"cifar_resnet{layers}")
    models.load_weights(model, PRETRAINED / f"cifar10_resnet{layers}.safetensors")
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def other(state: dict[str, torch.Tensor], **values: torch.Tensor) -> dict[str, torch.Tensor]:
    return {**state, **{name.replace("__", "."): value for name, value in values.items()}}


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.int64, torch.bool, torch.float8_e4m3fn])
def test_weights_that_are_no_floats_are_refused_by_name(dtype: torch.dtype) -> None:
    state = resnet().state_dict()
    save_file(other(state, conv1__weight=state["conv1.weight"].to(dtype)), FILE)
    with pytest.raises(BenchError, match=r"conv1.weight is (u?int|bool|float8)\w*: its scale is not there"):
        models.load_weights(resnet(), FILE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_load(dtype: torch.dtype) -> None:
    state, model = resnet().state_dict(), resnet()
    save_file({k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}, FILE)
    assert models.load_weights(model, FILE) == ()
    torch.testing.assert_close(model.state_dict()["conv1.weight"], state["conv1.weight"], atol=1e-2, rtol=1e-2)
    with torch.no_grad():
        model.conv1.weight[0, 0, 0, 0] = torch.nan
    models.save_weights(model, FILE)
    with pytest.raises(BenchError, match=r"conv1.weight has NaN or infinity"):
        models.load_weights(resnet(), FILE)


@pytest.mark.parametrize("beside", [True, False])
def test_weights_of_a_smaller_model_need_its_plan(tmp_path: Path, beside: bool) -> None:
    path = tmp_path / "model.safetensors"
    models.save_weights(resnet("cifar_resnet20", width=0.5), path)
    told = "the plan of the channels that are left is missing; a run writes it as plan.json"
    if beside:
        (tmp_path / "plan.json").write_text("{}")
        told = f"its plan is {tmp_path}/plan.json: .* start=run:{tmp_path.name}"
    with pytest.raises(
        BenchError, match=rf"fewer channels \(bn1.bias is 8, not 16\), as those of a pruned model.*{told}"
    ):
        models.load_weights(resnet(), path)

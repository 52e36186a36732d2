"""Weights in files as people have them: recognised and loaded without unpickling, or refused with the way to convert them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn.utils import prune

from bench import models
from bench.errors import BenchError, Corrupt

State = dict[str, torch.Tensor]


def net() -> torch.nn.Module:
    model: torch.nn.Module = timm.create_model("cifar_resnet20")
    return model


def equal(model: torch.nn.Module, state: State) -> bool:
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def under(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + name: value for name, value in state.items()}


FORMS: dict[str, tuple[Callable[[State], Any], str]] = {
    "bare": (dict, ""),
    "state_dict": (lambda s: {"state_dict": s, "epoch": 3, "arch": "x"}, "taken from state_dict of the file"),
    "model": (lambda s: {"model": s, "optimizer": {"state": {}}}, "taken from model of"),
    "ema alone": (lambda s: {"model_ema": s, "epoch": 1}, "taken from model_ema of"),
    "both": (
        lambda s: {"model": s, "model_ema": {k: v * 0 for k, v in s.items()}},
        "model of the file, which has model_ema",
    ),
    "nested": (lambda s: {"state_dict": {"model": s}}, "taken from state_dict.model of"),
    "module.": (under("module."), "prefixes taken off the names: module."),
    "_orig_mod.": (under("_orig_mod."), "names: _orig_mod."),
    "model.": (under("model."), "names: model."),
    "backbone.": (under("backbone."), "names: backbone."),
    "several": (lambda s: {"model": under("module._orig_mod.")(s)}, "names: module._orig_mod."),
    "two kinds": (
        lambda s: {("module." if k.startswith("conv1") else "backbone.") + k: v for k, v in s.items()},
        "names: backbone., module.",
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", ["pth", "pt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch_are_read(tmp_path: Path, form: str, suffix: str, zipped: bool) -> None:
    path, state, model = tmp_path / f"a.{suffix}", net().state_dict(), net()
    wrap, told = FORMS[form]
    torch.save(wrap(state), path, _use_new_zipfile_serialization=zipped)
    notes = models.load_weights(model, path)
    assert equal(model, state)
    assert told in "; ".join(notes)
    assert bool(notes) == bool(told)
    assert models.read_metadata(path) == {}


def test_prefixes_in_safetensors_are_taken_off_too(tmp_path: Path) -> None:
    state, model = net().state_dict(), net()
    save_file(under("model.")(state), tmp_path / "a.safetensors")
    assert models.load_weights(model, tmp_path / "a.safetensors") == ("prefixes taken off the names: model.",)
    assert equal(model, state)
    save_file({**under("module.")(state), "conv1.weight": state["conv1.weight"].clone()}, tmp_path / "a.safetensors")
    with pytest.raises(BenchError, match=r"has conv1\.weight with and without a prefix; remove one"):
        models.load_weights(net(), tmp_path / "a.safetensors")
    save_file({**under("student.")(state)}, tmp_path / "a.safetensors")
    with pytest.raises(BenchError, match=r"conv1\.weight is missing"):
        models.load_weights(net(), tmp_path / "a.safetensors")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_masks_of_torchs_own_pruning_are_applied(tmp_path: Path, prefix: str) -> None:
    pruned, model = net(), net()
    prune.l1_unstructured(pruned.conv1, "weight", amount=0.5)
    prune.random_unstructured(pruned.layer1[0].conv1, "weight", amount=0.25)
    torch.save(under(prefix)(pruned.state_dict()), tmp_path / "a.pth")
    notes = models.load_weights(model, tmp_path / "a.pth")
    assert notes[-1] == "2 masks of torch.nn.utils.prune applied to their weights"
    assert torch.equal(model.conv1.weight, pruned.conv1.weight)
    assert int((model.conv1.weight == 0).sum()) == model.conv1.weight.numel() // 2
    assert torch.equal(model.layer1[0].conv1.weight, pruned.layer1[0].conv1.weight)


WRAPPED = pytest.param(lambda m: {"model": m, "epoch": 1}, id="wrapped", marks=pytest.mark.slow)  # 4 s: an interpreter


@pytest.mark.parametrize("wrap", [pytest.param(lambda m: m, id="model"), WRAPPED])
def test_a_pickled_model_is_refused_with_the_line_that_converts_it(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    path, saved = tmp_path / "a.pth", net()
    torch.save(wrap(saved), path)
    with pytest.raises(
        BenchError, match=r"holds pickled objects \(bench\S+\); if you trust where it is from: "
    ) as caught:
        models.load_weights(net(), path)
    code = str(caught.value).partition('python -c "')[2].removesuffix('"')
    subprocess.run([sys.executable, "-c", f"import bench.models; {code}"], check=True)
    model = net()
    models.load_weights(model, tmp_path / "a.safetensors")
    assert equal(model, saved.state_dict())


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 94\n"


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "bin"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (LFS, "a pointer of Git LFS, not the weights; fetch them: git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"<HTML>", "a web page"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"GGUF\3\0", "GGUF"),
        (b"\x93NUMPY\1\0", "an array of NumPy"),
        (b"bench-checkpoint-1 0123\n", "a checkpoint of an unfinished run"),
    ],
)
def test_what_is_no_file_of_weights_is_named(tmp_path: Path, content: bytes, told: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(BenchError, match=rf"but {path} is .*{told}") as caught:
        models.load_weights(net(), path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "found", [{}, {"epoch": 3}, [1, 2], {"optimizer": {"state": {}}}, {"state_dict": {}}, torch.ones(3)]
)
def test_a_file_without_weights_says_what_it_holds(tmp_path: Path, found: Any) -> None:
    torch.save(found, tmp_path / "a.pth")
    with pytest.raises(BenchError, match=r"tensors by name, but .* holds .*; save model\.state_dict\(\)"):
        models.load_weights(net(), tmp_path / "a.pth")


@pytest.mark.parametrize("keep", [20, 1000, -50])
def test_a_file_of_torch_that_was_cut_short_is_corrupt(tmp_path: Path, keep: int) -> None:
    torch.save(net().state_dict(), tmp_path / "a.pth")
    whole = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(whole[:keep])
    with pytest.raises(Corrupt, match=r"a\.pth is not a whole file of torch"):
        models.load_weights(net(), tmp_path / "a.pth")

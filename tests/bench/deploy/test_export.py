"""Finished models handed out: the same outputs in a new process, in ONNX Runtime and after `torch.export`; or one line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import bench
from bench import masks, models
from bench.channels import plan as plans
from bench.cli import main
from bench.deploy import export, load, onnx_runtime
from bench.errors import BenchError
from bench.records.files import write_json
from bench.records.home import Home
from bench.records.reading import to_text
from bench.run import new_run
from bench.seeds import generator
from bench.training.execute import execute
from tests.records import run_record

STRUCTURED = ("depgraph", "model=test_resnet", "sparse=false")
TINY = ("epochs=1", "batch=256", "augment=false", "threads=1")
LOAD = "from bench import load; import hashlib, sys, torch; torch.set_num_threads(1); model = load(sys.argv[1])"
HASH = "print(hashlib.sha256(model(torch.load(sys.argv[2])).detach().numpy().tobytes()).hexdigest())"


def batch(folder: Path, count: int = 5) -> Tensor:
    plan = json.loads((folder / "plan.json").read_text())
    shape = (count, plan["channels"], plan["image_size"], plan["image_size"])
    return torch.randn(shape, generator=generator("export", "test"))


def run_of(home: Path, method: str, *settings: str) -> tuple[Path, nn.Module]:
    """The folder of a finished run, and the very model that was finished, in the memory format of files and of users."""
    finished = list[nn.Module]()
    with pytest.MonkeyPatch.context() as patch:
        save = models.save_weights
        patch.setattr(
            models, "save_weights", lambda model, path, *more: finished.append(model) or save(model, path, *more)
        )
        home = Home(home, home / "data")
        record = execute(new_run(method, [*settings, *TINY]), home)
    (model,) = finished
    return home.records.run(record.id), model.to(memory_format=torch.contiguous_format).eval()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    return run_of(tmp_path_factory.mktemp("home"), *STRUCTURED)


@pytest.fixture
def folder(made: tuple[Path, nn.Module], tmp_path: Path) -> Path:
    """A copy of the run's folder, to be damaged."""
    return shutil.copytree(made[0], tmp_path / "copy")


def digest(outputs: Tensor) -> str:
    return hashlib.sha256(outputs.detach().numpy().tobytes()).hexdigest()


def in_new_process(folder: Path, images: Tensor, at: Path) -> str:
    torch.save(images, at / "images.pt")
    words = [sys.executable, "-c", f"{LOAD}; {HASH}", str(folder), str(at / "images.pt")]
    return subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ}).stdout.strip()


def told(*words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command refuses with."""
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    with pytest.raises(SystemExit):
        main.main()
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.slow
def test_a_new_process_loads_the_model_with_the_same_outputs(made: tuple[Path, nn.Module], tmp_path: Path) -> None:
    folder, model = made
    images = batch(folder)
    assert sum(p.numel() for p in model.parameters()) < 300_000  # of 373,370: it is physically smaller
    assert in_new_process(folder, images, tmp_path) == digest(model(images))


def test_exported_files_compute_what_the_model_does(made: tuple[Path, nn.Module], tmp_path: Path) -> None:
    folder, model = made
    found = export.export(folder, tmp_path / "out", seconds=0)
    assert found == json.loads((tmp_path / "out" / "export.json").read_text())
    files = {p.name: p for p in (tmp_path / "out").iterdir() if p.name != "export.json"}
    assert sorted(files) == sorted(found["files"]) == ["model.onnx", "model.pt2"]
    for name, file in found["files"].items():
        assert file["sha256"] == hashlib.sha256(files[name].read_bytes()).hexdigest()
        assert str(Path(torch.__file__).parent).encode() not in files[name].read_bytes()  # no paths of this machine
    session = onnxruntime.InferenceSession(files["model.onnx"], providers=["CPUExecutionProvider"])
    graph = torch.export.load(files["model.pt2"]).module()
    for count in (1, 7):
        images = batch(folder, count)
        wanted = model(images)
        assert torch.allclose(torch.from_numpy(session.run(None, {"images": images.numpy()})[0]), wanted, atol=1e-5)
        assert torch.allclose(graph(images), wanted, atol=1e-5)
    assert found["input"] == [None, 1, 32, 32]
    assert found["dense"]["parameters"] > found["parameters"] == found["parameters_nonzero"]
    assert found["dense"]["bytes"] > found["files"]["model.onnx"]["bytes"]
    assert [row["batch"] for row in found["latency"]] == [1, 256]
    assert all(row["model"]["n"] > 0 and row["dense"]["n"] > 0 and row["speedup"] > 0 for row in found["latency"])


@pytest.mark.slow
def test_a_masked_model_is_exported_with_its_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "masked"
    model, size = models.create("test_resnet", classes=10, channels=1, image_size=32, seed=0)
    write_json(folder / "plan.json", plans.plan(model, "test_resnet", classes=10, channels=1, image_size=size))
    with torch.no_grad():
        for weight in masks.prunable(model).values():
            weight.mul_(weight.abs() > weight.abs().median())
    models.save_weights(model, folder / "model.safetensors")
    monkeypatch.setattr(
        sys, "argv", ["bench", "export", str(folder), "--seconds", "0", "--out", "out", "--formats", "onnx"]
    )
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 0
    assert "masked, not removed: it is neither smaller nor faster" in capsys.readouterr().out
    found = json.loads(Path("out/export.json").read_text())
    assert found["parameters"] == found["dense"]["parameters"]
    assert [sorted(row) for row in found["latency"]] == 2 * [["batch", "model"]]  # nothing is called a speed-up
    weights = onnx_weights(Path("out/model.onnx"))
    assert sum(int((w == 0).sum()) for w in weights) >= 0.9 * (found["parameters"] - found["parameters_nonzero"]) > 1e5


def onnx_weights(path: Path) -> list[Any]:
    import onnx
    from onnx import numpy_helper

    return [numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer]


def test_a_file_that_computes_something_else_is_not_written(folder: Path, tmp_path: Path) -> None:
    state = safetensors.torch.load_file(folder / "model.safetensors")
    state["fc.weight"][3] = 3e38  # finite, but not what comes of it
    safetensors.torch.save_file(state, folder / "model.safetensors")
    (folder / "record.json").unlink()  # it has the sum of the file as it was
    with pytest.raises(BenchError, match=r"must have the model's outputs .* differs by nan; nothing was written"):
        export.export(folder, tmp_path / "out", ("pt2",), seconds=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy"]


def test_differences_are_relative_to_the_largest_output() -> None:
    wanted = torch.tensor([[1.0, -4.0]])
    assert export.difference(wanted, torch.tensor([[1.0, -3.0]])) == 0.25
    assert export.difference(0 * wanted, 0 * wanted) == 0
    assert export.difference(wanted, wanted / 0) == float("inf")


def test_a_missing_package_is_told_with_its_remedy(
    made: tuple[Path, nn.Module], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def found(name: str) -> ModuleSpec | None:
        return None if name == "onnxscript" else find_spec(name)

    monkeypatch.setattr(export, "find_spec", found)
    line = told("export", str(made[0]), monkeypatch=monkeypatch, capsys=capsys)
    assert "onnxscript cannot be imported; pip install 'prunebench[export]'" in line


def flip(folder: Path) -> None:
    """One bit of one weight."""
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1000] ^= 1
    (folder / "model.safetensors").write_bytes(data)


def planned(**changes: Any) -> Callable[[Path], None]:
    """A plan with other values."""

    def change(folder: Path) -> None:
        plan = json.loads((folder / "plan.json").read_text())
        (folder / "plan.json").write_text(json.dumps({**plan, **changes}))

    return change


def written(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def lost(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


DAMAGE = [
    (flip, "the SHA-256 of"),
    (lost, "a study's trials keep none"),
    (written("model.safetensors", "no"), "the SHA-256 of"),
    (written("plan.json", "{"), "is not valid JSON"),
    (written("plan.json", "[1]"), "must describe a model"),
    (written("plan.json", '{"model": "test_resnet"}'), "a plan must have the keys"),
    (written("record.json", "[]"), "a RunRecord must be an object in JSON"),
    (written("record.json", to_text(run_record("a", status="failed", reason="died"))), "failed: died"),
    (planned(model="test_resnt"), "did you mean 'test_resnet'"),
    (planned(model=3), "must describe the model of its weights"),
    (planned(model="test_vit"), "VisionTransformer has no attribute"),
    (planned(arguments=[1]), "must describe the model of its weights"),
    (planned(classes="ten"), "must describe the model of its weights"),
    (planned(image_size=-3), "image_size=-3"),
    (planned(kept={"conv1.9.weight": {"0": [0]}}), "must describe the model of its weights"),
    (planned(kept={"conv1.0.weight": {"0": [0, 99]}}), "must describe the model of its weights"),
    (planned(kept={"conv1.0.weight": {"zero": "all"}}), "must describe the model of its weights"),
    (planned(kept=7), "must describe the model of its weights"),
    (planned(kept={}), "weights must fit the model"),
    (planned(kept={}, model="test_vit"), "weights must fit the model"),
]


@pytest.mark.parametrize(("damage", "wanted"), DAMAGE, ids=lambda v: v if isinstance(v, str) else "")
def test_what_was_damaged_is_told_in_one_line(
    damage: Callable[[Path], None],
    wanted: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(folder)
    assert wanted in told("load", str(folder), monkeypatch=monkeypatch, capsys=capsys)


@pytest.mark.parametrize("command", ["load", "export"])
def test_an_unknown_run_is_told(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = told(command, "123456789abc", monkeypatch=monkeypatch, capsys=capsys)
    assert "'123456789abc' is no folder and none of the 0 runs" in line


def test_plan_and_weights_are_enough(folder: Path, made: tuple[Path, nn.Module]) -> None:
    (folder / "record.json").unlink()
    images = batch(folder)
    assert sum(p.numel() for p in made[1].parameters()) < 300_000  # of 373,370: it is physically smaller
    assert digest(bench.load(folder)(images)) == digest(made[1](images))


def test_load_says_what_the_model_is_and_how_to_have_it(
    made: tuple[Path, nn.Module], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, model = made
    monkeypatch.setenv("BENCH_HOME", str(folder.parent.parent))
    monkeypatch.setattr(sys, "argv", ["bench", "load", folder.name])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert f"model = load('{folder.name}')" in out
    assert f"{sum(p.numel() for p in model.parameters()):,} of 373,370" in out
    left = sum(len(m.weight) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
    assert f"{left:,} of 1,050 outputs" in out


def test_importing_the_package_imports_no_torch() -> None:
    script = "import bench, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "False"


CASES = [(method, model) for method in ("depgraph", "otov2") for model in ("test_vit", "test_convnext")]
CASES += [(m, model) for m in ("depgraph", "otov2", "gate_decorator") for model in ("test_resnet", "test_efficientnet")]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "model"), CASES)
def test_models_that_lost_channels_are_handed_out_as_they_were(method: str, model: str, tmp_path: Path) -> None:
    folder, finished = run_of(tmp_path / "home", method, f"model={model}")
    images = batch(folder)
    assert in_new_process(folder, images, tmp_path) == digest(finished(images))
    found = export.export(folder, tmp_path / "out", seconds=0)
    assert found["parameters"] < found["dense"]["parameters"]
    assert found["input"][0] is None
    assert {each["images"] for each in found["parity"].values()} == {17}
    assert load.read(folder).channels()[3] > 0


@pytest.mark.slow
def test_weights_too_large_for_one_file_lie_beside_it(
    made: tuple[Path, nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_runtime, "LARGEST", 0)
    found = export.export(made[0], tmp_path / "out", ("onnx",), seconds=0)
    assert sorted(found["files"]) == ["model.onnx", "model.onnx.data"]
    images = batch(made[0])
    outputs = onnx_runtime.session(tmp_path / "out" / "model.onnx", 1)(images)
    assert torch.allclose(outputs, made[1](images), atol=1e-5)


@pytest.mark.slow
def test_code_that_fixes_the_batch_is_exported_for_single_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[i].mean() * torch.ones(10) for i in range(len(x))])

    monkeypatch.setattr(plans, "rebuild", lambda plan: Counting())
    monkeypatch.setattr(models, "load_weights", lambda model, path: None)
    found = export.export(folder, folder / "out", seconds=0)
    assert found["input"] == [1, 1, 32, 32]
    assert [row["batch"] for row in found["latency"]] == [1]

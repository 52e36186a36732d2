"""Evaluating a checkpoint: its outputs mean the classes that it was trained on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.datasets import ImageFolder

from bench.cli import evaluation
from bench.cli.terminal import console
from bench.errors import BenchError
from bench.records.files import read_json, write_json
from bench.records.home import Home
from bench.run import new_run
from bench.tasks.images import earlier_order
from bench.training.execute import execute

CLASSES = [str(number) for number in range(12)]
HUES = {name: tuple(np.random.default_rng(int(name)).integers(0, 256, 3)) for name in CLASSES}
SETTINGS = ["model=test_resnet", "image_size=32", "workers=0", "device=cpu"]
HEAD = ("fc.weight", "fc.bias")


def paint(folder: Path) -> Path:
    """Folders named 0 to 11 of images in a colour of their own, as a user brings them."""
    for part, count in (("train", 6), ("test", 1)):
        for name, hue in HUES.items():
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (32, 32), hue).save(folder / part / name / f"{number}.png")
    return folder


@dataclass(frozen=True)
class Trained:
    folder: Path
    home: Home
    run: str

    @property
    def files(self) -> Path:
        return self.home.records.run(self.run)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """A run on such a folder, whose classifier is then set so that it knows a class of each colour exactly."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    folder = paint(tmp_path / "set")
    run = new_run("dense", [f"task=folder:{folder}", "epochs=1", "batch=36", "lr=0.001", *SETTINGS])
    record = execute(run, Home())
    assert record.provenance.data["classes"] == sorted(CLASSES)
    return Trained(folder, Home(), record.id)


def shown(what: str, settings: list[str]) -> tuple[float, str]:
    """The top-1 on test, and all that is printed."""
    with console.capture() as capture:
        evaluation.evaluate(what, settings, "test")
    text = capture.get()
    (top1,) = [float(line.split()[1]) for line in text.splitlines() if line.split()[:1] == ["top1"]]
    return top1, text


def perfect(trained: Trained) -> None:
    """Make the classifier the nearest of the mean features, so that it is right about each image."""
    from bench.training.execute import load_model

    model, _ = load_model(trained.files)
    task = ImageFolder(str(trained.folder / "test"))
    from bench import tasks

    ours = tasks.load(f"folder:{trained.folder}", data=Path(), cache=Path(), device=torch.device("cpu"))
    assert list(ours.info.names) == task.classes
    ((images, labels),) = ours.evaluation("test", batch=99, image_size=32, channels_last=False)
    with torch.no_grad():
        features = model.forward_head(model.forward_features(images), pre_logits=True)
    features = features - features.mean(0)
    state = load_file(trained.files / "model.safetensors")
    inverse = torch.linalg.pinv(torch.cat([features, torch.ones(len(features), 1)], 1)) @ torch.eye(12)[labels]
    state["fc.weight"], state["fc.bias"] = inverse[:-1].T.contiguous(), inverse[-1].contiguous()
    mean = model.forward_head(model.forward_features(images), pre_logits=True).mean(0).detach()
    state["fc.bias"] = (state["fc.bias"] - state["fc.weight"] @ mean).contiguous()
    save(trained, state)


def save(trained: Trained, state: dict[str, torch.Tensor]) -> None:
    save_file(state, trained.files / "model.safetensors")
    values = read_json(trained.files / "record.json")
    values.pop("weights_sha256", None)
    write_json(trained.files / "record.json", values)


def test_a_checkpoint_is_right_whatever_the_order_of_its_outputs(trained: Trained, tmp_path: Path) -> None:
    perfect(trained)
    right, text = shown(trained.run, [])
    assert right == 100
    assert "outputs: 0 = 0, 1 = 1, 2 = 10 ... 11 = 9" in text

    plan, state = read_json(trained.files / "plan.json"), load_file(trained.files / "model.safetensors")
    assert plan["names"] == sorted(CLASSES)
    other = list(reversed(plan["names"]))
    rows = [plan["names"].index(name) for name in other]
    save(trained, state | {name: state[name][rows].contiguous() for name in HEAD})
    write_json(trained.files / "plan.json", {**plan, "names": other})
    right, text = shown(trained.run, [])
    assert right == 100
    assert "brought into the order of the task's classes, by their names" in text

    natural = earlier_order(CLASSES)  # a run of an earlier version, whose plan has no names
    rows = [plan["names"].index(name) for name in natural]
    save(trained, state | {name: state[name][rows].contiguous() for name in HEAD})
    write_json(trained.files / "plan.json", {key: value for key, value in plan.items() if key != "names"})
    assert shown(trained.run, [])[0] == 100

    save_file(state, tmp_path / "of_torchvision.safetensors")  # whose order is ours: no names are needed
    right, text = shown(str(tmp_path / "of_torchvision.safetensors"), [f"task=folder:{trained.folder}", *SETTINGS])
    assert right == 100
    assert "this order is assumed" in text


def test_a_checkpoint_of_other_classes_is_refused(trained: Trained, tmp_path: Path) -> None:
    other = paint(tmp_path / "other")
    for part in ("train", "test"):
        (other / part / "3").rename(other / part / "three")
    with pytest.raises(
        BenchError, match=r"trained on 12 classes .* 12, '3' of the weights not in the task, 'three' of the"
    ):
        evaluation.evaluate(trained.run, [f"task=folder:{other}"], "test")
    with pytest.raises(BenchError, match=r"has 12 and the task has 10; choose its task"):
        evaluation.evaluate(trained.run, ["task=digits"], "validation")

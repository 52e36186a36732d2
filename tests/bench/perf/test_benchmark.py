import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from bench import registry
from bench.perf import benchmark
from bench.perf.benchmark import RECIPE, Bench, Scale, draw_images, image_folder, steps
from bench.perf.side_by_side import Comparison
from bench.records.home import Home

CPU = torch.device("cpu")


@pytest.mark.slow
def test_every_method_is_compared():
    bench = Bench("lenet_300_100", Home(path=Path("home"), data=Path("data")), CPU, Scale(1, 1, 0.0, 12, 1))
    told = list[str]()
    rows = list(steps(bench, "digits", told.append))
    assert [row.name for row in rows] == [
        "our dense step",
        *(f"step of {name}" for name in registry.names(registry.METHODS) if name != "gate_decorator"),
    ]
    assert len(told) == 1  # that model has no batch norm
    assert told[0].startswith("step of gate_decorator: left out")
    assert all(ratio > 0 for row in rows for ratio in row.ratios)


def test_images_made_up():
    draw_images(Path(), per_class=5)
    for split, each in (("train", 5), ("test", 1)):
        found = [sorted(folder.iterdir()) for folder in sorted(Path("cifar10", split).iterdir())]
        assert [len(files) for files in found] == [each] * 10
    with Image.open(found[0][0]) as image:
        assert (image.size, image.mode) == ((32, 32), "RGB")


@pytest.mark.parametrize("size", [32, 64])
def test_the_usual_way_gives_whole_batches_of_the_wanted_number_of_images(size):
    draw_images(Path(), per_class=30)
    batches = list(image_folder(Path("cifar10/train"), 2 * RECIPE.batch, size, CPU, workers=0))
    assert [tuple(images.shape) for images, _ in batches] == [(RECIPE.batch, 3, size, size)] * 2
    labels = torch.cat([labels for _, labels in batches])
    assert set(labels.tolist()) == set(range(10))


def test_table_says_what_was_met():
    rows = [Comparison("b", "a", 1.0, (1.0, 1.0), (2.0, 2.0)), Comparison("d", "c", 0.5, (2.0, 2.0), (2.0, 2.0))]
    found = benchmark.table([row.to_dict() for row in rows], "caption")
    cells = [list(column.cells) for column in found.columns]
    assert cells[0] == ["b / a", "d / c"]
    assert cells[2] == ["0.500", "1.000"]
    assert cells[4] == ["<= 1 yes", "<= 0.5 no"]


@pytest.mark.slow
def test_the_whole_of_it(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "QUICK", Scale(1, 1, 0.0, 12, 20))
    benchmark.benchmark(model="lenet_300_100", task="digits", quick=True, device="cpu")
    written = json.loads((Home().path / "bench.json").read_text())
    assert [row["name"] for row in written["rows"]][-2:] == ["first epoch, images", "first epoch, training"]
    assert "no CIFAR-10 in" in written["images"]
    assert "first epoch, training / torchvision" in capsys.readouterr().out

"""The speed of the suite beside references, on this machine: `make bench`.

1. Our training step against a minimal PyTorch loop: same model, precision, memory format, and batches in memory.
2. A step of each method against our dense step, without pruning and rewinding between phases.
3. The first epoch from a folder in CIFAR-10's layout, decoding included, against torchvision's ImageFolder and DataLoader on
   the same number of images: once without and once with training. Our cache of decoded images is empty each time.

Each result is a ratio of seconds, ours over the reference's: the median over rounds, with quartiles.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from bench import environment, models, registry, tasks
from bench.errors import BenchError, Ineffective
from bench.method import Method
from bench.perf.side_by_side import Batch, Comparison, Repeated, compare, ours, plain, wait
from bench.recipe import Recipe
from bench.records.files import write_json
from bench.records.home import Home
from bench.seeds import generator
from bench.tasks.arrays import IMAGENET_MEAN, IMAGENET_STD

BATCHES = 8  # kept in memory for the step
RECIPE = Recipe(lr=0.001, schedule="constant")  # a rate so low that no model diverges


class Nothing(Method[None]):
    """Dense training, without pruning."""

    def attach(self, model: nn.Module, example: Tensor) -> None:
        """No state."""


@dataclass(frozen=True)
class Scale:
    """The length of a measurement: rounds of four blocks, seconds and least steps of a block, made-up images of a class."""

    rounds: int
    epoch_rounds: int
    seconds: float
    steps: int
    images: int


FULL, QUICK = Scale(9, 3, 1.5, 24, 1000), Scale(3, 1, 0.3, 12, 100)


@dataclass(frozen=True)
class Bench:
    """The model, home, device and scale of all measurements."""

    model: str
    home: Home
    device: torch.device
    scale: Scale

    def create(self, info: tasks.Info) -> tuple[nn.Module, int]:
        """Returns the model for a task, and the side of its images in pixels."""
        return models.create(
            self.model, classes=info.classes, channels=info.channels, image_size=info.image_size, seed=0
        )

    def batches(self, task: tasks.Task, size: int) -> tasks.Batches:
        """Returns the training batches of a task."""
        return task.train(seed=0, batch=RECIPE.batch, augment=True, image_size=size, channels_last=RECIPE.channels_last)


def steps(bench: Bench, task_name: str, tell: Callable[[str], None]) -> Iterator[Comparison]:
    """Measures 1 and 2; ``tell`` gets a line for each method that cannot prune the model."""
    home, device, scale = bench.home, bench.device, bench.scale
    task = tasks.load(task_name, data=home.data, cache=home.cache, device=device)
    model, size = bench.create(task.info)
    kept = [batch for batch, _ in zip(bench.batches(task, size).epoch(0), range(BATCHES), strict=False)]
    probe = plain(model, RECIPE, Repeated(kept, 6), device) / 6
    batches = Repeated(kept, max(scale.steps, round(scale.seconds / probe)))

    def step(method: Method[Any]) -> Callable[[], float]:
        return lambda: ours(method, model, RECIPE, batches, device) / batches.steps

    def plain_step() -> float:
        return plain(model, RECIPE, batches, device) / batches.steps

    yield compare("our dense step", "plain loop", 1.0, step(Nothing()), plain_step, scale.rounds)
    for name in registry.names(registry.METHODS):
        method = registry.load(registry.METHODS, name).METHOD()
        try:
            yield compare(f"step of {name}", "our dense step", 1.05, step(method), step(Nothing()), scale.rounds)
        except Ineffective as error:  # such as a method of batch norms, on a model without them
            tell(f"step of {name}: left out, {error}")


def first_epochs(bench: Bench, folder: Path) -> Iterator[Comparison]:
    """Measures 3, on ``folder/cifar10/{train,test}/<class>/``."""
    device, rounds = bench.device, bench.scale.epoch_rounds
    model, size = bench.create(tasks.info("cifar10", folder))

    def load(cache: str) -> tuple[float, tasks.Batches]:
        began = time.perf_counter()
        batches = bench.batches(tasks.load("cifar10", data=folder, cache=Path(cache), device=device), size)
        return time.perf_counter() - began, batches

    def our_images() -> float:
        with tempfile.TemporaryDirectory() as cache:
            seconds, batches = load(cache)
            return seconds + read_all(batches.epoch(0), device)

    def our_epoch() -> float:
        with tempfile.TemporaryDirectory() as cache:
            seconds, batches = load(cache)
            return seconds + ours(Nothing(), model, RECIPE, batches, device)

    with tempfile.TemporaryDirectory() as cache:
        count = load(cache)[1].steps * RECIPE.batch
    workers = min(8, environment.hardware(device)["cores"])

    def their_batches() -> Iterator[Batch]:
        return image_folder(folder / "cifar10" / "train", count, size, device, workers)

    def their_images() -> float:
        return read_all(their_batches(), device)

    def their_epoch() -> float:
        return plain(model, RECIPE, their_batches(), device)

    yield compare("first epoch, images", "torchvision", 0.5, our_images, their_images, rounds)
    yield compare("first epoch, training", "torchvision", 0.5, our_epoch, their_epoch, rounds)


def read_all(batches: Iterator[Batch], device: torch.device) -> float:
    """Returns the seconds until all batches are on the device."""
    began = time.perf_counter()
    for _ in batches:
        pass
    wait(device)
    return time.perf_counter() - began


def image_folder(folder: Path, count: int, size: int, device: torch.device, workers: int) -> Iterator[Batch]:
    """Yields batches of ``count`` images from torchvision's folder, transforms and worker processes, with pinned memory."""
    pixels = [transforms.RandomCrop(32, 4, padding_mode="reflect")]
    if size != 32:
        pixels.append(transforms.Resize(size))
    pixels.append(transforms.RandomHorizontalFlip())
    finish = [transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    found = datasets.ImageFolder(str(folder), transforms.Compose([*pixels, *finish]))
    chosen = torch.randperm(len(found), generator=generator("benchmark", "images"))[:count].tolist()
    loader = DataLoader(
        Subset(found, chosen),
        batch_size=RECIPE.batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        generator=generator("benchmark", "order"),
    )
    for images, labels in loader:
        moved = images.to(device, memory_format=RECIPE.memory_format, non_blocking=True)
        yield moved, labels.to(device, non_blocking=True)


def draw_images(folder: Path, per_class: int) -> None:
    """Writes a folder in CIFAR-10's layout: ten classes of noise as PNG files of 32x32 pixels, a sixth of them for test."""
    rng = np.random.default_rng(0)
    for index in range(6 * per_class // 5 * 10):
        split = "train"
        if index % 6 == 0:
            split = "test"
        path = folder / "cifar10" / split / f"class{index // 6 % 10}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(path)  # compresses about as well as a photograph


def benchmark(
    model: Annotated[str, typer.Option(help="any timm architecture")] = "test_efficientnet",
    task: Annotated[str, typer.Option(help="task whose images are used for steps; it must fit in memory")] = "digits",
    quick: Annotated[bool, typer.Option("--quick", help="fewer and shorter rounds, too few for a claim")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
) -> None:
    """Measure the suite's speed; print a table and write bench.json to the home."""
    home, console, found = Home(), Console(highlight=False, emoji=False), environment.resolve_device(device)
    length = FULL
    if quick:
        length = QUICK
    bench, rows = Bench(model, home, found, length), []
    facts = {**environment.hardware(found), "threads": torch.get_num_threads(), **environment.versions()}
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()), soft_wrap=True)
    with tempfile.TemporaryDirectory() as made:
        folder, images = home.data, "CIFAR-10"
        if not (folder / "cifar10" / "train").is_dir():
            folder, images = Path(made), f"{10 * bench.scale.images} noise images (no CIFAR-10 in {home.data})"
            draw_images(folder, bench.scale.images)
        for row in chain(steps(bench, task, console.print), first_epochs(bench, folder)):
            rows.append(row.to_dict())
            console.print(f"{row.name} / {row.reference}: {row.quartiles[1]:.3f}", soft_wrap=True)
    settings = {"model": model, "task": task, "images": images, "quick": quick, "recipe": RECIPE.to_dict()}
    console.print(table(rows, f"{model}, batch {RECIPE.batch}, on {found}; steps: {task}; epochs: {images}"))
    code = environment.code_version(Path(__file__).parent)
    write_json(home.path / "bench.json", {"machine": facts, "code": code, **settings, "rows": rows})
    console.print(f"written to {home.path / 'bench.json'}", soft_wrap=True)


def table(rows: list[dict[str, Any]], caption: str) -> Table:
    """Returns the printed table: milliseconds of a step or an epoch, and the ratio with its quartiles."""
    found = Table("ours / reference", box=box.SIMPLE, caption=caption)
    for name in ("ms / ms", "ratio", "quartiles", "wanted"):
        found.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        met = "no"
        if row["met"]:
            met = "yes"
        found.add_row(
            f"{row['name']} / {row['reference']}",
            f"{1e3 * row['seconds']:.4g} / {1e3 * row['reference_seconds']:.4g}",
            f"{row['ratio']:.3f}",
            f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}",
            f"<= {row['wanted']:g} {met}",
        )
    return found


if __name__ == "__main__":
    try:
        typer.run(benchmark)
    except BenchError as error:
        sys.exit(f"error: {error}")

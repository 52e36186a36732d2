"""Evaluating a checkpoint: a finished run's model, or a file of weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from torch import nn

from bench import environment, measure
from bench.cli import preparing
from bench.cli.terminal import console
from bench.deploy import load
from bench.errors import MissingData
from bench.records.home import Home
from bench.run import Run, new_run
from bench.training import execute


def evaluate(what: str, settings: Sequence[str], split: str) -> None:
    """Print the scores on ``split`` of a run (by its id), or of a .safetensors file with weights of ``model=``. An opening of
    the test split is written to the home's journal (`bench.records.openings`).

    Raises:
        BenchError: there is no such run or file, or the settings do not fit.
    """
    home = Home()
    run, model, size, dense_weights = _checkpoint(what, settings, home)
    whose = what if (home.records.run(what) / "plan.json").exists() else ""
    device, recipe = environment.resolve_device(run.device), run.recipe
    task = preparing.load_data(run, home, device, whose)
    model.to(device).to(memory_format=recipe.memory_format)
    batches = task.evaluation(split, batch=512, image_size=size, channels_last=recipe.channels_last)  # type: ignore[arg-type]
    scores = measure.accuracy(model, batches, recipe)
    sizes = measure.progress_point(model, run.method.prunable(model), dense_weights=dense_weights)
    table = Table("", f"{run.task} {split}", box=None)
    for name, value in (scores | sizes).items():
        table.add_row(name, f"{value:,.4f}".rstrip("0").rstrip("."))
    console.print(table)


def _checkpoint(what: str, settings: Sequence[str], home: Home) -> tuple[Run, nn.Module, int, int | None]:
    """The run, its model, the image size in pixels, and the number of weights of its dense model where it is known."""
    if (home.records.run(what) / "plan.json").exists():
        record = home.records.record(what)
        assert record is not None
        loaded = load.read(home.records.run(what))
        run = Run.from_dict(record.run.to_json()).with_values(settings)
        known, weights = record.metrics.measured("weights_reference"), record.metrics.weights_reference
        return run, loaded.model, loaded.plan["image_size"], int(weights) if known else None
    if not Path(what).expanduser().is_file():
        raise MissingData(f"evaluate needs a finished run's id or a .safetensors file, but {what!r} is neither")
    run = new_run("dense", [f"start={what}", *settings])
    _, model, size, _ = execute.prepare(run, home)
    return run, model, size, None

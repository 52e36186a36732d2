"""Evaluating a checkpoint: a finished run's model, or a file of weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table
from torch import nn

from bench import environment, measure, models
from bench.cli import preparing
from bench.cli.terminal import console
from bench.deploy import load
from bench.errors import BenchError, MissingData
from bench.records.files import read_json
from bench.records.home import Home
from bench.run import Run, new_run
from bench.tasks import Info
from bench.training import execute
from bench.training.start import trained_on


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
    console.print(escape(task.found), soft_wrap=True)
    console.print(escape(_order(model, what, task.info, home)), soft_wrap=True)
    model.to(device).to(memory_format=recipe.memory_format)
    batches = task.evaluation(split, batch=512, image_size=size, channels_last=recipe.channels_last)  # type: ignore[arg-type]
    scores = measure.accuracy(model, batches, recipe)
    sizes = measure.progress_point(model, run.method.prunable(model), dense_weights=dense_weights)
    table = Table("", escape(f"{run.task} {split}"), box=None)
    for name, value in (scores | sizes).items():
        table.add_row(name, f"{value:,.4f}".rstrip("0").rstrip("."))
    console.print(table)


def _order(model: nn.Module, what: str, info: Info, home: Home) -> str:
    """Bring the outputs of a run's model into the order of the task's classes; returns what the outputs mean."""
    first = ", ".join(f"{number} = {name}" for number, name in enumerate(info.names[:3]))
    meaning = f"outputs: {first}" + (f" ... {info.classes - 1} = {info.names[-1]}" if info.classes > 3 else "")
    folder = home.records.run(what)
    if not (folder / "plan.json").exists():
        return f"{meaning} (the file of weights does not name its classes: this order is assumed)"
    trained = read_json(folder / "plan.json")["classes"]
    if trained != info.classes:
        raise BenchError(
            f"a model is evaluated on the classes that it was trained on, but run {what} has {trained} and the task has "
            f"{info.classes}; choose its task"
        )
    note = models.match_classes_(model, trained_on(folder, info.names), info.names, what=f"run {what}")
    return f"{meaning}; {note}" if note else meaning


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
    _, model, size, initial = execute.prepare(run, home)
    for note in initial.notes:
        console.print(escape(note), soft_wrap=True)
    return run, model, size, None

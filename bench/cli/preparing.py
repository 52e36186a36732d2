"""What happens before runs start: refusing what cannot work, decoding the data once, connecting MLflow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from rich.markup import escape

from bench import environment, tasks, tracking
from bench.cli.terminal import console
from bench.records.home import Home
from bench.run import Run
from bench.scheduler.progress import Display
from bench.seeds import generator
from bench.training import data, execute
from bench.training.sizing import sized


def refuse_unworkable(run: Run, home: Home) -> None:
    """Raise a `BenchError` for a run that cannot work (also a method that cannot prune its model), before data is decoded or
    a process is started."""
    info, model, size, *_ = execute.prepare(run, home)
    images = torch.randn(2, info.channels, size, size, generator=generator("refuse", run.model))
    sized(run, info, size).method.attach(model, images)


def images_of(task: str, home: Home) -> str:
    """The digest of a folder's images that is part of what is computed with them, "" for a named set; says where they have
    changed since they were last used."""
    with Display(console) as display:
        display("images", "started", "")
        found = tasks.folder_images(task, home.cache, lambda done, total: display("images", "decoding", (done, total)))
    if found.note:
        console.print(f"[yellow]{escape(found.note)}[/]", soft_wrap=True)
    return found.digest


def decode_once(run: Run, home: Home) -> str:
    """Decode the data of a run into the cache, so that its processes find it there, and print what there is;
    warn about emulated bf16. Returns the digest of the data."""
    device = environment.resolve_device(run.device)
    if device.type == "cpu" and run.recipe.precision == "bf16" and not environment.fast_bf16():
        console.print("[yellow]this CPU has no bf16 arithmetic: it is emulated, and fp32 will be many times faster[/]")
    task = load_data(run, home, torch.device("cpu"))  # not on the GPU, whose memory is the runs'
    console.print(escape(task.found), soft_wrap=True)
    return task.digest


def load_data(run: Run, home: Home, device: torch.device, whose: str = "") -> tasks.Task:
    """The task of a run on a device, with a progress bar while its images are decoded for the first time; ``whose``: see
    `bench.training.data.load`."""
    with Display(console) as display:
        display("images", "started", "")
        return data.load(
            run,
            home,
            device,
            whose=whose,
            progress=lambda done, total: display("images", "decoding", (done, total)),
        )


@contextlib.contextmanager
def mirror(home: Home, study: str, *, track: bool) -> Iterator[tracking.Mirror | None]:
    """Keep MLflow up to date inside the ``with`` block; None where it is not wanted or not installed."""
    if not track:
        yield None
        return
    if not tracking.available():
        console.print("MLflow is not installed: everything is recorded, and `bench sync` shows it there later")
        yield None
        return

    def warn(text: str) -> None:
        console.print(f"[yellow]{escape(text)}[/]", soft_wrap=True)

    with tracking.Mirror(home, study, warn) as kept:
        yield kept

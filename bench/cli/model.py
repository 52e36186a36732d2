"""Commands about single models: `bench evaluate`, `load`, `export`, `speed`, `prunability`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Device, Jobs, Settings, default_jobs, with_device
from bench.cli.terminal import console
from bench.errors import one_of

RunName = Annotated[str, typer.Argument(help="a finished run's id, or its folder")]
SPLITS = ("validation", "test")


def evaluate_command(
    what: Annotated[str, typer.Argument(help="a finished run's id, or a .safetensors file (then give model=...)")],
    settings: Settings = None,
    split: Annotated[str, typer.Option(help="validation, or test: noted in the journal of openings")] = "validation",
    device: Device = "",
) -> None:
    """Evaluate a checkpoint on a split: accuracy, loss, calibration, non-zero weights."""
    if split not in SPLITS:
        raise one_of("split", split, SPLITS)
    from bench.cli import evaluation  # here, because torch takes seconds to import

    evaluation.evaluate(what, with_device(settings, device), split)


def load_command(
    run: RunName,
    python: Annotated[bool, typer.Option("--python", help="open a Python console with the model as `model`")] = False,
) -> None:
    """Load a run's model, describe it, and say how to load it in Python as a plain nn.Module."""
    from bench.deploy import load  # here, because torch takes seconds to import

    load.show(console, run, interactive=python)


def export_command(
    run: RunName,
    out: Annotated[str, typer.Option(help="output folder; default: exports/RUN in $BENCH_HOME")] = "",
    formats: Annotated[str, typer.Option(help="onnx, pt2 (torch.export) or both")] = "onnx,pt2",
    seconds: Annotated[float, typer.Option(min=0, help="seconds of timing in ONNX Runtime for each batch size")] = 2.0,
) -> None:
    """Write a run's model as ONNX and for torch.export, check that it computes the same, and time it in ONNX Runtime."""
    from bench.deploy import export  # here, because torch takes seconds to import

    export.command(console, run, Path(out).absolute() if out else None, tuple(formats.split(",")), seconds)


def speed_command(
    names: Annotated[list[str] | None, typer.Argument(help="ids of finished runs, or studies")] = None,
    batch: Annotated[
        str, typer.Option(help="batch sizes, separated by commas; auto: the fastest one of the dense model")
    ] = "1,auto",
    precision: Annotated[str, typer.Option(help="fp32, bf16 or both")] = "fp32,bf16",
    mode: Annotated[str, typer.Option(help="eager, compiled or both")] = "eager,compiled",
    seconds: Annotated[float, typer.Option(min=0, help="seconds of timing for each setting")] = 2.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    again: Annotated[bool, typer.Option("--again", help="measure again what was measured before")] = False,
    two_four: Annotated[
        bool, typer.Option("--two-four", help="time 2:4 sparse kernels layer by layer instead; needs a GPU")
    ] = False,
) -> None:
    """Measure the latency of pruned models and of their dense models, in turns, in one process."""
    from bench.deploy import speed, speed_record  # here, because torch takes seconds to import
    from bench.deploy import two_four as kernels

    if two_four:
        kernels.two_four(console, device, seconds)
        return
    batches, precisions, modes = (tuple(text.split(",")) for text in (batch, precision, mode))
    request = speed_record.SpeedRequest(batches, precisions, modes, seconds, device, again)
    speed.command(console, tuple(names or ()), request)


def prunability_command(
    pattern: Annotated[str, typer.Argument(help="modules of timm, such as 'res*', or else architectures")] = "*",
    out: Annotated[
        str, typer.Option(help="folder of prunability.csv, which is continued; default: docs in $BENCH_HOME")
    ] = "",
    jobs: Jobs = 0,
    limit: Annotated[float, typer.Option(min=1, help="time limit for one architecture, in seconds")] = 600.0,
    largest: Annotated[
        float, typer.Option(min=0, help="largest architecture to try, in millions of parameters")
    ] = 140.0,
    image_size: Annotated[int, typer.Option(min=8, help="image size in pixels, for models that can process it")] = 64,
) -> None:
    """Find out which architectures can lose channels, which share of them, and if not, why; `bench docs` makes a page of it."""
    from bench.deploy import matrix  # here, because torch takes seconds to import
    from bench.records.home import Home

    folder = Path(out).absolute() if out else Home().path / "docs"
    rows = matrix.matrix(
        console, pattern, folder, jobs=jobs or default_jobs(()), limit=limit, largest=largest, image_size=image_size
    )
    console.print(matrix.summary(rows), soft_wrap=True)
    console.print(f"table: {folder / matrix.FILE}  (`bench docs` makes a page of it)", soft_wrap=True)

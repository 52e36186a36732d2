"""The command line: thin commands over the rooms. Errors that a user can mend are one line and exit code 1."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.cli import data, remote, servers, work
from bench.cli.compare import compare
from bench.cli.options import default_jobs, numbers, split_models
from bench.errors import BenchError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Benchmark pruning methods: run, tune, compare, report.

    Settings are written `key=value`; a key is a field of the run, of its recipe or of its method:
    `bench run gradual task=cifar10 model=cifar_resnet20 epochs=3 final=0.9 lr=0.01`.
    `bench show METHOD` lists a method's fields, `bench show run` those of the run and the recipe.
    """,
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

Settings = Annotated[list[str] | None, typer.Argument(help="key=value settings of run, recipe or method")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N (the same as device=...)")]
Jobs = Annotated[
    int, typer.Option(min=0, help="runs side by side; 0: one per GPU given, else one per CPU core, 4 at most")
]
Gpus = Annotated[str, typer.Option(help="GPUs to deal out to the runs, such as 0,1; several runs may share one")]
Track = Annotated[bool, typer.Option(help="show everything in MLflow while it goes on")]
Hang = Annotated[float, typer.Option(min=1, help="seconds without a step after which a run counts as hung")]
Every = Annotated[float, typer.Option(min=0, help="seconds between two checkpoints of a run")]


def main() -> None:
    """The console script: errors as one line, Ctrl-C without a trace."""
    try:
        app()
    except BenchError as error:
        errors.print(f"[red]error:[/] {_plain(str(error))}", soft_wrap=True)
        sys.exit(1)
    except SystemExit as end:
        if end.code == 130:  # typer's word for Ctrl-C
            errors.print("stopped; everything finished is kept, and the same command goes on from here", soft_wrap=True)
        raise
    except OSError as error:
        errors.print(f"[red]error:[/] {_plain(_os_error(error))}", soft_wrap=True)
        sys.exit(1)
    except Exception:  # a mistake of ours: all of the trace, but no password that a library put into its words
        import traceback

        errors.print(_plain(traceback.format_exc()), soft_wrap=True, highlight=False)
        sys.exit(1)


def _plain(text: str) -> str:
    from rich.markup import escape

    from bench.environment import mask_secrets

    return escape(mask_secrets(text))


def _os_error(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"files must be readable and writable, but: {error.strerror or error}{where}; mend that and run the same command"


@app.command()
def run(
    method: Annotated[str, typer.Argument(help="a method's name: see `bench list methods`")],
    settings: Settings = None,
    device: Device = "",
    gpus: Gpus = "",
    track: Track = True,
    hang_after: Hang = 900.0,
    checkpoint_every: Every = 30.0,
) -> None:
    """Compute one run: train, prune, measure, record. Started again, it goes on where it stopped."""
    from bench.cli import commands

    commands.run(console, method, _on(settings, device), _gpus(gpus), track, hang_after, checkpoint_every)


@app.command()
def study(
    method: Annotated[
        str | None, typer.Argument(help="a method's name, or several with commas; some studies bring their own")
    ] = None,
    settings: Settings = None,
    study: Annotated[str, typer.Option(help="the question: see `bench list studies`")] = "pareto",
    task: Annotated[str, typer.Option(help="data set: see `bench list tasks`, or folder:PATH")] = "",
    models: Annotated[str, typer.Option(help="architectures, with commas")] = "",
    targets: Annotated[str, typer.Option(help="sparsities of a ladder, with commas")] = "",
    trials: Annotated[int, typer.Option(min=0, help="tuned configurations per cell; 0: the study's")] = 0,
    finals: Annotated[int, typer.Option(min=0, help="configurations chosen per cell; 0: the study's")] = 0,
    final_seeds: Annotated[str, typer.Option(help="seeds of the finals, with commas")] = "",
    cost: Annotated[str, typer.Option(help="traded for accuracy: weights_left (default) or macs/fraction")] = "",
    sampler: Annotated[str, typer.Option(help="tpe (default), random or qmc (quasi-random)")] = "",
    seed: Annotated[int | None, typer.Option(min=0, help="of the tuning: sampler and runs; default 0")] = None,
    derived: Annotated[
        str, typer.Option(help="controls that follow from each final, with commas, or none: rewound, scratch_macs, ...")
    ] = "",
    smoke: Annotated[bool, typer.Option("--smoke", help="the study's small size: digits, a minute or two")] = False,
    jobs: Jobs = 0,
    device: Device = "",
    gpus: Gpus = "",
    track: Track = True,
    report: Annotated[bool, typer.Option(help="make the report at the end")] = True,
    dry_run: Annotated[bool, typer.Option(help="print what would run and what it would cost, and stop")] = False,
    hang_after: Hang = 900.0,
    checkpoint_every: Every = 30.0,
    on: work.On = "local",
    workers: work.Workers = 1,
    cpus: work.Cpus = 1,
    gpus_each: work.GpusEach = 0,
    memory: work.Memory = 0,
    minutes: work.Minutes = 0,
    ray_address: work.Address = "",
    sbatch: work.Sbatch = None,
) -> None:
    """Tune a method with Optuna, then run the chosen configurations again with fresh seeds on the test split.

    Studies that bring their own methods need none: `bench study --study headline`.
    """
    from bench.cli import commands

    if method and "=" in method:  # no method: the first word is a setting
        settings, method = [method, *(settings or [])], None
    texts = {"task": task, "trials": trials, "finals": finals, "cost": cost, "sampler": sampler}
    changes: dict[str, Any] = {"settings": tuple(settings or ()), **{k: v for k, v in texts.items() if v}}
    changes |= {"seed": seed} if seed is not None else {}
    changes |= {"models": split_models(models)} if models else {}
    changes |= {"targets": numbers(targets, float, "targets")} if targets else {}
    changes |= {"final_seeds": numbers(final_seeds, int, "final-seeds")} if final_seeds else {}
    changes |= {"derived": tuple(part for part in derived.split(",") if part != "none")} if derived else {}
    declared = commands.declare(study, tuple(method.split(",")) if method else (), changes, smoke=smoke)
    if dry_run:
        from bench.study import dry_run as probe

        probe.plan(console, declared, device, jobs or default_jobs(_gpus(gpus)))
        return
    engine = work.engine_of(
        on,
        workers=workers,
        cpus=cpus,
        gpus_each=gpus_each,
        memory=memory,
        minutes=minutes,
        ray_address=ray_address,
        sbatch=sbatch,
    )
    commands.conduct(
        console,
        declared,
        engine=engine,
        device=device,
        jobs=jobs or default_jobs(_gpus(gpus)),
        gpus=_gpus(gpus),
        track=track,
        report=report,
        hang_seconds=hang_after,
        checkpoint_seconds=checkpoint_every,
    )


app.command()(compare)
app.command()(work.work)


@app.command()
def report(
    studies: Annotated[list[str] | None, typer.Argument(help="names of studies; none: all")] = None,
    out: Annotated[str, typer.Option(help="the folder to write; default: report in the folder of results")] = "",
    from_mlflow: Annotated[bool, typer.Option(help="read the records from the MLflow store's artifacts")] = False,
    diff: Annotated[
        tuple[str, str] | None, typer.Option(help="old and new: two folders of results, or two studies, to compare")
    ] = None,
    records: Annotated[
        str, typer.Option(help="another folder of results, or the URL of a shared store such as s3://bucket/prefix")
    ] = "",
    mlflow: Annotated[
        str, typer.Option(help="where the MLflow UI answers, such as http://127.0.0.1:5000: runs then link to it")
    ] = "",
) -> None:
    """Make figures, tables and the page from records; never trains."""
    if diff is not None:
        data.diff(*diff, out)
        return
    from bench.cli import commands

    where = Path(out).absolute() if out else None
    with remote.folder(records) as home:
        page = commands.make_report(console, tuple(studies or ()), where, from_mlflow, records=home, mlflow=mlflow)
    console.print(f"report: {page}", soft_wrap=True)


app.command()(data.export_data)
app.command()(data.import_data)
app.command()(remote.push)
app.command()(remote.pull)
app.command()(servers.servers)
app.command()(servers.proxy)


@app.command()
def docs(
    out: Annotated[str, typer.Option(help="the folder to write; default: docs in the folder of results")] = "",
) -> None:
    """Make the manual: a page for each method, from its docstring, its fields and its claims."""
    from bench.cli import manual

    console.print(f"manual: {manual.write(Path(out).absolute() if out else None)}", soft_wrap=True)


@app.command()
def speed(
    names: Annotated[list[str] | None, typer.Argument(help="finished runs' ids, or studies")] = None,
    batch: Annotated[str, typer.Option(help="images, with commas; auto: the dense model's best batch")] = "1,auto",
    precision: Annotated[str, typer.Option(help="fp32, bf16 or both")] = "fp32,bf16",
    mode: Annotated[str, typer.Option(help="eager, compiled or both")] = "eager,compiled",
    seconds: Annotated[float, typer.Option(min=0, help="of timing for each setting")] = 2.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    again: Annotated[bool, typer.Option("--again", help="measure what is measured already anew")] = False,
    two_four: Annotated[
        bool, typer.Option("--two-four", help="time 2:4 kernels layer by layer instead; needs a GPU")
    ] = False,
) -> None:
    """Measure how much faster pruned models really are than their dense ones, in turns, in one process."""
    from bench.deploy import speed, speed_record
    from bench.deploy import two_four as kernels

    if two_four:
        kernels.two_four(console, device, seconds)
        return
    batches, precisions, modes = (tuple(text.split(",")) for text in (batch, precision, mode))
    speed.command(
        console, tuple(names or ()), speed_record.SpeedRequest(batches, precisions, modes, seconds, device, again)
    )


@app.command()
def evaluate(
    what: Annotated[str, typer.Argument(help="a finished run's id, or a .safetensors file (then give model=...)")],
    settings: Settings = None,
    split: Annotated[str, typer.Option(help="validation or test")] = "test",
    device: Device = "",
) -> None:
    """Score a checkpoint on a split: accuracy, loss, calibration, non-zero weights."""
    from bench.cli import commands

    commands.evaluate(console, what, _on(settings, device), split)


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="a finished run's id, or its folder")],
    out: Annotated[str, typer.Option(help="the folder to write; default: exports/RUN in the folder of results")] = "",
    formats: Annotated[str, typer.Option(help="onnx, pt2 (torch.export) or both")] = "onnx,pt2",
    seconds: Annotated[float, typer.Option(min=0, help="of timing in ONNX Runtime for each batch")] = 2.0,
) -> None:
    """Write a run's model as ONNX and for torch.export, checked to compute the same, and time it in ONNX Runtime."""
    from bench.deploy import export

    export.command(console, run, Path(out).absolute() if out else None, tuple(formats.split(",")), seconds)


@app.command()
def load(
    run: Annotated[str, typer.Argument(help="a finished run's id, or its folder")],
    python: Annotated[bool, typer.Option("--python", help="open a Python console that has it as `model`")] = False,
) -> None:
    """Load a run's model, say what it is, and how to have it in Python as a plain nn.Module."""
    from bench.deploy import load

    load.show(console, run, interactive=python)


@app.command(name="list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, models, tasks, studies, or begun (studies)")] = "methods",
    pattern: Annotated[str, typer.Argument(help="for models: a pattern such as '*resnet*'")] = "*",
) -> None:
    """List methods, models, tasks, studies, or the studies that were begun here."""
    from bench.cli import explain

    explain.list_(console, what, pattern)


@app.command()
def show(name: Annotated[str, typer.Argument(help="a method, or `run` for the fields of runs and recipes")]) -> None:
    """Explain a method: its paper and equations, its fields with their ranges, its space, its claims."""
    from bench.cli import explain

    explain.show(console, name)


@app.command()
def doctor() -> None:
    """Check the machine: hardware, versions, where data and stores are, and what is wrong."""
    from bench.cli import explain

    if not explain.doctor(console):
        sys.exit(1)


@app.command()
def prunability(
    pattern: Annotated[str, typer.Argument(help="modules of timm, such as 'res*', or else architectures")] = "*",
    out: Annotated[
        str, typer.Option(help="the folder of prunability.csv, gone on with; default: docs in the folder of results")
    ] = "",
    jobs: Jobs = 0,
    limit: Annotated[float, typer.Option(min=1, help="seconds for one architecture")] = 600.0,
    largest: Annotated[float, typer.Option(min=0, help="millions of parameters that it may have")] = 140.0,
    image_size: Annotated[int, typer.Option(min=8, help="pixels, where it can process them")] = 64,
) -> None:
    """Find out which architectures can lose channels, in what share, and if not, why; `bench docs` makes a page of it."""
    from bench.deploy import matrix
    from bench.records.home import Home

    folder = Path(out).absolute() if out else Home().path / "docs"
    rows = matrix.matrix(
        console, pattern, folder, jobs=jobs or default_jobs(()), limit=limit, largest=largest, image_size=image_size
    )
    console.print(matrix.summary(rows), soft_wrap=True)
    console.print(f"table: {folder / matrix.FILE}  (`bench docs` makes a page of it)", soft_wrap=True)


@app.command()
def sync(
    records: Annotated[
        str, typer.Option(help="another folder of results, or the URL of a shared store such as s3://bucket/prefix")
    ] = "",
) -> None:
    """Replay into MLflow what it missed; any number of times, without doubling anything."""
    from bench.cli import commands

    with remote.folder(records, weights=True) as home:
        commands.sync(console, home)


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    host: Annotated[str, typer.Option(help="the address to listen on")] = "127.0.0.1",
) -> None:
    """Open the MLflow UI on the loopback address."""
    from bench.cli import commands

    commands.ui(console, host, port)


def _on(settings: list[str] | None, device: str) -> list[str]:
    return [*(settings or []), *([f"device={device}"] if device else [])]


def _gpus(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


if __name__ == "__main__":
    main()

"""What the commands that compute do: run, study, report, evaluate, sync, ui."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import environment, registry, tasks, tracking
from bench.errors import BenchError, MissingData, one_of
from bench.records.home import Home
from bench.records.watcher import LOOSE
from bench.run import Run, new_run
from bench.scheduler.coordinator import Coordinator, Result
from bench.scheduler.pool import Pool
from bench.scheduler.progress import Display
from bench.seeds import generator
from bench.study.study import Study
from bench.tracking import links

if TYPE_CHECKING:
    from bench.scheduler.engines.base import Engine


def run(
    console: Console,
    method: str,
    settings: Sequence[str],
    gpus: tuple[str, ...],
    track: bool,
    hang_seconds: float,
    checkpoint_seconds: float,
) -> None:
    """Compute one run in a process of its own, and print what it came to."""
    home, one = Home(), new_run(method, settings)
    _make_ready(console, one, home)
    console.print(f"run [bold]{one.id}[/]  {escape(_shown(one.identity()))}", soft_wrap=True)
    with _mirror(console, home, LOOSE, track), Display(console, total=1, failures=False) as display:
        pool = Pool(home, 1, gpus, hang_seconds, checkpoint_seconds, watch=display)
        outcome = pool.run([(f"{method}/{one.model}", one)], keep_weights=True)[f"{method}/{one.model}"]
    if outcome.state != "finished":
        raise BenchError(outcome.reason)
    record = home.records.record(outcome.run.id)
    assert record is not None
    if outcome.cached:
        console.print("computed before; nothing was run again")
    _print_record(console, record)
    console.print(f"record: {home.records.run(outcome.run.id) / 'record.json'}", soft_wrap=True)


def _refuse_early(one: Run, home: Home) -> None:
    """Refuse what cannot work before anything is decoded or started: a method that cannot act on its model, too."""
    from bench.training import execute

    info, model, size, *_ = execute.prepare(one, home)
    images = torch.randn(2, info.channels, size, size, generator=generator("refuse", one.model))
    one.method.attach(model, images)


def _make_ready(console: Console, one: Run, home: Home) -> None:
    """Refuse what cannot work, and decode the data, before any process starts."""
    _refuse_early(one, home)
    _load_once(console, one, home)


def _load_once(console: Console, one: Run, home: Home) -> None:
    device = environment.resolve_device(one.device)
    if device.type == "cpu" and one.recipe.precision == "bf16" and not environment.fast_bf16():
        console.print("[yellow]this CPU has no bf16 arithmetic: it is emulated, and fp32 will be many times faster[/]")
    _load(console, one, home, torch.device("cpu"))  # a GPU is left to the runs


def _load(console: Console, one: Run, home: Home, device: torch.device) -> tasks.Task:
    """The data of a run, with a bar while it is decoded for the first time."""
    with Display(console) as display:
        display("images", "started", "")
        return tasks.load(
            one.task,
            data=home.data,
            cache=home.cache,
            device=device,
            workers=one.workers,
            progress=lambda done, total: display("images", "decoding", (done, total)),
        )


def _shown(identity: dict[str, Any], between: str = " ") -> str:
    parts = []
    for key, value in identity.items():
        if key == "class":
            continue
        if not isinstance(value, dict):
            parts.append(f"{key}={value}")
        elif inner := _shown(value, ", "):
            parts.append(f"{key}({inner})")
    return between.join(parts)


@contextlib.contextmanager
def _mirror(console: Console, home: Home, study: str, track: bool) -> Iterator[tracking.Mirror | None]:
    """MLflow kept up to date meanwhile, where it is wanted and installed."""
    if not track or not tracking.available():
        if track:
            console.print("MLflow is not installed: everything is recorded, and `bench sync` shows it there later")
        yield None
        return
    with tracking.Mirror(
        home, study, lambda text: console.print(f"[yellow]{escape(text)}[/]", soft_wrap=True)
    ) as mirror:
        yield mirror


def _print_record(console: Console, record: dict[str, Any]) -> None:
    metrics, cost = record["metrics"], record["cost"]
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = [("validation top-1", f"{metrics['val/top1']:.2f} %  (best epoch {metrics['val_best/top1']:.2f} %)")]
    if (built := record.get("architecture", record["run"]["model"])) != record["run"]["model"]:
        rows.insert(0, ("model built", escape(built)))
    if record.get("label"):
        rows.insert(0, ("result of", f"{record['label']}: the model is as large and as slow as before"))
    if "test/top1" in metrics:
        rows.append(("test top-1", f"{metrics['test/top1']:.2f} %"))
    weights = metrics.get("weights/reference", metrics["weights/all"])  # older records have no reference
    rows += [
        ("sparsity", f"{metrics['sparsity/prunable']:.4f} of the prunable, {metrics['sparsity/all']:.4f} of all"),
        ("non-zero weights", f"{metrics['weights/nonzero']:,.0f} of {weights:,.0f}"),
        (
            "MACs left",
            f"{100 * metrics['macs/fraction']:.2f} %  (theoretical speed-up {metrics['speedup/theoretical']:.2f})",
        ),
        (
            "training",
            f"{cost['train_seconds']:.1f} s, {cost['images_per_second']:,.0f} images/s, {cost['steps']:,} steps",
        ),
    ]
    whole = metrics.get("params/reference", metrics["params/all"])
    if metrics["params/all"] < whole:
        rows.insert(-2, ("parameters", f"{metrics['params/all']:,.0f} of {whole:,.0f}: the model is smaller"))
    for name, text in rows:
        table.add_row(name, text)
    console.print(table)


TUNING = ("targets", "trials", "finals", "cost", "sampler", "seed")
"""What a grid does not have: it tunes nothing, and has no ladder's targets."""


def declare(name: str, methods: tuple[str, ...], changes: dict[str, Any], *, smoke: bool = False) -> Study:
    """The study of a name for methods (none: its own), with the command line's changes; all of it is checked here."""
    for method in methods:
        if method in registry.names(registry.STUDIES):
            raise BenchError(f"a study is named with --study, but {method!r} stands for a method; --study {method}")
        registry.load(registry.METHODS, method)
    declared: Study = registry.load(registry.STUDIES, name).study(methods, smoke=smoke, **changes)
    useless = [key for key in changes if key in TUNING and (key != "targets" or declared.targets)]
    if not declared.kind.tuned and useless:  # a study may have made variants of the targets
        raise BenchError(f"{name} runs given variants and tunes nothing, but --{useless[0]} was given; leave it out")
    _refuse_study(declared, Home())
    return declared


def begun(study: Study) -> bool:
    """Whether a study was started before."""
    return study.name in Home().records.studies()


def _refuse_study(study: Study, home: Home) -> None:
    """Refuse a study with a cell that cannot work; a lenient one only where none can."""
    cells, refused = [*study.cells(), *study.baseline_cells()], list[BenchError]()
    for cell in cells:
        _, one = cell.space, cell.run({}, study.seed)
        try:
            _refuse_early(one, home)
        except BenchError as error:
            if not study.lenient:
                raise
            refused.append(error)
    if len(refused) == len(cells):
        raise BenchError(f"a study needs a model that can be built, but none of {len(cells)} can: {refused[0]}")


def conduct(
    console: Console,
    study: Study,
    *,
    device: str,
    jobs: int,
    gpus: tuple[str, ...],
    track: bool,
    report: bool,
    hang_seconds: float,
    checkpoint_seconds: float,
    engine: Engine | None = None,
) -> None:
    """Carry a study out, then say where everything is."""
    home = Home()
    console.print(f"study [bold]{escape(study.name)}[/]: {escape(study.question)}", soft_wrap=True)
    cells = study.cells()
    _load_once(console, replace(cells[0].run({}, study.seed), device=device or "auto"), home)
    known = sum(cell.trials for cell in cells)
    with _mirror(console, home, study.name, track) as mirror, Display(console, total=known) as display:
        pool = Pool(home, jobs, gpus, hang_seconds, checkpoint_seconds, watch=display, device=device)
        result = Coordinator(study, home, pool, display.expect, display.say, engine).conduct()
    if study.speed:  # now that nothing else runs
        _time(console, home, study, device)
        if mirror is not None:
            mirror.catch_up()
    page = make_report(console, (), None, False) if report else None
    if mirror is not None and page is not None:
        mirror.report(page.parent)
    _say_where(console, home, study, result, page, mirror)


def _time(console: Console, home: Home, study: Study, device: str) -> None:
    """Measure how fast the finals are."""
    from bench.deploy import speed, speed_record

    request = speed_record.SpeedRequest(modes=study.speed, device=device or "auto")
    speed.measure(console, home, speed.of_study(home, study.name), request)


def _say_where(
    console: Console, home: Home, study: Study, result: Result, page: Path | None, mirror: tracking.Mirror | None
) -> None:
    if not result.computed:
        console.print("everything was computed before; nothing was run again")
    for reason, count in result.failures.items():
        console.print(f"[red]{count} failed: {escape(reason)}[/]", soft_wrap=True)
    if not study.kind.tuned:
        console.print(_variants(home, study))
    for key, trials in result.chosen.items():
        for trial in trials:
            values = f"{trial['values'][0]:.2f} % validation" + (
                f" at {100 * trial['values'][1]:.2f} % {study.cost.replace('_', ' ')}"
                if len(trial["values"]) > 1
                else ""
            )
            params = " ".join(
                f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in trial["params"].items()
            )
            console.print(f"best of {escape(key)}: trial {trial['number']}, {values}: {escape(params)}", soft_wrap=True)
    if mirror is not None and mirror.where:
        console.print(
            f"MLflow UI: make ui, then http://127.0.0.1:5000/#/experiments/{mirror.where[0]}/runs", soft_wrap=True
        )
    if result.chosen:
        console.print(f"best configurations: {home.path / 'studies' / study.name / 'best.json'}", soft_wrap=True)
    if page is not None:
        console.print(f"report: {page}", soft_wrap=True)


def _variants(home: Home, study: Study) -> Table:
    """What each variant of a grid came to, as means over the seeds; numbers with intervals are the report's."""
    table = Table("cell", "seeds", "test top-1 %", "sparsity %", title="variants")
    table.columns[0].overflow = "fold"
    entries = [e for e in home.records.entries(study.name) if e["kind"] == "final" and e["state"] == "finished"]
    for cell in study.cells():
        records = [home.records.record(e["run"]) for e in entries if e["cell"] == cell.key]
        metrics = [record["metrics"] for record in records if record is not None]
        means = [sum(m[key] for m in metrics) / len(metrics) for key in ("test/top1", "sparsity/prunable") if metrics]
        shown = (f"{means[0]:.2f}", f"{100 * means[1]:.2f}") if means else ("failed", "")
        table.add_row(escape(cell.key), str(len(metrics)), *shown)
    return table


def make_report(
    console: Console,
    studies: tuple[str, ...],
    out: Path | None,
    from_mlflow: bool,
    *,
    records: Path | None = None,
    mlflow: str = "",
) -> Path:
    """Build the report from records, of this home, of another (``records``) or fetched from MLflow; return its page. With
    ``mlflow``, the address of the UI, runs link to it."""
    home = Home()
    build = registry.load(registry.REPORTS, "report").build
    out = out or home.report
    if records is not None and from_mlflow:
        raise BenchError(
            "records come from a folder or from MLflow, but got both; leave --records or --from-mlflow out"
        )
    if not from_mlflow:
        with console.status("making the report"):
            shown = _links(console, home, mlflow, studies)
            page: Path = build(records or home.path, out, studies=studies, links=shown)
        return page
    with tempfile.TemporaryDirectory() as temporary, console.status("fetching records"):
        names = tracking.fetch(home, Path(temporary), studies)
        if not names:
            raise MissingData(
                "the MLflow store holds no finished study of this suite; run `bench study`, or `bench sync`"
            )
        shown = _links(console, home, mlflow, studies)
        page = build(Path(temporary), out, studies=studies, links=shown)
    return page


def _links(console: Console, home: Home, mlflow: str, studies: tuple[str, ...]) -> dict[str, dict[str, str]] | None:
    """Where MLflow shows the runs, where an address was given; its store must hold them for that."""
    if not mlflow:
        return None
    found = links.addresses(home, mlflow, studies)
    if not found:
        store = environment.mask_secrets(home.tracking_uri)
        console.print(
            f"no links to MLflow: its store {store} holds none of these runs; `bench sync` brings them", style="yellow"
        )
    return found


def evaluate(console: Console, what: str, settings: Sequence[str], split: str) -> None:
    """Print a checkpoint's scores: a run by its id, or a file of weights for a model of the zoo."""
    from bench import measure
    from bench.deploy import load
    from bench.training import execute

    if split not in ("validation", "test"):
        raise one_of("split", split, ("validation", "test"))
    home = Home()
    if (home.records.run(what) / "plan.json").exists():
        record = home.records.record(what)
        assert record is not None
        one = Run.from_dict(record["run"]).with_values(settings)
        loaded = load.read(home.records.run(what))
        model, size, dense = loaded.model, loaded.plan["image_size"], record["metrics"].get("weights/reference")
    else:
        if not Path(what).expanduser().is_file():
            raise MissingData(f"evaluate needs a finished run's id or a .safetensors file, but {what!r} is neither")
        one = new_run("dense", [f"start={what}", *settings])
        (_, model, size, _), dense = execute.prepare(one, home), None
    device, recipe = environment.resolve_device(one.device), one.recipe
    task = _load(console, one, home, device)
    model.to(device).to(memory_format=recipe.memory_format)
    batches = task.evaluation(split, batch=512, image_size=size, channels_last=recipe.channels_last)  # type: ignore[arg-type]
    scores = measure.accuracy(model, batches, recipe)
    sizes = measure.progress_point(model, one.method.prunable(model), dense_weights=dense)
    table = Table("", f"{one.task} {split}", box=None)
    for name, value in (scores | sizes).items():
        table.add_row(name, f"{value:,.4f}".rstrip("0").rstrip("."))
    console.print(table)


def sync(console: Console, records: Path | None) -> None:
    """Replay all studies and loose runs into MLflow."""
    home = replace(Home(), path=records) if records else Home()
    if records is not None and not (records / "runs").is_dir():
        raise MissingData(
            f"a folder of results holds runs/, but {records} does not; give the folder that was $BENCH_HOME"
        )
    target = home if "MLFLOW_TRACKING_URI" in os.environ else Home()
    os.environ["MLFLOW_TRACKING_URI"] = target.tracking_uri
    names = [*home.records.studies(), *([LOOSE] if tracking.loose_entries(home.records) else [])]
    if not names:
        raise MissingData(f"no records in {home.path}; run something first, or name a folder with --records")
    for name in names:
        with console.status(f"syncing {name}"):
            touched = tracking.sync_study(home, name)
        console.print(f"{escape(name)}: {touched} runs brought up to date", soft_wrap=True)


def ui(console: Console, host: str, port: int) -> None:
    """The MLflow UI over the store, in the foreground."""
    home = Home()
    if not tracking.available():
        raise BenchError("the UI needs mlflow, which is not installed; `pip install mlflow`")
    if home.tracking_uri.startswith(("http://", "https://")):
        raise BenchError(
            f"the UI is for a store, but a server has its own page: {environment.mask_secrets(home.tracking_uri)}"
        )
    tracking.connect(home)  # makes the store, or says what is wrong with it
    console.print(f"MLflow UI: http://{host}:{port}  (Ctrl-C ends it)")
    program = shutil.which(
        "mlflow", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    )
    command = [
        program or "mlflow",
        "ui",
        "--host",
        host,
        "--port",
        str(port),
    ]
    with contextlib.suppress(KeyboardInterrupt):
        root = ["--default-artifact-root", str(home.artifacts)] if home.artifacts else []
        store = {**os.environ, "MLFLOW_BACKEND_STORE_URI": home.tracking_uri}  # others can read a command line
        ended = subprocess.run([*command, *root], env=store, check=False)
        if ended.returncode > 0:
            raise BenchError(f"the UI must find its port free, but it ended at once on {host}:{port}; try --port")

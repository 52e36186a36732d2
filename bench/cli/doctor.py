"""What `bench doctor` finds out about this machine. It imports torch, MLflow or Optuna only if it must ask a server."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from bench.cli import catalog
from bench.cli.facts import Catalogue
from bench.cli.terminal import console
from bench.environment import mask_secrets, processor, versions
from bench.errors import BenchError
from bench.records.addresses import sqlite_file
from bench.records.home import Home

Finding = tuple[bool, str]
"""Whether something is in order, and a sentence about it."""

GIB = 2**30
LEAST_FREE = 1  # GiB that runs need


def examine() -> bool:
    """Print facts and findings about this machine; True if nothing is wrong."""
    home, installed = Home(), catalog.catalogue()
    gpu, trouble = _gpu()
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in {**versions(), **processor(), **gpu}.items():
        shown = f"{value / GIB:.1f} GiB" if "memory" in name and isinstance(value, int) else str(value)
        table.add_row(str(name), escape(shown))
    for name, value in _places(home):
        table.add_row(name, escape(mask_secrets(value)))
    console.print(table)
    findings = [*trouble, *_disk(home), *_data(home, installed), *_store(home), *_storage(home), *remote(home)]
    findings += [*_methods(installed), *_records(home)]
    for good, text in findings:
        console.print(f"[green]ok[/]    {escape(text)}" if good else f"[red]wrong[/] {escape(text)}", soft_wrap=True)
    return all(good for good, _ in findings)


def _places(home: Home) -> list[tuple[str, str]]:
    found = [
        ("results", str(home.path)),
        ("data sets", str(home.data)),
        ("MLflow", home.tracking_uri),
        ("Optuna", home.storage or "a journal file in each study's folder"),
    ]
    if home.remote_url:
        found.append(("remote", home.remote_url))
    return found


def _gpu() -> tuple[dict[str, Any], list[Finding]]:
    """Name, memory in bytes and driver of the GPU that device=auto uses, and what keeps it from being used.

    NVML is asked, because torch takes seconds to import. Empty where torch is built without CUDA or no GPU is visible.
    """
    cuda = _cuda_of_torch()
    if cuda is None:
        return {}, []
    import pynvml  # type: ignore[import-untyped] # here, because one command alone needs it

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}, []
    try:
        handle = _first_visible(pynvml)
        if handle is None:
            return {}, []
        supported = pynvml.nvmlSystemGetCudaDriverVersion()  # 13020 is CUDA 13.2
        found = {
            "gpu": pynvml.nvmlDeviceGetName(handle),
            "gpu_memory": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "cuda": cuda,
        }
        if supported // 1000 >= int(cuda.partition(".")[0]):
            return found, []
        version = f"{supported // 1000}.{supported % 1000 // 10}"
        text = f"torch needs a driver for CUDA {cuda}, but the driver is for {version}: upgrade it to use the GPU"
        return found, [(False, text)]
    except pynvml.NVMLError as error:
        return {}, [(False, f"the GPU must answer, but does not: {error}")]
    finally:
        pynvml.nvmlShutdown()


def _cuda_of_torch() -> str | None:
    """The CUDA version that torch was built for, read from its files; None without torch or CUDA."""
    try:
        file = Path(str(importlib.metadata.distribution("torch").locate_file("torch/version.py")))
        match = re.search(r"^cuda.*= '([\d.]+)'", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    except (importlib.metadata.PackageNotFoundError, OSError):
        return None
    return match[1] if match else None


def _first_visible(nvml: Any) -> Any:
    """NVML's handle of the first GPU that $CUDA_VISIBLE_DEVICES leaves; None if it leaves none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    first = "0" if visible is None else visible.partition(",")[0].strip()
    if first.isdecimal():
        return nvml.nvmlDeviceGetHandleByIndex(int(first)) if int(first) < nvml.nvmlDeviceGetCount() else None
    if first.startswith(("GPU-", "MIG-")):
        return nvml.nvmlDeviceGetHandleByUUID(first)
    return None


def _disk(home: Home) -> list[Finding]:
    folder = next(p for p in (home.path, *home.path.parents) if p.exists())
    free = shutil.disk_usage(folder).free / GIB
    if free > LEAST_FREE:
        return [(True, f"{free:.1f} GiB free for results")]
    return [(False, f"{free:.1f} GiB free for results: runs need at least {LEAST_FREE}; free some")]


def _data(home: Home, installed: Catalogue) -> list[Finding]:
    names = [name for name, _ in installed.tasks]
    there = [name for name in names if name == "digits" or (home.data / name).is_dir()]
    return [(True, f"data sets at hand: {', '.join(there)}")]


def _store(home: Home) -> list[Finding]:
    """Whether the MLflow store answers; a SQLite file is asked without MLflow."""
    if find_spec("mlflow") is None:
        return [(True, "mlflow is not installed: runs are recorded, and can be synced from a machine that has it")]
    file = sqlite_file(home.tracking_uri)
    try:
        if file is None:
            from bench import tracking  # here, because MLflow takes seconds to import

            tracking.connect(home)
        elif not file.exists():
            return [(True, "the MLflow store is not there yet: the first run makes it")]
        else:
            _ask_file(file)
    except BenchError as error:
        return [(False, mask_secrets(str(error)))]
    except sqlite3.Error as error:
        return [(False, f"the MLflow store must be a database of MLflow, but {file} is not ({error}); move it away")]
    return [(True, "the MLflow store answers")]


def _ask_file(path: Path) -> None:
    """Read the schema's version from MLflow's SQLite file; raises `sqlite3.Error` where it is no such file."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        database.execute("SELECT version_num FROM alembic_version").fetchone()


def _storage(home: Home) -> list[Finding]:
    if home.storage is None:
        return []
    from bench.scheduler.storages import open_storage  # here, because Optuna takes seconds to import

    try:
        open_storage(home.storage, home.path)
    except BenchError as error:
        return [(False, mask_secrets(str(error)))]
    return [(True, "the Optuna storage answers")]


def remote(home: Home) -> list[Finding]:
    """Whether the remote answers; no finding without one."""
    if home.remote is None:
        return []
    try:
        count = len(home.remote.folders("studies"))
    except BenchError as error:
        return [(False, mask_secrets(str(error)))]
    return [(True, f"the remote answers, with {count} studies")]


def _methods(installed: Catalogue) -> list[Finding]:
    methods = installed.methods
    wrong = [(False, f"method {m.name}: {m.error or m.problem}") for m in methods if m.error or m.problem]
    return wrong or [(True, f"methods: {', '.join(method.name for method in methods)}")]


def _records(home: Home) -> list[Finding]:
    ids = home.records.run_ids()
    wrong = list(_broken(home, ids))
    return wrong or [(True, f"{len(ids)} runs and {len(home.records.studies())} studies on record")]


def _broken(home: Home, ids: list[str]) -> Iterator[Finding]:
    for run_id in ids:
        try:
            home.records.record(run_id)
        except BenchError as error:
            yield False, str(error)

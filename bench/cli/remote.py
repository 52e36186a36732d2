"""Commands of the shared store: `bench push`, `bench pull`; and records that other commands read from one."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from bench.errors import BenchError, MissingData

console = Console(highlight=False)
Studies = Annotated[list[str] | None, typer.Argument(help="names of studies; none: all, and all other runs")]


def push(studies: Studies = None) -> None:
    """Send to the shared store (BENCH_STORE) what it lacks of this home: records, models, and checkpoints of what goes on."""
    from bench.records.home import Home

    home, remote = Home(), _remote()
    records = home.records
    for name in set(studies or ()) - set(records.studies()):
        raise MissingData(f"no study {name!r} in {home.path}; there are: {', '.join(records.studies()) or 'none'}")
    named = {entry["run"] for name in studies or () for entry in records.entries(name)}
    runs = [records.run(run) for run in (sorted(named) if studies else records.run_ids())]
    with console.status(f"sending to {escape(remote.name)}"):
        sent = remote.push_runs(runs)
        files = sum(remote.push_study(home.path, name) for name in studies or records.studies())
    console.print(
        f"{sent} of {len(runs)} runs and {files} files of studies were new: {escape(remote.name)}", soft_wrap=True
    )


def pull(
    studies: Studies = None,
    weights: Annotated[bool, typer.Option("--weights", help="the finished models too")] = False,
) -> None:
    """Fetch from the shared store (BENCH_STORE) what this home lacks: studies, records and curves."""
    from bench.records.home import Home

    home, remote = Home(), _remote()
    with console.status(f"fetching from {escape(remote.name)}"):
        new = remote.pull(home.path, tuple(studies or ()), weights=weights)
    console.print(f"{new} runs were new or newer: {home.path}", soft_wrap=True)


@contextlib.contextmanager
def folder(text: str, *, weights: bool = False) -> Iterator[Path | None]:
    """The folder of records that is named: a path, or the URL of a shared store, of which a copy is made for the time being;
    None where nothing is."""
    if "://" not in text:
        yield Path(text).absolute() if text else None
        return
    from bench.records.remote_home import RemoteHome

    remote = RemoteHome(text)
    with tempfile.TemporaryDirectory() as temporary:
        with console.status(f"fetching from {escape(remote.name)}"):
            found = remote.pull(Path(temporary), weights=weights)
        if not found:
            raise MissingData(
                f"a shared store holds records, but {remote.name} holds none; `bench push` sends those of a home"
            )
        yield Path(temporary)


def _remote() -> Any:
    from bench.records.home import Home

    remote = Home().remote
    if remote is None:
        raise BenchError(
            "a shared store is named by BENCH_STORE, which is not set; set it to a URL such as s3://bucket/prefix"
        )
    return remote

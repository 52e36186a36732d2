"""Commands of the remote: `bench push`, `bench pull`; and records that other commands read from one."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from bench.cli.terminal import console
from bench.errors import BenchError, MissingData
from bench.records.home import Home

if TYPE_CHECKING:
    from bench.records.remote_home import RemoteHome

Studies = Annotated[list[str] | None, typer.Argument(help="names of studies; none: all studies and all single runs")]


def push_command(studies: Studies = None) -> None:
    """Send to the remote (BENCH_REMOTE) what it lacks of this home: records, models, and checkpoints of unfinished runs."""
    home, remote = Home(), _remote()
    records = home.records
    for name in set(studies or ()) - set(records.studies()):
        raise MissingData(f"no study {name!r} in {home.path}; there are: {', '.join(records.studies()) or 'none'}")
    ids = records.run_ids()
    if studies:
        ids = sorted({entry.run for name in studies for entry in records.entries(name)})
    with console.status(f"sending to {escape(remote.name)}"):
        sent = remote.push_runs([records.run(run) for run in ids])
        files = sum(remote.push_study(home.path, name) for name in studies or records.studies())
    console.print(
        f"sent {sent} of {len(ids)} runs and {files} files of studies to {escape(remote.name)}; it had the others",
        soft_wrap=True,
    )


def pull_command(
    studies: Studies = None,
    weights: Annotated[bool, typer.Option("--weights", help="fetch the finished models too")] = False,
) -> None:
    """Fetch from the remote (BENCH_REMOTE) what this home lacks: studies, records and curves."""
    home, remote = Home(), _remote()
    with console.status(f"fetching from {escape(remote.name)}"):
        new = remote.pull(home.path, tuple(studies or ()), weights=weights)
    console.print(f"fetched {new} runs that were new or newer: {home.path}", soft_wrap=True)


@contextlib.contextmanager
def folder(text: str, *, weights: bool = False) -> Iterator[Path | None]:
    """The folder of records that an option names: a path, or a temporary copy of the remote at a URL; None for ""."""
    if "://" not in text:
        yield Path(text).absolute() if text else None
        return
    from bench.records.remote_home import RemoteHome  # here, because torch takes seconds to import

    remote = RemoteHome(text)
    with tempfile.TemporaryDirectory() as temporary:
        with console.status(f"fetching from {escape(remote.name)}"):
            found = remote.pull(Path(temporary), weights=weights)
        if not found:
            raise MissingData(
                f"a remote holds records, but {remote.name} holds none; `bench push` sends those of a home"
            )
        yield Path(temporary)


def _remote() -> RemoteHome:
    remote = Home().remote
    if remote is None:
        raise BenchError("BENCH_REMOTE names the remote, but it is not set; set it to a URL such as s3://bucket/prefix")
    return remote

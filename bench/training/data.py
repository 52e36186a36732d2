"""The data of a run, from its home: whoever opens its test split is noted in the home's journal."""

from __future__ import annotations

import os

import torch

from bench import environment, tasks
from bench.errors import BenchError
from bench.records.home import Home
from bench.records.openings import Opening, note
from bench.records.run_record import RunRecord
from bench.run import SHUFFLED, START_RUN, Run


def load(
    run: Run, home: Home, device: torch.device, *, whose: str, progress: tasks.Progress | None = None
) -> tasks.Task:
    """The task of a run on a device (see `bench.tasks.load`); ``whose``: id of the run whose model is evaluated, or ""."""
    found = tasks.load(
        run.task, data=home.data, cache=home.cache, device=device, workers=run.workers, progress=progress
    )

    def journal(time: float) -> None:
        command = environment.command()
        note(home.path, Opening(run.task, found.digest, time, os.getpid(), whose, command))

    found.journal = journal
    return found


def require_same_data(record: RunRecord, run: Run, digest: str) -> None:
    """Refuse a record of other images than those that the data set has now, whose ``digest`` this is.

    Raises:
        BenchError: the digests differ; one that is empty is not compared.
    """
    known = str(record.provenance.data.get("digest", ""))
    if known and digest and known != digest and record.run.task == run.task:
        raise BenchError(
            f"a result belongs to its data, but run {record.id} was computed with other images of {run.task} than there are "
            "now; restore them, or begin anew in another home (BENCH_HOME)"
        )


def require_unchanged(run: Run, home: Home, task: tasks.Task, before: str) -> None:
    """Refuse images that are not those that a run was specified with, or that it began with (the digest ``before``).

    Raises:
        BenchError: the images changed; the message says what did.
    """
    expected = before or run.data
    if task.digest.startswith(expected) and task.digest.startswith(run.data):
        return
    what = tasks.what_changed(run.task, home.cache, expected)
    anew = f"delete {home.records.run(run.id)}" if before else "give the command again, which begins anew"
    raise BenchError(
        f"a run goes on with the images that it began with, but those of {run.task} changed ({what}); restore them, or {anew}"
    )


def require_parents(run: Run, home: Home, task: tasks.Task) -> None:
    """Refuse a start or a shape from a run on other images of the same data set. (The id of a run on a folder has its images.)

    Raises:
        BenchError: the digests differ.
    """
    for text in (run.start, run.shape):
        kind, _, name = text.partition(":")
        if f"{kind}:" not in (START_RUN, SHUFFLED) or run.task.startswith(tasks.PREFIX):
            continue
        record = home.records.record(name)
        if record is not None:
            require_same_data(record, run, task.digest)

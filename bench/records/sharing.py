"""A run that is shared: begun with what the remote home has of it, sent to it at each checkpoint, and at the end
with its record.

Training waits for none of it but the beginning and the end: a thread sends what is newest. What could not be sent is sent with
the next checkpoint; at the end a store that is away is waited for, though not forever, as the record is complete here.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from bench.errors import BenchError
from bench.records.remote import Away
from bench.records.remote_home import RemoteHome, finished
from bench.records.run_folder import RunFolder

LOOK = 1.0  # seconds between two looks for a new checkpoint
PATIENCE = 300.0  # seconds that a store which is away is waited for, at the beginning and at the end of a run
_Value = TypeVar("_Value")


@contextlib.contextmanager
def shared(remote: RemoteHome, folder: Path, *, weights: bool) -> Iterator[None]:
    """Around the computing of a run: what another worker did of it is fetched first (its weights too, if they are wanted, of
    one that has ended), and each checkpoint and the end are sent.

    Raises:
        BenchError: the store is away for longer than `PATIENCE`, or lets us in at no time.
    """
    patiently(lambda: remote.pull_run(folder.parent.parent, folder.name, weights=weights))
    over = threading.Event()
    thread = threading.Thread(target=_follow, args=(remote, folder, over), daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        over.set()
        thread.join()
        offer(remote, folder)  # perhaps a last checkpoint; who is asked to stop cannot wait
        raise
    over.set()
    thread.join()
    try:
        patiently(lambda: remote.push_run(folder))
    except BenchError as error:
        if not finished(folder):
            raise
        raise type(error)(f"{error}; the record is complete in {folder}, and `bench push` sends it later") from None


def patiently(act: Callable[[], _Value]) -> _Value:
    """Try again while the store is away, at longer and longer intervals, for `PATIENCE` seconds; say so once."""
    until, wait, told = time.monotonic() + PATIENCE, 1.0, False
    while True:
        try:
            return act()
        except Away as error:
            if time.monotonic() + wait > until:
                raise
            if not told:
                print(f"{error}; trying again for {PATIENCE:.0f} s", file=sys.stderr, flush=True)
            told = True
        time.sleep(wait)
        wait = min(2 * wait, 30.0)


def offer(remote: RemoteHome, folder: Path, *, quiet: bool = False) -> bool:
    """Send what is new of a run, if the store answers; returns whether it does, and says so where it does not."""
    try:
        remote.push_run(folder)
    except BenchError as error:
        if not quiet:
            print(f"{error}; what is new of {folder.name} is sent later", file=sys.stderr, flush=True)
        return False
    return True


def _follow(remote: RemoteHome, folder: Path, over: threading.Event) -> None:
    """Send each new checkpoint, or the newest of several."""
    seen, answers = list[Path](), True
    while not over.wait(LOOK):
        newest = RunFolder(folder).checkpoints()[-1:]
        if newest != seen:
            answers = offer(remote, folder, quiet=not answers)
        seen = newest

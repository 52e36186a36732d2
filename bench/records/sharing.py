"""Sharing a run through the remote while it is computed: fetched at the start, sent at each checkpoint and at the end.

Training waits for the remote at the start and at the end only: a thread sends the newest checkpoint. Files that could not be
sent are sent with the next checkpoint. At the end, a remote that does not answer is tried again for `PATIENCE` seconds; the
record is complete in the home by then.
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

LOOK = 1.0  # seconds between two checks for a new checkpoint
PATIENCE = 300.0  # seconds for which a remote that does not answer is tried again, at the start and at the end of a run
_Value = TypeVar("_Value")


@contextlib.contextmanager
def shared(remote: RemoteHome, folder: Path, *, weights: bool) -> Iterator[None]:
    """Share a run for as long as the context lasts: fetch what another worker computed of it, then send each checkpoint and
    the end. ``weights``: of a run that has ended, fetch the weights too.

    Raises:
        BenchError: the remote does not answer for longer than `PATIENCE`, or denies access.
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
        offer(remote, folder)  # a last checkpoint, if there is one; without waiting, as the process is asked to stop
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
    """The result of ``act``, which is tried again while the remote does not answer: at growing intervals, for `PATIENCE`
    seconds. The first failure is printed."""
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
    """Send what is new of a run; returns whether the remote took it. A failure is printed, unless ``quiet``."""
    try:
        remote.push_run(folder)
    except BenchError as error:
        if not quiet:
            print(f"{error}; the new files of {folder.name} are sent later", file=sys.stderr, flush=True)
        return False
    return True


def _follow(remote: RemoteHome, folder: Path, over: threading.Event) -> None:
    """Send the newest checkpoint whenever there is a new one."""
    seen, answers = list[Path](), True
    while not over.wait(LOOK):
        newest = RunFolder(folder).checkpoints()[-1:]
        if newest != seen:
            answers = offer(remote, folder, quiet=not answers)
        seen = newest

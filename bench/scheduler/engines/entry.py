"""The main function of a process that an engine has started: a worker, which signals ask to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from typing import Any

from bench.environment import mask_secrets
from bench.errors import BenchError
from bench.scheduler.worker_config import WorkerConfig


@dataclass(frozen=True)
class Ended:
    """How a worker ended: ``reason`` is one line if it failed, ``signals`` are those that asked it to stop."""

    reason: str = ""
    signals: tuple[int, ...] = ()


def work(config: WorkerConfig, signals: Sequence[signal.Signals]) -> Ended:
    """Be a worker in this process's main thread, until no job is left or one of the signals comes.

    It raises nothing, and its reason holds no password.
    """
    from bench.scheduler import worker  # here, because a process that only submits workers needs no torch

    received = list[int]()

    def ask(number: int, frame: Any) -> None:
        received.append(number)
        worker.ask_to_stop()

    sys.argv = ["bench", "work", config.study]  # records hold the command, and a cluster's own is long
    _shield(signals)
    over = threading.Event()
    threading.Thread(target=_insist, args=(received, over), daemon=True).start()
    former = {number: signal.signal(number, ask) for number in signals}
    try:
        worker.serve(config)
    except KeyboardInterrupt:  # the signal itself reached a run
        if not received:
            received.append(signal.SIGINT)
    except BaseException as error:
        return Ended(_explained(error, config), tuple(received))
    finally:
        over.set()
        for number, handler in former.items():
            signal.signal(number, handler)
    return Ended("", tuple(received))


def _insist(received: Sequence[int], over: threading.Event) -> None:
    """Ask again until the worker has ended: `serve` forgets what was asked before its worker exists."""
    from bench.scheduler import worker  # see `work`

    while not over.wait(1.0):
        if received:
            worker.ask_to_stop()


def _shield(signals: Sequence[signal.Signals]) -> None:
    """Start the fork server with the signals ignored, which its children inherit until they set handlers of their own.

    A cluster sends signals to all processes of a job; a fork server that ended would make all runs look crashed.
    """
    former = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
    try:
        forkserver.set_forkserver_preload(["bench.scheduler.trial_process"])
        resource_tracker.ensure_running()
        forkserver.ensure_running()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _explained(error: BaseException, config: WorkerConfig) -> str:
    """One line about an error; the traceback of an unexpected one goes to a file in the home."""
    if isinstance(error, BenchError):
        return mask_secrets(str(error))
    text = " ".join(str(error).split())[:300]
    line = mask_secrets(f"{type(error).__name__}: {text}" if text else type(error).__name__)
    where = config.home / "errors" / f"worker-{os.uname().nodename}-{os.getpid()}.txt"
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(mask_secrets(traceback.format_exc()))
    except OSError:
        return line
    return f"{line} (details in {where})"

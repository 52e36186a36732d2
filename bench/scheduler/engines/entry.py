"""What a process that an engine has started does: serve an order until nothing is left, or until a signal asks it to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING, Any

from bench.environment import mask_secrets
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.scheduler.worker import WorkerConfig


@dataclass(frozen=True)
class Ended:
    """How a worker ended: ``reason`` is one line where it failed, ``signals`` are those that asked it to stop."""

    reason: str = ""
    signals: tuple[int, ...] = ()


def work(config: WorkerConfig, signals: Sequence[signal.Signals]) -> Ended:
    """Serve an order in this process's main thread; each of the signals asks it to stop. Raises nothing, shows no password."""
    from bench.scheduler import worker

    got = list[int]()

    def ask(number: int, frame: Any) -> None:
        got.append(number)
        worker.ask_to_stop()

    sys.argv = ["bench", "work", config.study]  # records say what was run, and a cluster's own words are long
    _shield(signals)
    over = threading.Event()
    threading.Thread(target=_insist, args=(got, over), daemon=True).start()
    former = {number: signal.signal(number, ask) for number in signals}
    try:
        worker.serve(config)
    except KeyboardInterrupt:  # a run was told to stop by the signal itself
        got += [] if got else [signal.SIGINT]
    except BaseException as error:
        return Ended(_explained(error, config), tuple(got))
    finally:
        over.set()
        for number, handler in former.items():
            signal.signal(number, handler)
    return Ended("", tuple(got))


def _insist(got: Sequence[int], over: threading.Event) -> None:
    """Ask again until it has ended: a worker that only just begins forgets what it was asked before."""
    from bench.scheduler import worker

    while not over.wait(1.0):
        if got:
            worker.ask_to_stop()


def _shield(signals: Sequence[signal.Signals]) -> None:
    """Start the fork server where signals do not reach it: a cluster sends them to all processes of a job, and without the
    server its children would count as crashed. They inherit this until they say otherwise; `bench.scheduler.pool`
    stops them."""
    former = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
    try:
        forkserver.set_forkserver_preload(["bench.scheduler.trial_process"])
        resource_tracker.ensure_running()
        forkserver.ensure_running()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _explained(error: BaseException, config: WorkerConfig) -> str:
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

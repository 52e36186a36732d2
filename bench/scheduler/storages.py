"""Optuna's storages by their URLs: a journal file, a database, or Optuna's gRPC proxy in front of one.

Workers send heartbeats to a database, which stamps them with its own clock: workers' clocks do not matter.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import threading
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import exc
from sqlalchemy.engine import make_url

from bench.environment import mask_secrets
from bench.errors import BenchError, Corrupt
from bench.records.addresses import sqlite_file, sqlite_query, sqlite_url
from bench.scheduler.storage_errors import EXTRA, refusal

HEARTBEAT, EXPIRY = 10, 60  # seconds; see `LeaseTimes`
CONNECT = 10  # seconds that a server may take to answer
ATTEMPTS = 5  # at creating the tables, which several workers may do at the same time
_OPENING = threading.Lock()  # `catch_warnings` changes the filters of all threads
_NETWORK = {  # libpq's options: a cut network is noticed within half a minute
    **{"connect_timeout": CONNECT, "tcp_user_timeout": 30_000},
    **{"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3},
}
warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed", category=UserWarning)  # we send our own


class LeaseTimes(NamedTuple):
    """Seconds between two heartbeats, and without a heartbeat until a lease expires."""

    heartbeat: int
    expiry: int


def lease_times() -> LeaseTimes:
    """The times of a lease: it expires after `$BENCH_LEASE` seconds, and heartbeats are a sixth of that apart."""
    text = os.environ.get("BENCH_LEASE")
    if not text:
        return LeaseTimes(HEARTBEAT, EXPIRY)
    if not text.isdecimal() or int(text) < 1:
        raise BenchError(
            f"BENCH_LEASE must be a whole number of seconds, 1 at least, but is {text!r}; unset it for {EXPIRY}"
        )
    return LeaseTimes(max(1, int(text) // 6), int(text))


def open_storage(url: str | None, journal: Path) -> BaseStorage:
    """The storage at a URL, or, without one, a journal file, which is repaired if a kill cut its last line short.

    A URL is SQLAlchemy's (``postgresql://``, which means psycopg 3 here, ``sqlite:///``, ...) or ``grpc://HOST:PORT`` of
    `bench proxy`. A database comes behind Optuna's cache and supports heartbeats; a proxy does not support them.

    Raises:
        BenchError: it does not answer, refuses the account, lacks its driver or was made by another version of Optuna.
    """
    if url is None:
        journal.parent.mkdir(parents=True, exist_ok=True)
        _register_user(journal)
        return JournalStorage(JournalFileBackend(str(journal)))
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if url.startswith("grpc://"):
            return _proxy(url)
        return _database(url)


_USERS: dict[Path, int] = {}  # open files with our locks: closing one would release its lock


def _register_user(journal: Path) -> None:
    """Repair the journal if no process uses it, then count this process as a user until it ends."""
    with _OPENING:
        if journal in _USERS:
            return
        file = os.open(journal.with_name(f".{journal.name}.users"), os.O_CREAT | os.O_RDWR)
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _repair(journal)
        try:
            _check(journal)
        except Corrupt:
            os.close(file)
            raise
        fcntl.flock(file, fcntl.LOCK_SH)
        _USERS[journal] = file


def _check(journal: Path) -> None:
    """Refuse a journal with a damaged line before its last one, which another process may be writing now.

    Such a line cannot be left out: the lines after it name trials by their order.

    Raises:
        Corrupt: a line is no JSON object.
    """
    if not journal.exists():
        return
    with journal.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.endswith(b"\n") and not _is_entry(line):
                raise Corrupt(
                    f"a journal has a JSON object on each line, but line {number} of {journal} is damaged; move that file away "
                    "and run the same command: finished runs are found by their records"
                )


def _is_entry(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _repair(journal: Path) -> None:
    """Remove a lock that was left behind, and a last line that was written in part only, which no process has read."""
    journal.with_name(journal.name + ".lock").unlink(missing_ok=True)
    if not journal.exists():
        return
    content = journal.read_bytes()
    if content and not content.endswith(b"\n"):
        with journal.open("rb+") as file:
            file.truncate(content.rfind(b"\n") + 1)


def with_driver(url: str) -> str:
    """A SQLAlchemy URL with psycopg 3 where PostgreSQL was named without a driver."""
    return re.sub(r"^postgres(?:ql)?://", "postgresql+psycopg://", url)


def _database(url: str) -> BaseStorage:
    file = sqlite_file(url)
    url = with_driver(url) if file is None else sqlite_url(file) + sqlite_query(url)
    options: dict[str, Any] = {"pool_pre_ping": True}  # connects again after the database was restarted
    try:
        if make_url(url).drivername == "postgresql+psycopg":
            options["connect_args"] = _NETWORK
        return get_storage(_with_tables(url, options, lease_times()))
    except BenchError:
        raise
    except Exception as error:
        raise refusal(url, error) from None


def _with_tables(url: str, options: dict[str, Any], times: LeaseTimes, attempt: int = 1) -> RDBStorage:
    try:
        return RDBStorage(url, options, heartbeat_interval=times.heartbeat, grace_period=times.expiry)
    except (exc.ProgrammingError, exc.IntegrityError, StorageInternalError):  # another worker is creating the tables
        if attempt == ATTEMPTS:
            raise
        time.sleep(0.2 * attempt)
        return _with_tables(url, options, times, attempt + 1)


def _proxy(url: str) -> BaseStorage:
    match = re.fullmatch(r"grpc://([^:/@]+|\[[^\]]+\]):(\d+)/?", url)
    if match is None:
        raise BenchError(f"a proxy's URL must be grpc://HOST:PORT, but got {mask_secrets(url)}; correct BENCH_OPTUNA")
    try:
        from bench.scheduler.proxy_client import Proxy  # here, because gRPC may not be installed

        proxy = Proxy(host=match[1], port=int(match[2]))
        proxy.wait_server_ready(CONNECT)
    except ImportError:
        raise BenchError(f"the Optuna storage {url} needs gRPC, which is not installed; {EXTRA}") from None
    except ConnectionError:
        raise BenchError(
            f"the Optuna storage must answer, but {url} does not; start `bench proxy`, or unset BENCH_OPTUNA for a file"
        ) from None
    return proxy

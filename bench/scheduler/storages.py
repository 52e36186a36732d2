"""Optuna's storages by their URLs: a journal file, a database, or Optuna's gRPC proxy in front of one.

Two servers can be away for a while: `transient` tells such an error from one that waiting does not mend. Leases (what is
known of a worker that has died) are told by heartbeats that the database's own clock stamps, so workers' clocks do not matter.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import exc
from sqlalchemy.engine import make_url

from bench.environment import mask_secrets
from bench.errors import BenchError

HEARTBEAT, GRACE = 10, 60  # seconds between two signs of life, and without one until a trial's worker counts as dead
CONNECT = 10  # seconds that a server may take to answer
_OPENING = threading.Lock()  # one at a time: warnings that are silenced meanwhile are all threads'
ATTEMPTS = 5  # at making the tables, which several workers may do at once
EXTRA = "pip install 'prunebench[servers]'"
_LASTING = re.compile(
    r"authentication failed|no password supplied|role \S+ is not permitted|no pg_hba.conf entry|permission denied"
    r"|does not exist|no such (?:table|column)|syntax error|readonly|unable to open",
    re.IGNORECASE,
)
_AWAY = re.compile(r"raised during the commit|OperationalError|InterfaceError|connection", re.IGNORECASE)
_NETWORK = {  # libpq's: a cut cable is noticed within half a minute
    **{"connect_timeout": CONNECT, "tcp_user_timeout": 30_000},
    **{"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3},
}
warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed", category=UserWarning)  # our own beats


def open_storage(url: str | None, journal: Path) -> BaseStorage:
    """The storage of a URL, or else a journal file, mended first if a kill cut its last line short.

    A URL is SQLAlchemy's (``postgresql://``, which means psycopg 3 here, ``sqlite:///``, ...) or ``grpc://HOST:PORT`` of
    `bench proxy`. A database comes behind Optuna's cache, with heartbeats; through a proxy there are none.

    Raises:
        BenchError: it does not answer, refuses the account, lacks its driver or was made by another version of Optuna.
    """
    if url is None:
        journal.parent.mkdir(parents=True, exist_ok=True)
        _alone(journal)
        return JournalStorage(JournalFileBackend(str(journal)))
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _proxy(url) if url.startswith("grpc://") else _database(url)


_USERS: dict[Path, int] = {}  # files that stay open, as their locks are ours as long as they are


def _alone(journal: Path) -> None:
    """Mend the journal if nobody uses it, not even this process, which counts as a user from now on until it ends."""
    with _OPENING:
        if journal in _USERS:
            return
        file = os.open(journal.with_name(f".{journal.name}.users"), os.O_CREAT | os.O_RDWR)
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _mend(journal)
        fcntl.flock(file, fcntl.LOCK_SH)
        _USERS[journal] = file


def _mend(journal: Path) -> None:
    """Drop a half-written last line (never acted upon), and a lock left behind."""
    journal.with_name(journal.name + ".lock").unlink(missing_ok=True)
    if journal.exists():
        content = journal.read_bytes()
        if content and not content.endswith(b"\n"):
            with journal.open("rb+") as file:
                file.truncate(content.rfind(b"\n") + 1)


def lease() -> tuple[int, int]:
    """Seconds between two heartbeats, and without one until a trial is taken over: `$BENCH_LEASE`, and a sixth of it."""
    text = os.environ.get("BENCH_LEASE")
    if not text:
        return HEARTBEAT, GRACE
    if not text.isdecimal() or int(text) < 1:
        raise BenchError(f"BENCH_LEASE must be whole seconds, one at least, but is {text!r}; unset it for {GRACE}")
    return max(1, int(text) // 6), int(text)


def with_driver(url: str) -> str:
    """A SQLAlchemy URL with psycopg 3 where PostgreSQL was named without a driver."""
    return re.sub(r"^postgres(?:ql)?://", "postgresql+psycopg://", url)


def _database(url: str) -> BaseStorage:
    url = with_driver(url)
    options: dict[str, Any] = {"pool_pre_ping": True}  # a database that was started again is met by a fresh connection
    try:
        if make_url(url).drivername == "postgresql+psycopg":
            options["connect_args"] = _NETWORK
        return get_storage(_with_tables(url, options, *lease()))
    except BenchError:
        raise
    except Exception as error:
        raise _refused(url, error) from None


def _with_tables(url: str, options: dict[str, Any], heartbeat: int, grace: int, attempt: int = 1) -> RDBStorage:
    try:
        return RDBStorage(url, options, heartbeat_interval=heartbeat, grace_period=grace)
    except (exc.ProgrammingError, exc.IntegrityError, StorageInternalError):  # another worker makes the tables now
        if attempt == ATTEMPTS:
            raise
        time.sleep(0.2 * attempt)
        return _with_tables(url, options, heartbeat, grace, attempt + 1)


def _refused(url: str, error: BaseException) -> BenchError:
    """What is wrong with a database, in one line without its password."""
    shown, text = mask_secrets(url), " ".join(str(e) for e in _chain(error))
    if isinstance(error, (ImportError, exc.NoSuchModuleError)):
        return BenchError(f"the Optuna storage needs its driver, but {shown} has none here; {EXTRA}")
    if isinstance(error, exc.ArgumentError):
        return BenchError(
            "BENCH_OPTUNA must be a URL such as postgresql://USER:PASSWORD@HOST/DATABASE, but cannot be read as one; "
            "write @, / and : in a password as %40, %2F and %3A"
        )
    if "no longer compatible" in text:
        return BenchError(
            f"the Optuna storage must be of this version of Optuna, but {shown} is of another; make a backup, then "
            '`optuna storage upgrade --storage "$BENCH_OPTUNA"`'
        )
    if _LASTING.search(text):
        return BenchError(
            f"the Optuna storage must let this account in, but {shown} refuses it ({_LASTING.search(text)[0]}); "  # type: ignore[index]
            "mend BENCH_OPTUNA, or make the account (see `bench docs`, servers)"
        )
    why = mask_secrets(" ".join(str(getattr(error, "orig", None) or error).split())[:300])
    return BenchError(
        f"the Optuna storage must answer, but {shown} does not ({type(error).__name__}: {why}); "
        "start the server, or unset BENCH_OPTUNA for a file"
    )


def _proxy(url: str) -> BaseStorage:
    match = re.fullmatch(r"grpc://([^:/@]+|\[[^\]]+\]):(\d+)/?", url)
    if match is None:
        raise BenchError(f"a proxy is named as grpc://HOST:PORT, but got {mask_secrets(url)}")
    try:
        from bench.scheduler.proxy_client import Proxy

        proxy = Proxy(host=match[1], port=int(match[2]))
        proxy.wait_server_ready(CONNECT)
    except ImportError:
        raise BenchError(f"the Optuna storage {url} needs gRPC, which is not installed; {EXTRA}") from None
    except ConnectionError:
        raise BenchError(
            f"the Optuna storage must answer, but {url} does not; start `bench proxy`, or unset BENCH_OPTUNA for a file"
        ) from None
    return proxy


def transient(error: BaseException) -> bool:
    """Whether an error of a storage means that its server is away for now, so that the same call may work later.

    It may also have been carried out already, and only its answer lost: look before doing twice what must be done once.
    """
    chain = list(_chain(error))
    if any(_LASTING.search(str(e)) for e in chain):
        return False
    return any(_away(e) for e in chain)


def _away(error: BaseException) -> bool:
    if isinstance(error, (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, exc.PendingRollbackError)):
        return True
    if isinstance(error, exc.DBAPIError):
        return error.connection_invalidated
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    code = getattr(error, "code", None)  # gRPC's, which need not be installed
    name = getattr(code(), "name", "") if callable(code) else ""
    if name == "UNKNOWN":  # an error inside the proxy, which hands on its text only
        return bool(_AWAY.search(str(getattr(error, "details", lambda: "")())))
    return name in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it."""
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or now.__context__

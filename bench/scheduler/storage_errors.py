"""Errors of Optuna's storages: which are transient, and what to tell the user about the others."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import exc

from bench.environment import mask_secrets
from bench.errors import BenchError
from bench.records.addresses import sqlite_file

EXTRA = "pip install 'prunebench[servers]'"
_LASTING = re.compile(
    r"authentication failed|no password supplied|role \S+ is not permitted|no pg_hba.conf entry|permission denied"
    r"|does not exist|no such (?:table|column)|syntax error|readonly|unable to open",
    re.IGNORECASE,
)
_FILE = re.compile(r"unable to open|readonly|database is locked|not a database|malformed|disk I/O error", re.IGNORECASE)
_AWAY = re.compile(r"raised during the commit|OperationalError|InterfaceError|connection", re.IGNORECASE)
RETRY_AFTER = 1.0  # seconds


def transient(error: BaseException) -> bool:
    """Whether an error means that the storage's server is away for now, so that the same call may succeed later.

    The call may have been carried out although its answer was lost: before repeating a call that must happen once, read the
    storage.
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
    code = getattr(error, "code", None)  # gRPC's; its package may not be installed
    name = getattr(code(), "name", "") if callable(code) else ""
    if name == "UNKNOWN":  # an error inside the proxy, which forwards only its text
        return bool(_AWAY.search(str(getattr(error, "details", lambda: "")())))
    return name in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


class TransientErrors:
    """Says once when a storage is away, and once when it is back.

    with errors.retried_later():
        ...  # a transient error ends the block; the caller runs it again later
    """

    def __init__(self, say: Callable[[str], None], wait: Callable[[float], object]) -> None:
        """``wait`` is called with the seconds to wait after an error."""
        self._say, self._wait, self._failing = say, wait, False

    @contextlib.contextmanager
    def retried_later(self) -> Iterator[None]:
        """A block that a transient error ends early; other errors are raised."""
        try:
            yield
        except Exception as error:
            if not transient(error):
                raise
            if not self._failing:
                self._say(f"the study's storage is away ({_why(error)}); runs continue, and it is tried again")
            self._failing = True
            self._wait(RETRY_AFTER)
            return
        if self._failing:
            self._say("the study's storage is back")
        self._failing = False


def refusal(url: str, error: BaseException) -> BenchError:
    """An error in one line, without the URL's password, for a database that could not be opened."""
    shown, text = mask_secrets(url), " ".join(str(e) for e in _chain(error))
    if isinstance(error, (ImportError, exc.NoSuchModuleError)):
        return BenchError(f"the Optuna storage needs its driver, but {shown} has none here; {EXTRA}")
    if isinstance(error, exc.ArgumentError):
        return BenchError(
            "BENCH_OPTUNA must be a URL such as postgresql://USER:PASSWORD@HOST/DATABASE, but cannot be read as one; "
            "write @, / and : in a password as %40, %2F and %3A"
        )
    file = sqlite_file(url)
    if file is not None and (found := _FILE.search(text)) is not None:
        return BenchError(_of_file(file, shown, found[0]))
    if "no longer compatible" in text:
        return BenchError(
            f"the Optuna storage must have the schema of this version of Optuna, but {shown} has another; make a backup, "
            'then `optuna storage upgrade --storage "$BENCH_OPTUNA"`'
        )
    lasting = _LASTING.search(text)
    if lasting is not None:
        return BenchError(
            f"the Optuna storage must accept this account, but {shown} refuses it ({lasting[0]}); correct BENCH_OPTUNA, or "
            "create the account (see `bench docs`, servers)"
        )
    return BenchError(
        f"the Optuna storage must answer, but {shown} does not ({_why(error)}); "
        "start the server, or unset BENCH_OPTUNA for a file"
    )


def _of_file(file: Path, shown: str, reason: str) -> str:
    """Why a SQLite file cannot be opened, with the remedy."""
    if not file.parent.is_dir():
        return f"the Optuna storage must be in a folder that exists, but {file.parent} does not; make it first"
    if "locked" in reason:
        return f"the Optuna storage must be free, but {shown} is locked by another program; end it and run the same command"
    if "unable" in reason or "readonly" in reason:
        return f"the Optuna storage must be a file that can be written, but {shown} is not ({reason}); correct BENCH_OPTUNA"
    return (
        f"the Optuna storage must be a database, but {shown} is not ({reason}); move that file away and run the same command: "
        "finished runs are found by their records"
    )


def _why(error: BaseException) -> str:
    """What the driver says, in one line without passwords."""
    texts = (" ".join(str(_original(one)).split()) for one in reversed(list(_chain(error))))
    return mask_secrets(next((text for text in texts if text), "it gave no reason")[:300])


def _original(error: BaseException) -> Any:
    """The driver's error inside SQLAlchemy's, where there is one."""
    return getattr(error, "orig", None) or error

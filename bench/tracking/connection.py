"""A client of the MLflow store: a server's, or that of the SQLite file in the home, which is created once."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.records.addresses import sqlite_file, sqlite_url
from bench.records.home import Home
from bench.tracking.refusals import refusal


class Unavailable(BenchError):
    """The tracking server does not answer; records are complete without it."""


def available() -> bool:
    """Whether mlflow is installed."""
    return find_spec("mlflow") is not None


def connect(home: Home) -> Any:
    """A client of the store: a server's, or the SQLite file, which is created here once.

    Raises:
        Unavailable: mlflow is not installed, or the store cannot be used, with the reason.
    """
    if not available():
        raise Unavailable("tracking needs mlflow, which is not installed; `pip install mlflow`, then `bench sync`")
    uri = home.tracking_uri
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # it would print the server's password for every run
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mlflow's own imports
        from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # after the import, which sets them to talk
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        file = sqlite_file(uri)
        if file is None:
            client = MlflowClient(tracking_uri=uri)
        else:
            _create_store(file)
            client = _client_of_file(file)
        client.search_experiments(max_results=1)
    except Exception as error:
        raise Unavailable(refusal(uri, error)) from None
    return client


def _client_of_file(file: Path) -> Any:
    from mlflow import MlflowClient

    with _without_strays(file):
        client = MlflowClient(tracking_uri=sqlite_url(file))
        client.search_experiments(max_results=1)  # now the store opens the file
    return client


@contextlib.contextmanager
def _without_strays(file: Path) -> Iterator[None]:
    """MLflow makes the folder that the URL names before its characters are decoded; it is removed if it is new."""
    stray = Path(sqlite_url(file).removeprefix("sqlite:///")).parent
    made = [folder for folder in (stray, *stray.parents) if not folder.exists()]
    yield
    for folder in made:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _create_store(path: Path) -> None:
    """Make the SQLite store if there is none: under another name until it is whole, since MLflow cannot mend one whose
    making was cut off; by one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _look_at(path)
        return
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return
        unfinished = path.with_name(f".{path.name}.tmp")
        unfinished.unlink(missing_ok=True)
        _client_of_file(unfinished)
        unfinished.replace(path)


def _look_at(path: Path) -> None:
    """Read the file's tables, which costs nothing, before MLflow writes into it; raises `sqlite3.Error` where it is damaged."""
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "alembic_version" not in tables:
        raise sqlite3.DatabaseError("it is a database of another program")

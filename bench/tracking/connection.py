"""A client of the MLflow store: a server's, or that of the SQLite file in the home, which is created once."""

from __future__ import annotations

import fcntl
import logging
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.environment import mask_secrets
from bench.errors import BenchError
from bench.records.home import Home


class Unavailable(BenchError):
    """The tracking server does not answer; records are complete without it."""


def available() -> bool:
    """Whether mlflow is installed."""
    return find_spec("mlflow") is not None


def connect(home: Home) -> Any:
    """A client of the store: a server's, or the SQLite file, which is created here once."""
    if not available():
        raise Unavailable("tracking needs mlflow, which is not installed; `pip install mlflow`, then `bench sync`")
    uri = home.tracking_uri
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # it would print the server's password for every run
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # after the import, which sets them to talk
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        if uri.startswith("sqlite:///"):
            _create_store(Path(uri.removeprefix("sqlite:///")))
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:
        raise Unavailable(
            f"the tracking store must answer, but {mask_secrets(uri)} does not ({type(error).__name__}); everything is "
            "recorded all the same: start the server and `bench sync`"
        ) from None
    return client


def _create_store(path: Path) -> None:
    """Make the SQLite store if there is none: under another name until it is whole, since MLflow cannot mend one whose
    making was cut off; by one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return
        from mlflow import MlflowClient

        unfinished = path.with_name(f".{path.name}.tmp")
        unfinished.unlink(missing_ok=True)
        MlflowClient(tracking_uri=f"sqlite:///{unfinished}").search_experiments(max_results=1)
        unfinished.replace(path)

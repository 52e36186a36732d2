"""The client of the MLflow store, a server or a SQLite file in the home."""

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
    """The MLflow store does not answer. Records on disk are complete without it."""


def available() -> bool:
    """Returns whether mlflow is installed."""
    return find_spec("mlflow") is not None


def connect(home: Home) -> Any:
    """Returns a client of the store; creates the SQLite file if it is missing.

    Raises:
        Unavailable: mlflow is not installed, or the store does not answer.
    """
    if not available():
        raise Unavailable("tracking needs mlflow, which is not installed; `pip install mlflow`, then `bench sync`")
    uri = home.tracking_uri
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = (
        "true"  # mlflow would print the server's password for each run
    )
    from mlflow import MlflowClient  # here, because mlflow is an extra and slow to import

    for name in ("mlflow", "alembic"):  # after the import, which sets their levels
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        if uri.startswith("sqlite:///"):
            _create_store(Path(uri.removeprefix("sqlite:///")))
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:
        raise Unavailable(
            f"the tracking store must answer, but {mask_secrets(uri)} does not ({type(error).__name__}); all results are "
            "recorded in the home: start the server, then `bench sync`"
        ) from None
    return client


def _create_store(path: Path) -> None:
    """Creates the SQLite store if it is missing, in one process at a time.

    It is created under a temporary name and renamed when complete, because MLflow cannot repair a partly created one.
    """
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

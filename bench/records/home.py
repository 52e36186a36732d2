"""The home: the folder of everything that runs make, and the addresses of data sets, the remote and the stores."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.records.addresses import sqlite_file
from bench.records.folder import Folder

if TYPE_CHECKING:
    from bench.records.remote_home import RemoteHome

REMOTE, REMOTE_BEFORE = "BENCH_REMOTE", "BENCH_STORE"
"""The environment variable that names the remote, and its name in earlier versions, which is still read."""


def _path(variable: str, default: str) -> Path:
    path = Path(os.environ.get(variable) or default)
    try:
        return path.expanduser().absolute()
    except RuntimeError:  # an account without a home folder
        raise BenchError(
            f"~ needs an account with a home folder, but {variable}={path}; write the whole path"
        ) from None


def _remote_url() -> str:
    return os.environ.get(REMOTE) or os.environ.get(REMOTE_BEFORE) or ""


@dataclass(frozen=True)
class Home:
    """Where things are. Environment variables move them.

    Attributes:
        path: the folder of everything that runs make (`$BENCH_HOME`, default ./results).
        data: the folder of data sets (`$BENCH_DATA`, default ./data).
        remote_url: the remote, through which workers share records whose homes are their own: a URL of fsspec
            (`$BENCH_REMOTE`, formerly `$BENCH_STORE`; default "": there is none). It may hold a password.
    """

    path: Path = field(default_factory=lambda: _path("BENCH_HOME", "results"))
    data: Path = field(default_factory=lambda: _path("BENCH_DATA", "data"))
    remote_url: str = field(default_factory=_remote_url, repr=False)

    @property
    def records(self) -> Folder:
        """The records of runs and studies."""
        return Folder(self.path)

    @property
    def cache(self) -> Path:
        """The folder of decoded images."""
        return self.path / "cache"

    @property
    def report(self) -> Path:
        """The folder of figures, tables and the page."""
        return self.path / "report"

    @property
    def tracking_uri(self) -> str:
        """The address of MLflow's store: `$MLFLOW_TRACKING_URI`, or a SQLite file in the home; a file as its absolute path."""
        given = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.path / 'mlflow.db'}"
        file = sqlite_file(given)
        return given if file is None else f"sqlite:///{file}"

    @property
    def artifacts(self) -> Path | None:
        """The folder of MLflow's artifacts, beside its SQLite file; None with a server, which has its own."""
        file = sqlite_file(self.tracking_uri)
        return None if file is None else file.parent / "mlartifacts"

    @property
    def storage(self) -> str | None:
        """The URL of Optuna's storage (`$BENCH_OPTUNA`); None is a journal file in the folder of each study, the default."""
        return os.environ.get("BENCH_OPTUNA") or None

    @property
    def remote(self) -> RemoteHome | None:
        """The remote home at `remote_url`; None where there is none."""
        if not self.remote_url:
            return None
        from bench.records.remote_home import RemoteHome  # here, because most homes need none

        return RemoteHome(self.remote_url)

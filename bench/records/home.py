"""Where things are: what runs make, and where data sets lie. Both can be moved by environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.records.folder import Folder

if TYPE_CHECKING:
    from bench.records.remote_home import RemoteHome


def _path(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or default).expanduser().absolute()


@dataclass(frozen=True)
class Home:
    """``path`` holds everything that runs make (`$BENCH_HOME`, default ./results), ``data`` the data sets
    (`$BENCH_DATA`, default ./data), and ``store`` is what workers share whose homes are their own (`$BENCH_STORE`, default
    nothing: then the home is all there is)."""

    path: Path = field(default_factory=lambda: _path("BENCH_HOME", "results"))
    data: Path = field(default_factory=lambda: _path("BENCH_DATA", "data"))
    store: str = field(default_factory=lambda: os.environ.get("BENCH_STORE", ""), repr=False)  # may hold a password

    @property
    def records(self) -> Folder:
        """Records of runs and studies."""
        return Folder(self.path)

    @property
    def cache(self) -> Path:
        """Decoded images."""
        return self.path / "cache"

    @property
    def report(self) -> Path:
        """Figures, tables and the page."""
        return self.path / "report"

    @property
    def tracking_uri(self) -> str:
        """MLflow: `$MLFLOW_TRACKING_URI`, or a SQLite file here."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.path / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path | None:
        """Where an MLflow store in a SQLite file keeps its artifacts: beside it. None for a server, which knows itself."""
        path = self.tracking_uri.removeprefix("sqlite:///")
        return Path(path).parent / "mlartifacts" if path != self.tracking_uri else None

    @property
    def storage(self) -> str | None:
        """Optuna: `$BENCH_OPTUNA` (a database URL); None is a journal file in each study's folder, the default."""
        return os.environ.get("BENCH_OPTUNA") or None

    @property
    def remote(self) -> RemoteHome | None:
        """The shared store, at a URL of fsspec; None where there is none."""
        if not self.store:
            return None
        from bench.records.remote_home import RemoteHome  # here, because most homes need none

        return RemoteHome(self.store)

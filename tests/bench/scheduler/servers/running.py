"""A real PostgreSQL and a real MLflow server on free ports, for tests that stop and start them.

    with running() as lab:
        os.environ.update(lab.environment)     # BENCH_OPTUNA and MLFLOW_TRACKING_URI, with account and password in the URLs
        lab.stop_postgres(); lab.start_postgres()      # also mlflow, and proxy with running(proxy=True)
        lab.stop_postgres("immediate")         # as in a crash
        lab.stop(); lab.start()                # all of them, in order

`needs` is the mark for tests of this kind: slow, and skipped where programs or packages are missing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.scheduler.servers.lab import ADMIN, Servers
from bench.scheduler.servers.postgres import programs


def missing() -> str:
    """What keeps the servers from running here, or "" where nothing does."""
    try:
        programs()
    except BenchError as error:
        return str(error)
    absent = [name for name in ("psycopg", "flask_wtf", "grpc") if find_spec(name) is None]
    return f"{', '.join(absent)} are not installed: the extra `servers`" if absent else ""


def needs(test: object) -> object:
    """Mark a test, or a class, as slow and in need of the servers."""
    return pytest.mark.slow(pytest.mark.skipif(bool(missing()), reason=missing())(test))


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Running:
    """The servers of a folder; ``lab`` is what `bench servers` starts."""

    def __init__(self, folder: Path, *, proxy: bool = False) -> None:
        ports = free_ports(3)
        self.lab = Servers(folder, ports[0], ports[1], ports[2] if proxy else 0)

    @property
    def optuna_url(self) -> str:
        """Of the database, with its password."""
        return self.lab.postgres.url("optuna")

    @property
    def proxy_url(self) -> str:
        """Of the proxy in front of it."""
        return f"grpc://127.0.0.1:{self.lab.proxy_port}"

    @property
    def mlflow_url(self) -> str:
        """Of the MLflow server, with account and password."""
        return f"http://{ADMIN}:{self.secrets[ADMIN]}@127.0.0.1:{self.lab.mlflow_port}"

    @property
    def secrets(self) -> dict[str, str]:
        """All passwords, by account."""
        return self.lab._secrets

    @property
    def environment(self) -> dict[str, str]:
        """What commands and workers need."""
        return {"BENCH_OPTUNA": self.optuna_url, "MLFLOW_TRACKING_URI": self.mlflow_url}

    def start(self) -> None:
        """All of them; returns when each answers."""
        self.lab.start()

    def stop(self) -> None:
        """All of them; the data stay."""
        self.lab.stop()

    def start_postgres(self) -> None:
        """The database only."""
        self.lab.postgres.start()

    def stop_postgres(self, how: str = "fast") -> None:
        """The database only; "immediate": without a word to anyone, as in a crash."""
        self.lab.postgres.stop(how)

    def start_mlflow(self) -> None:
        """MLflow only; its database must be up."""
        self.lab.mlflow.start()

    def stop_mlflow(self) -> None:
        """MLflow only."""
        self.lab.mlflow.stop()

    def start_proxy(self) -> None:
        """The proxy only; its database must be up."""
        self.lab.proxy.start()

    def stop_proxy(self) -> None:
        """The proxy only."""
        self.lab.proxy.stop()


@contextlib.contextmanager
def running(*, proxy: bool = False) -> Iterator[Running]:
    """Servers in a new folder, which goes with them. It lies outside pytest's, which PostgreSQL's own account cannot enter."""
    folder = Path(tempfile.mkdtemp(prefix="bench-servers-"))
    if os.geteuid() == 0:
        folder.chmod(0o711)
    one = Running(folder / "servers", proxy=proxy)
    try:
        one.start()
        yield one
    finally:
        one.stop()
        shutil.rmtree(folder)

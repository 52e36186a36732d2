"""Optuna's gRPC proxy: one process holds the database's connections for many workers, and caches finished trials.

It has neither accounts nor TLS, so it listens on the loopback address by default. It does not support heartbeats.
"""

from __future__ import annotations

import contextlib
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from optuna.exceptions import ExperimentalWarning
from optuna.storages import run_grpc_proxy_server
from rich.console import Console

from bench.environment import mask_secrets
from bench.errors import BenchError
from bench.records.home import Home
from bench.scheduler.servers import daemons
from bench.scheduler.storages import open_storage

THREADS = 15  # SQLAlchemy's default number of connections


def serve(console: Console, host: str, port: int) -> None:
    """Serve the database of `$BENCH_OPTUNA` until Ctrl-C."""
    url = Home().storage
    if url is None or url.startswith("grpc://"):
        raise BenchError("a proxy needs a database, but BENCH_OPTUNA names none; set it to the database's URL")
    storage = open_storage(url, Path())
    daemons.require_free(port, "the proxy", "--port", host)
    console.print(f"Optuna proxy: grpc://{host}:{port} before {mask_secrets(url)}  (Ctrl-C stops it)", soft_wrap=True)
    with contextlib.suppress(KeyboardInterrupt), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        run_grpc_proxy_server(storage, host=host, port=port, thread_pool=ThreadPoolExecutor(THREADS))
